"""The evidence that two looks at a server's counters can be compared, and the cause when they cannot.

A counter is compared only inside one epoch. Restarts change the start; a crash also resets the background
writer's statistics, the only trace that a crashed backend leaves; a reset changes the moment of its part.
The evidence is taken before and after each round: what changed in between makes the round itself ambiguous.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from dbadmin.connections import Session
from monitoring.models import Gap

STATEMENTS_RESET = "pg_stat_statements was reset."
VIEWS = ("bgwriter", "checkpointer", "wal", "io", "archiver", "slru", "recovery_prefetch")
FIND = """
/* dbadmin epoch */ select array(
    select view.relname::text from pg_catalog.pg_class view
    join pg_catalog.pg_attribute part on part.attrelid = view.oid and part.attname = 'stats_reset'
    where view.relnamespace = 'pg_catalog'::regnamespace and view.relname = any(%s) order by 1
) as views, (
    select space.nspname::text from pg_catalog.pg_extension extension
    join pg_catalog.pg_namespace space on space.oid = extension.extnamespace
    join pg_catalog.pg_proc entry
        on entry.pronamespace = space.oid and entry.proname = 'pg_stat_statements_info'
    where extension.extname = 'pg_stat_statements'
        and pg_catalog.current_setting('pg_stat_statements.max', true) is not null
) as statements
"""
LOOK = """
/* dbadmin epoch */ select clock_timestamp() as at, pg_catalog.pg_postmaster_start_time() as start,
    pg_catalog.pg_is_in_recovery() as in_recovery, {shared} as shared,
    (select pg_catalog.array_agg(datname::text order by datid) from pg_catalog.pg_stat_database
        where datname is not null) as names,
    (select pg_catalog.array_agg(stats_reset order by datid) from pg_catalog.pg_stat_database
        where datname is not null) as resets,
    {evictions} as evictions, {statements} as statements
"""


@dataclass(frozen=True)
class Evidence:
    """What a look at the server's epoch showed."""

    at: dt.datetime
    start: dt.datetime
    version: int
    identity: str
    in_recovery: bool
    shared: tuple[tuple[str, dt.datetime | None], ...]
    databases: tuple[tuple[str, dt.datetime | None], ...]
    evictions: int | None
    statements: dt.datetime | None


@dataclass
class Witness:
    """Takes the evidence on a connection; finds once what this server has to offer."""

    queries: dict[int, tuple[sql.Composed, tuple[str, ...]]] = field(default_factory=dict)
    identity: str = ""

    def look(self, session: Session) -> Evidence:
        """The evidence now."""
        query, views = self.query(session)
        try:
            row = session.row(query)
        except psycopg.ProgrammingError:
            # The extension was dropped, moved or updated since the last look.
            self.queries.clear()
            query, views = self.query(session)
            row = session.row(query)
        return Evidence(
            row.at,
            row.start,
            session.version,
            self.identity,
            row.in_recovery,
            tuple(zip(views, row.shared, strict=True)),
            tuple(zip(row.names or (), row.resets or (), strict=True)),
            row.evictions,
            row.statements,
        )

    def query(self, session: Session) -> tuple[sql.Composed, tuple[str, ...]]:
        """The statement for this connection; made anew for each, for the extension may have come or gone."""
        known = self.queries.get(id(session.connection))
        if known is None:
            self.queries.clear()
            self.identity = identity(session)
            query, views, is_complete = self.make(session)
            if not is_complete:
                return query, views  # The extension may come any time: ask for it anew each time.
            known = self.queries[id(session.connection)] = (query, views)
        return known

    @staticmethod
    def make(session: Session) -> tuple[sql.Composed, tuple[str, ...], bool]:
        """Ask only for views and columns that the server really has; are statements counted there?"""
        found = session.row(FIND, [[f"pg_stat_{view}" for view in VIEWS]])
        shared = sql.SQL(", ").join(
            sql.SQL("(select max(stats_reset) from {})").format(sql.Identifier("pg_catalog", view))
            for view in found.views
        )
        query = sql.SQL(LOOK).format(
            shared=sql.SQL("array[{}]").format(shared),
            evictions=of_statements("dealloc", found.statements),
            statements=of_statements("stats_reset", found.statements),
        )
        return query, tuple(found.views), bool(found.statements)


def of_statements(column: str, schema: str | None) -> sql.Composable:
    """A column of the extension's account of itself, null where it has none."""
    if not schema:
        return sql.SQL("null")
    function = sql.Identifier(schema, "pg_stat_statements_info")
    return sql.SQL("(select {} from {}())").format(sql.Identifier(column), function)


def identity(session: Session) -> str:
    """The system identifier, "" when this role may not read it."""
    try:
        return str(session.value("select system_identifier from pg_catalog.pg_control_system()"))
    except psycopg.errors.InsufficientPrivilege:
        return ""


@dataclass(frozen=True)
class Break:
    """Why counters before and after cannot be compared."""

    cause: Gap.Cause
    text: str


def changed(before: tuple[tuple[str, Any], ...], after: tuple[tuple[str, Any], ...]) -> list[str]:
    """Names whose moment changed or that went."""
    now = dict(after)
    return [name for name, moment in before if name not in now or now[name] != moment]


def server_break(before: Evidence, after: Evidence) -> Break | None:
    """What ended the epoch of all counters of the server."""
    if before.identity != after.identity:
        return Break(Gap.Cause.REPLACED, "Another server answers at this address.")
    if before.version // 10000 != after.version // 10000:
        text = f"The server was upgraded from {before.version // 10000} to {after.version // 10000}."
        return Break(Gap.Cause.UPGRADE, text)
    gone = changed(before.shared, after.shared)
    lost = len(gone) > 1 or len(gone) == len(before.shared)
    if before.start != after.start:
        return restart("pg_stat_bgwriter" in gone)
    if lost and "pg_stat_bgwriter" in gone and at_once(after, gone):
        return Break(Gap.Cause.CRASH, "A process crashed; the server started over and lost its statistics.")
    return None


def restart(lost: bool) -> Break:
    """A start of the server; only a crash loses the statistics."""
    if lost:
        return Break(Gap.Cause.CRASH, "The server went down without a clean stop and lost its statistics.")
    return Break(Gap.Cause.RESTART, "The server was restarted.")


def at_once(evidence: Evidence, names: list[str]) -> bool:
    """Were these parts reset within the same second? A crash resets all together."""
    moments = [moment for name, moment in evidence.shared if name in names and moment is not None]
    return bool(moments) and (max(moments) - min(moments)).total_seconds() < 1


def shared_break(before: Evidence, after: Evidence) -> Break | None:
    """A reset of shared statistics."""
    gone = changed(before.shared, after.shared)
    if not gone:
        return None
    return Break(Gap.Cause.RESET, shared_reset(gone))


def shared_reset(names: Iterable[str]) -> str:
    """In words."""
    return f"The statistics of {', '.join(names)} were reset."


def database_reset(names: Iterable[str]) -> str:
    """In words."""
    return f"Statistics of database {', '.join(names)} were reset, all or of one table."


def database_break(before: Evidence, after: Evidence, database: str = "") -> Break | None:
    """A reset in one database, or (for sums over all) in any, or the end of one."""
    gone = [name for name in changed(before.databases, after.databases) if database in ("", name)]
    if after.version < 150000:
        # There the counting of a database begins with its first use: that is no reset.
        unused = {name for name, moment in before.databases if moment is None}
        gone = [name for name in gone if name not in unused or name not in dict(after.databases)]
    if not gone:
        return None
    known = dict(after.databases)
    dropped = [name for name in gone if name not in known]
    if dropped:
        return Break(
            Gap.Cause.RESET,
            f"There is no database {', '.join(dropped)} any more: dropped, with its statistics, or renamed.",
        )
    return Break(Gap.Cause.RESET, database_reset(gone))


def statements_break(before: Evidence, after: Evidence) -> Break | None:
    """A reset of all statements."""
    if before.statements != after.statements:
        return Break(Gap.Cause.RESET, STATEMENTS_RESET)
    return None
