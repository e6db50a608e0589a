"""Polls are answered at the door: a panel that was just written needs neither Django nor a pooled connection."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from django.conf import settings
from django.http import parse_cookie

from dbadmin.control import direct_connection
from dbadmin.shared_panels import PANELS, PEOPLE, PROOF, Proof, key_of

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
#: How long a poll waits for others to be proven before it goes the ordinary way, and how long all of them go that way
#: when our database could not be reached, seconds.
WAIT, REST = 0.05, 5.0


class Prover:
    """A connection of this process's own, on which the statement is prepared that proves who asks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: psycopg.Connection[Any] | None = None
        self.rest_until = 0.0

    def forget(self) -> None:
        """After a fork the connection is the parent's."""
        self.__init__()  # type: ignore[misc]

    def read(self, session: str, person: int) -> Proof | None:
        """As shared_panels.read(); None also when there is no answer here: the ordinary way tells why."""
        if time.monotonic() < self.rest_until or not self.lock.acquire(timeout=WAIT):
            return None
        try:
            if self.connection is None:
                self.connection = direct_connection("dbadmin polls")
            row = self.connection.execute(PROOF, [session, person], prepare=True).fetchone()
            return Proof(*row) if row else None
        except psycopg.Error:
            self.connection, self.rest_until = None, time.monotonic() + REST
            return None
        finally:
            self.lock.release()


PROVER = Prover()
os.register_at_fork(after_in_child=PROVER.forget)


def at_the_door(application: Application) -> Application:
    """Give what was just written for the same rights; everything else goes in.

    Who asks is proven each time, as inside: a person is known here only after having been proven there.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if found := known(environ):
            content, headers = found
            start_response("200 OK", headers)
            return [content]
        response = application(environ, start_response)
        if panel := getattr(response, "panel", None):
            panel.sent = list(response.items())  # type: ignore[attr-defined]
        return response

    return answer


def known(environ: dict[str, Any]) -> tuple[bytes, list[tuple[str, str]]] | None:
    """The panel that a poll asks for, and the headers with which it was sent; None for everything else."""
    if environ.get("HTTP_HX_REQUEST") != "true" or "panel=" not in environ.get("QUERY_STRING", ""):
        return None
    session = parse_cookie(environ.get("HTTP_COOKIE", "")).get(settings.SESSION_COOKIE_NAME, "")
    person = PEOPLE.get(session) if session else None
    if person is None or PROVER.read(session, person.person) != person:
        return None
    panel = PANELS.get(key_of(person, environ))
    return (panel.content, panel.sent) if panel and panel.sent and time.monotonic() < panel.until else None
