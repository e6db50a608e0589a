"""How long a page waits for servers in all: one that hangs costs it less than a second, however often it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse

#: What a request spends on waiting until servers take up a conversation, seconds.
OF_A_REQUEST = 0.7
#: The least that a server is given, when all is spent: one that is well answers within it.
LEAST = 0.05


@dataclass
class Patience:
    """How much there was, and what is left of it."""

    seconds: float
    left: float


_patience: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Within the block, all waiting for connections together takes no longer than this."""
    token = _patience.set(Patience(seconds, seconds))
    try:
        yield
    finally:
        _patience.reset(token)


def left(seconds: float) -> float:
    """How long to wait now, where nobody in a hurry would wait so many seconds."""
    patience = _patience.get()
    return seconds if patience is None else min(seconds, max(patience.left, LEAST))


def whole(seconds: float) -> float:
    """What a server was given before it is said not to have answered."""
    patience = _patience.get()
    return seconds if patience is None else min(seconds, patience.seconds)


@contextmanager
def spending() -> Iterator[None]:
    """The time that the block takes is taken off what is left."""
    began = time.monotonic()
    try:
        yield
    finally:
        patience = _patience.get()
        if patience is not None:
            patience.left -= time.monotonic() - began


def of_requests(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The middleware that gives each request its patience."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with at_most(OF_A_REQUEST):
            return get_response(request)

    return middleware
