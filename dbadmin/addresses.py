"""What holds for every address: what it may not contain, who keeps its answers, forms that came too late or twice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from urllib.parse import urlencode

from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import get_script_prefix, reverse
from psycopg.errors import UniqueViolation

Answer = Callable[[HttpRequest], HttpResponse]
NUL = "\0"


@functools.lru_cache(maxsize=8192)
def kept_address(prefix: str, name: str, args: tuple[object, ...]) -> str:
    """An address, worked out once; prefix: where the house lies, which reverse() puts before it."""
    return reverse(name, args=args)


def where(name: str, *args: object) -> str:
    """As reverse(): the forty rooms that each page names are always where they were."""
    return kept_address(get_script_prefix(), name, args)


def changed(params: QueryDict, without: Iterable[str] = (), **changes: str) -> str:
    """?a=1&b=2: the parameters of an address without some, then the changed ones; QueryDict.copy() copies deeply."""
    dropped = {*without, *changes}
    kept = [(name, value) for name, values in params.lists() if name not in dropped for value in values]
    return f"?{urlencode([*kept, *changes.items()])}"


def no_nul(answer: Answer) -> Answer:
    """Refuse early what would fail deep in a query."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if NUL in request.path or any(NUL in value for _, values in request.GET.lists() for value in values):
            why = "The address holds a NUL, which no name and no text of a database can hold."
            return render(request, "400.html", {"exception": why}, status=400)
        return answer(request)

    return middleware


def kept_by_nobody(answer: Answer) -> Answer:
    """Pages of a signed-in person stay in no cache: after signing out, "back" shows none of them."""

    def middleware(request: HttpRequest) -> HttpResponse:
        found = answer(request)
        if request.user.is_authenticated and not found.has_header("Cache-Control"):
            found["Cache-Control"] = "private, no-store"
        return found

    return middleware


def form_of_another_time(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without a valid token: sent from elsewhere, or opened before the person signed in anew."""
    why = "The form was opened before you signed in, or on another site. Nothing was done. "
    again = "Open its page again, and send it anew."
    return render(request, "400.html", {"exception": why + again}, status=403)


class SentTwice:
    """Of two forms that make the same thing at the same moment one is late: it is told so, and nothing broke."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Only the error is ours."""
        return self.answer(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """The database let only one of them in."""
        if not isinstance(error, IntegrityError) or not isinstance(error.__cause__, UniqueViolation):
            return None
        says = "It is there already: somebody sent the same a moment ago, or you sent it twice."
        if request.path.startswith("/api/"):
            return JsonResponse({"error": says}, status=409)
        return render(
            request, "400.html", {"exception": f"{says} Look before you send it again."}, status=409
        )


def whole(text: str) -> int | None:
    """The number that an address or a form names; None for what is none, or would be more than a database counts."""
    return int(text) if len(text) < 19 and text.isdecimal() else None
