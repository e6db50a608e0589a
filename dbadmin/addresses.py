"""What no address or form may hold: PostgreSQL knows no name and no text with a NUL in it."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

Answer = Callable[[HttpRequest], HttpResponse]
NUL = "\0"


def no_nul(answer: Answer) -> Answer:
    """Refuse early what would fail deep in a query."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if NUL in request.path or any(NUL in value for _, values in request.GET.lists() for value in values):
            why = "The address holds a NUL, which no name and no text of a database can hold."
            return render(request, "400.html", {"exception": why}, status=400)
        return answer(request)

    return middleware
