"""title:    Statements
about:    What every kind of statement has cost since its counting began. Texts are kept apart.
empty:    No statement has been counted yet.
scope:    instance
every:    60s
key:      user_id, database_id, query_id, toplevel
column query_id:              equal statements share it; it may change with the next major version
column toplevel:              false for statements that run inside functions
column plan_seconds_total:    empty unless pg_stat_statements.track_planning is on
column read_seconds_total:    empty unless track_io_timing is on
column write_seconds_total:   empty unless track_io_timing is on
column max_seconds:           the slowest execution since since_at or the last reset
column since_at:              when counting of this statement began, from version 1.11 of the extension
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql

from dbadmin.connections import Session
from monitoring.statement_view import StatementView, locate, require_sight

COLUMNS = (
    "user_id",
    "database_id",
    "query_id",
    "toplevel",
    "calls_total",
    "exec_seconds_total",
    "plan_seconds_total",
    "max_seconds",
    "rows_total",
    "hit_blocks_total",
    "read_blocks_total",
    "dirtied_blocks_total",
    "written_blocks_total",
    "temp_read_blocks_total",
    "temp_written_blocks_total",
    "read_seconds_total",
    "write_seconds_total",
    "wal_bytes_total",
    "jit_seconds_total",
    "since_at",
)


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each statement, role, database and level; no text is read."""
    view = locate(session)
    require_sight(session, view)
    return session.connection.execute(query(view)).fetchall()


def query(view: StatementView) -> sql.Composed:
    """The statement for the columns that this version of the extension has."""
    text = sql.SQL(
        "/* dbadmin probe statements */ select userid, dbid, queryid, {toplevel}, calls,"
        " total_exec_time / 1000, {planning}, max_exec_time / 1000, rows,"
        " shared_blks_hit, shared_blks_read,"
        " shared_blks_dirtied, shared_blks_written, temp_blks_read, temp_blks_written,"
        " {read}, {write}, wal_bytes::int8, {jit}, {since}"
        " from {source} where queryid is not null"
    )
    return text.format(
        toplevel=view.first("toplevel"),
        planning=sql.SQL("total_plan_time / 1000" if view.times_planning else "null"),
        read=io_seconds(view, "read"),
        write=io_seconds(view, "write"),
        jit=jit_seconds(view),
        since=view.first("stats_since"),
        source=view.call(with_text=False),
    )


def io_seconds(view: StatementView, kind: str) -> sql.Composable:
    """Time of reads or writes of shared blocks, unknown when the server does not time them."""
    if not view.times_io:
        return sql.SQL("null")
    return sql.SQL("{} / 1000").format(view.first(f"shared_blk_{kind}_time", f"blk_{kind}_time"))


def jit_seconds(view: StatementView) -> sql.Composable:
    """Time of just-in-time compilation, unknown before version 1.10."""
    names = ("generation", "inlining", "optimization", "emission")
    if "jit_generation_time" not in view.columns:
        return sql.SQL("null")
    total = sql.SQL(" + ").join(sql.Identifier(f"jit_{name}_time") for name in names)
    return sql.SQL("({}) / 1000").format(total)
