"""A request to the log: which server and database, who asks, and that it is recorded who looked at what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any

import psycopg
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.views.decorators.http import require_GET
from psycopg_pool import TooManyRequests

from audit import fresh
from audit.models import SealCheck
from audit.raw_text import NOTE, accepted, has_no_encoding
from audit.registry import Installed, installed
from audit.search import BadFilter, Filter
from dbadmin import connections
from dbadmin.addresses import whole
from dbadmin.events import record
from dbadmin.models import Server
from dbadmin.probes import Problem
from dbadmin.readings import main_database
from dbadmin.single_flight import is_absent, no_database
from dbadmin.views import server_for


@dataclass
class Asked:
    """What a view works with."""

    request: HttpRequest
    server: Server
    database: str
    session: connections.Session
    state: Installed = field(init=False)
    #: Changes that are not listed yet, and why they could not be.
    unlisted: int = 0
    why_unlisted: str = ""
    #: How many batches of them are listed first; None for all.
    batches: int | None = fresh.OF_A_PAGE

    def __post_init__(self) -> None:
        self.state = installed(self.rows)
        if self.state.version and fresh.waiting(self.rows):
            self.have_listed()

    def have_listed(self) -> None:
        """Have what row triggers wrote down listed; what could not be is told."""
        try:
            fresh.list_for_reader(self.server, self.database, self.batches)
        except psycopg.Error as error:
            self.why_unlisted = connections.why(error, "")
        self.unlisted = fresh.waiting(self.rows)

    def rows(self, query: Any, params: Any = None) -> Sequence[Any]:
        """Ask the log; the connection is read only and its statements are short."""
        return self.session.rows(query, params)

    def note(self, text: str, **facts: Any) -> None:
        """Looking at audit data is itself recorded."""
        record(self.request, "audit.view", text, self.server, database=self.database, **facts)

    @cached_property
    def check(self) -> SealCheck | None:
        """What is known of the log by its seals."""
        return SealCheck.standing(self.server, self.database)

    def altered(self, statement: int) -> list[str]:
        """What the check of the seals found of a statement."""
        return self.check.of_statement(statement) if self.check else []

    def context(self, **more: Any) -> dict[str, Any]:
        """What each template of the log is given."""
        return {
            "server": self.server,
            "database": self.database,
            "db_query": self.request.GET.get("db", ""),
            "state": self.state,
            "unlisted": self.unlisted,
            "why_unlisted": self.why_unlisted,
            "tab": more.pop("tab", "log"),
            "encoding_note": NOTE if has_no_encoding(self.session.connection) else "",
            "check": self.check,
            **more,
        }


@contextmanager
def opened_alone(request: HttpRequest, server: Server, database: str) -> Any:
    """The same for what takes its time: a connection of its own, so that nobody waits for it."""
    with connections.connect(server, "operate", database or None, read_only=True) as connection:
        session = connections.Session(connection, server)
        with accepted(connection):
            yield Asked(request, server, database or session.database, session, batches=None)


View = Callable[..., HttpResponse]


@contextmanager
def opened(request: HttpRequest, server: Server, database: str) -> Any:
    """A session on the log's database."""
    with connections.session(server, "operate", database or None) as session, accepted(session.connection):
        yield Asked(request, server, database or session.database, session)


def auditors(view: Callable[..., HttpResponse], permission: str = "audit.view") -> View:
    """A view of the log: for those who may, with an open session; trouble of the server becomes a page."""

    @login_required
    @require_GET
    @wraps(view)
    def asked(request: HttpRequest, server_name: str, **parts: Any) -> HttpResponse:
        server = server_for(request, server_name, permission)
        database = request.GET.get("db") or ""
        if is_absent(server, database):
            problem = no_database(server, database)
            return trouble(request, server, database, problem, 404)
        try:
            with opened(request, server, database) as asked:
                return view(asked, **parts)
        except psycopg.Error as error:
            return trouble(request, server, database, explain(error), 503)

    return asked


def trouble(
    request: HttpRequest, server: Server, database: str, problem: Problem, status: int
) -> HttpResponse:
    """The page that says why there is no log to show."""
    context = {"server": server, "problem": problem, "database": database, "tab": "log"}
    return render(request, "audit/problem.html", context, status=status)


def explain(error: Exception) -> Problem:
    """An error of the driver as a sentence."""
    text = str(error).strip().partition("\n")[0]
    match error:
        case psycopg.errors.InsufficientPrivilege():
            remedy = "GRANT dbadmin_audit TO <role of the operate DSN>;"
            return Problem("privilege", f"The role may not read the audit log: {text}.", remedy)
        case psycopg.errors.QueryCanceled():
            return Problem(
                "timeout", "No answer within the time limit. Narrow the search by table, person or time."
            )
        case TooManyRequests():
            return Problem("busy", connections.why(error, ""))
        case psycopg.OperationalError():
            return Problem("unreachable", connections.why(error, ""))
        case _:
            return Problem("error", text)


def moment(text: str) -> dt.datetime | None:
    """2026-03-01, 2026-03-01T09:47 -> a moment of the site's zone; None for anything else."""
    try:
        parsed = parse_datetime(text) if len(text) > 10 else None
        if parsed is None and (day := parse_date(text[:10])):
            parsed = dt.datetime.combine(day, dt.time())
    except ValueError:
        return None
    if parsed is None:
        return None
    return parsed if timezone.is_aware(parsed) else timezone.make_aware(parsed)


def readable_moments(request: HttpRequest, *names: str) -> None:
    """Refuse an address whose moments cannot be read: it would show or export more than was meant."""
    for name in names:
        text = request.GET.get(name, "").strip()
        if text and moment(text) is None:
            raise BadFilter(f"{text} is no moment. Write 2026-03-01T13:00.", name)


def filter_of(request: HttpRequest) -> Filter:
    """The search that the address names."""
    said = {name: request.GET.get(name, "").strip() for name in Filter.__dataclass_fields__}
    since, until = moment(said.pop("since")), moment(said.pop("until"))
    return Filter(since=since, until=until, **said)


def number(request: HttpRequest, name: str) -> int | None:
    """A number in the address, or None."""
    return whole(request.GET.get(name, ""))


__all__ = [
    "Asked",
    "auditors",
    "filter_of",
    "main_database",
    "moment",
    "number",
    "opened",
    "opened_alone",
    "readable_moments",
]
