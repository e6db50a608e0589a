"""Where pg_stat_statements lies on a server, and which columns it really has there."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from dbadmin.connections import Session
from dbadmin.probes import ProbeProblem, Problem

#: The extension may lie in any schema, and after an upgrade keep its old columns until it is updated.
LOCATE = """
select space.nspname as schema, entry.proargnames as columns,
    pg_catalog.current_setting('track_io_timing')::bool as times_io,
    coalesce(pg_catalog.current_setting('pg_stat_statements.track_planning', true)::bool, false) as times_planning,
    pg_catalog.pg_has_role('pg_read_all_stats', 'usage') as sees_all,
    pg_catalog.current_setting('block_size')::int8 as block_size,
    exists (select from pg_catalog.pg_proc info where info.pronamespace = space.oid
        and info.proname = 'pg_stat_statements_info') as has_info
from pg_catalog.pg_extension extension
join pg_catalog.pg_namespace space on space.oid = extension.extnamespace
join pg_catalog.pg_proc entry on entry.pronamespace = space.oid and entry.proname = 'pg_stat_statements'
where extension.extname = 'pg_stat_statements'
"""


@dataclass(frozen=True)
class StatementView:
    """The extension as this database has it."""

    schema: str
    columns: frozenset[str]
    times_io: bool
    times_planning: bool
    sees_all: bool
    block_size: int
    has_info: bool

    def call(self, with_text: bool) -> sql.Composed:
        """The function behind the view: without text it reads no file and spills nothing."""
        text = sql.SQL("true" if with_text else "false")
        return sql.SQL("{}({})").format(sql.Identifier(self.schema, "pg_stat_statements"), text)

    def info(self) -> sql.Composed:
        """One row with dealloc and stats_reset; both null before version 1.9 of the extension."""
        if not self.has_info:
            return sql.SQL("(select null::int8 as dealloc, null::timestamptz as stats_reset)").format()
        return sql.SQL("{}()").format(sql.Identifier(self.schema, "pg_stat_statements_info"))

    def first(self, *names: str) -> sql.Composable:
        """The first of these columns that exists here, or null."""
        return next((sql.Identifier(name) for name in names if name in self.columns), sql.SQL("null"))


def locate(session: Session) -> StatementView:
    """Find the extension; raises ProbeProblem when it is missing here or its library is not loaded."""
    found = session.row(LOCATE)
    if found is None:
        raise ProbeProblem(
            Problem(
                "extension",
                f"The extension pg_stat_statements is not installed in database {session.database}.",
                "CREATE EXTENSION pg_stat_statements;",
            )
        )
    view = StatementView(
        found.schema,
        frozenset(found.columns),
        found.times_io,
        found.times_planning,
        found.sees_all,
        found.block_size,
        found.has_info,
    )
    if session.value("select pg_catalog.current_setting('pg_stat_statements.max', true)") is None:
        raise ProbeProblem(not_loaded(session))
    return view


def not_loaded(session: Session) -> Problem:
    """The library is not preloaded: the statement that adds it and keeps the others."""
    loaded = session.value("select pg_catalog.current_setting('shared_preload_libraries', true)")
    names = [name.strip().strip('"') for name in (loaded or "").split(",") if name.strip()]
    wanted = ", ".join(sql.Literal(name).as_string(None) for name in [*names, "pg_stat_statements"])
    return Problem(
        "extension",
        "pg_stat_statements is installed but its library is not loaded when the server starts.",
        f"ALTER SYSTEM SET shared_preload_libraries = {wanted}; -- then restart the server",
    )


def require_sight(session: Session, view: StatementView) -> None:
    """Without pg_read_all_stats other roles' statements have no identity and cannot be told apart."""
    if view.sees_all:
        return
    hidden = session.value(
        sql.SQL("select count(*) from {} where queryid is null").format(view.call(with_text=False))
    )
    role = sql.Identifier(session.connection.info.user or "").as_string(None)
    raise ProbeProblem(
        Problem(
            "privilege",
            f"{hidden} statements of other roles are hidden from {session.connection.info.user}.",
            f"GRANT pg_read_all_stats TO {role};",
        )
    )
