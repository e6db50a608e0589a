"""Sessions that somebody wants to cancel or end: which they are, and that they are still the same."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from psycopg import Connection

from dbadmin.operations import Refused, oneline
from dbadmin.passwords import without_passwords
from dbadmin.steps import Sql

if TYPE_CHECKING:
    from dbadmin.models import Server
    from dbadmin.work import Work

SESSION = (
    "select pid, usename as role, datname as database, application_name, backend_type, backend_start,"
    " coalesce(host(client_addr), 'local') as client, pid = pg_catalog.pg_backend_pid() as is_this,"
    " extract(epoch from pg_catalog.clock_timestamp() - backend_start)::float8 as age,"
    " extract(epoch from pg_catalog.clock_timestamp() - query_start)::float8 as statement_age"
    " from pg_catalog.pg_stat_activity where pid = %s"
)
NOW = (
    "select state, query, extract(epoch from pg_catalog.clock_timestamp() - query_start) as seconds"
    " from pg_catalog.pg_stat_activity where pid = %s and backend_start = %s"
)
OF_PEOPLE = {"client backend", "parallel worker", "autovacuum worker"}
LONGEST_QUERY = 400


class SessionForm(forms.Form):
    """A session by its process id; when it began, or was seen, guards against another one of the same id."""

    pid = forms.IntegerField(min_value=1, label="Process id")
    backend_start = forms.CharField(required=False, widget=forms.HiddenInput)
    seen_at = forms.CharField(required=False, widget=forms.HiddenInput)


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        found = None
    if text and (found is None or timezone.is_naive(found)):
        raise Refused(
            f"{text!r} is no moment with a time zone. Choose the session on its page again.", field="pid"
        )
    return found


def find_session(server: Server, params: Any, *, same_statement: bool = False) -> Any:
    """The session's row; raises Refused when it is gone, ours, or the server's own.

    params: pid, and backend_start or seen_at (when a page showed it), if known. same_statement: also when it has begun
    another statement since it was seen. How old something is tells each clock for itself: they need not agree.
    """
    pid = params["pid"]
    seen = _moment(params.get("seen_at") or "")
    found = server.row(SESSION, [pid])
    since = (timezone.now() - seen).total_seconds() if seen else None
    started = params.get("backend_start") or ""
    if found is None or (
        started and started not in {str(found.backend_start), found.backend_start.isoformat()}
    ):
        raise Refused(f"Session {pid} has ended. Nothing is left to do.", field="pid")
    if since is not None and found.age < since:
        raise Refused(
            f"The session that you saw has ended; process id {pid} belongs to another one now. Nothing was done.",
            field="pid",
        )
    if (
        same_statement
        and since is not None
        and found.statement_age is not None
        and found.statement_age < since
    ):
        raise Refused(
            f"The statement that you saw has ended; session {pid} has begun another one since. Nothing was done.",
            field="pid",
        )
    if found.is_this or (found.application_name or "").startswith("dbadmin"):
        own = found.application_name
        raise Refused(f"Session {pid} is dbadmin's own ({own}). Cancel its run instead.", field="pid")
    if found.backend_type not in OF_PEOPLE:
        raise Refused(
            f"Session {pid} is the server's own {found.backend_type}; PostgreSQL needs it.", field="pid"
        )
    return found


def described(found: Any) -> str:
    """Who it is, in words that do not change while it lives."""
    if found.role is None:
        return f"Session {found.pid}: {found.backend_type} in {found.database}"
    where = f"{found.database} from {found.client}"
    return f"Session {found.pid}: {found.role} in {where} ({found.application_name})"


@dataclass(frozen=True)
class Signal(Sql):
    """Sends a signal to one session, if it is still the one that was meant, and tells what it was doing."""

    pid: int = 0
    backend_start: Any = None
    until_gone: float = 0.0
    verb: str = "Cancelled"

    def perform(self, work: Work, connection: Connection[Any]) -> None:
        """Look, signal, look again."""
        doing = connection.execute(NOW, [self.pid, self.backend_start]).fetchone()
        sent = connection.execute(self.statement, self.params).fetchone()  # type: ignore[arg-type]
        if doing is None or sent is None:
            raise Refused(f"Session {self.pid} has ended by itself. Nothing was done.")
        if not sent[0]:
            raise Refused(f"Session {self.pid} could not be signalled; it was ending already.")
        state, query, seconds = doing
        text = oneline(without_passwords(query or ""))
        shown = text if len(text) <= LONGEST_QUERY else f"{text[:LONGEST_QUERY]}…"
        was = f"was {state}" + (f" for {float(seconds):.0f} s" if seconds is not None else "")
        end = (
            ""
            if self.is_gone(connection)
            else " It has not ended yet; it will when it next looks for signals."
        )
        work.say(f"{self.verb} session {self.pid}, which {was}: {shown or 'no statement'}.{end}")
        work.result(state=state, query=text, seconds=float(seconds or 0))

    def is_gone(self, connection: Connection[Any]) -> bool:
        """Wait until the session has ended, if that is wanted."""
        deadline = time.monotonic() + self.until_gone
        while self.until_gone:
            if connection.execute(NOW, [self.pid, self.backend_start]).fetchone() is None:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
