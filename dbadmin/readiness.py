"""What a server still lacks, each with the exact statement that mends it; and whether it can be reached at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from dbadmin.connections import LEAST_VERSION, Session, limit, open_dsn, why
from dbadmin.models import Server
from dbadmin.probes import PROBES, Reading


@dataclass(frozen=True)
class Fix:
    """An operation, its form filled in, that mends what a check found."""

    operation: str
    params: Mapping[str, Any]
    label: str


@dataclass(frozen=True)
class Check:
    """One line of the list. state: ok, warning, critical or unknown; remedy: the statement that mends it."""

    state: str
    title: str
    message: str
    remedy: str = ""
    fix: Fix | None = None


class Unreachable(Exception):
    """The DSN opens no connection; the message says why. field: host, port, user, password or database."""

    def __init__(self, message: str, field: str = "dsn") -> None:
        super().__init__(message)
        self.field = field


POOLED = (
    "This DSN leads through a pooler, which hands the sessions of the server around: time limits, locks and progress of"
    " ours would be another's. Give the server's own host and port; the pooler has a field of its own."
)

CONSOLE = (
    "This is the console of a PgBouncer, which has a field of its own. Give the host and port of the server."
)


def open_session(dsn: str, server: Server | None = None) -> Session:
    """Open a read-only session or raise Unreachable with the cause."""
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise Unreachable(f"This is not a DSN: {str(error).strip()}") from None
    try:
        connection = open_dsn(dsn)
    except psycopg.Error as error:
        sentence = why(error, dsn)
        field = "password" if "password" in sentence.lower() else "dsn"
        raise Unreachable(sentence, field) from None
    session = Session(connection, server)
    trouble = unsuitable(session)
    if trouble:
        connection.close()
        raise Unreachable(trouble)
    limit(connection)
    return session


def unsuitable(session: Session) -> str:
    """Why this is nothing that we could look after; "" when it is a server."""
    if session.is_pgbouncer:
        return CONSOLE
    info = session.connection.info
    if info.server_version < LEAST_VERSION:
        return f"The server is PostgreSQL {info.server_version // 10000}; dbadmin reads 13 and newer."
    # A pooler makes up the number of the session that it hands out.
    if info.backend_pid != session.value("select pg_catalog.pg_backend_pid()"):
        return POOLED
    return ""


def checks(session: Session) -> list[Check]:
    """What the readiness probe says now, worst first."""
    return checks_of(PROBES["readiness"].read(session))


def checks_of(reading: Reading) -> list[Check]:
    """A reading of the readiness probe as checks, worst first."""
    found = [from_row(row) for row in reading.rows]
    if reading.problem:
        found.append(Check("unknown", reading.probe.title, reading.problem.message, reading.problem.remedy))
    order = {"critical": 0, "warning": 1, "unknown": 2, "ok": 3}
    return sorted(found, key=lambda check: order.get(check.state, 2))


#: The readiness probe's words -> states of the look.
STATES = {"ready": "ok", "missing": "critical", "advised": "warning", "unknown": "unknown"}


def from_row(row: Any) -> Check:
    """A row of the probe: check, state, why, remedy."""
    state = STATES.get(row.state, "unknown")
    # A setting or an extension keeps its spelling: track_counts, pg_stat_statements is loaded.
    named = "_" in row.check.partition(" ")[0]
    title = row.check if named else row.check[:1].upper() + row.check[1:]
    return Check(state, title, row.why, "" if state == "ok" else row.remedy or "")


def score(checks: list[Check]) -> int | None:
    """Percent of the checks that are fine; None without any. 100 only when all are."""
    return 100 * sum(check.state == "ok" for check in checks) // len(checks) if checks else None


def check_dsn(dsn: str, server: Server | None = None) -> list[Check]:
    """Connect and look; raises Unreachable."""
    session = open_session(dsn, server)
    with session.connection:
        return checks(session)


def operate_checks(session: Session) -> list[Check]:
    """What the role of operations may do."""
    reads = "pg_catalog.pg_has_role('pg_read_all_data', 'usage')" if session.major >= 14 else "rolsuper"
    row = session.row(
        "select rolsuper, rolcreatedb, rolname,"  # noqa: S608 - one of the two expressions above
        f" pg_catalog.pg_has_role('pg_signal_backend', 'usage') as signals, {reads} as reads"
        " from pg_catalog.pg_roles where rolname = current_user"
    )
    role = f'"{row.rolname}"'
    wanted = (
        (
            row.rolsuper or row.rolcreatedb,
            "Create databases",
            "restores beside the original",
            f"ALTER ROLE {role} CREATEDB;",
        ),
        (
            row.signals,
            "Signal backends",
            "cancelling and ending sessions",
            f"GRANT pg_signal_backend TO {role};",
        ),
        (row.reads, "Read all data", "backups of every table", f"GRANT pg_read_all_data TO {role};"),
    )
    return [
        Check("ok" if have else "warning", title, f"Needed for {reason}.", "" if have else remedy)
        for have, title, reason, remedy in wanted
    ]
