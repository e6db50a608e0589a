"""title:    Our own cost
about:    What the statements of our own monitoring role have cost this server, and their share of all work.
empty:    Nothing of ours has been counted yet.
scope:    instance
every:    2m
warning:  core_ratio > 0.01
column role:               everything that this role runs is counted, so give us a role of our own
column core_ratio:         their time of one processor, since the counting began; empty in its first two minutes
column share_ratio:        of all statements' time; empty while they keep less than 1 % of a processor busy
column connections_count:  open connections of this role
column readers_count:      times that this server is read with this role, as when its databases are servers of their own
column temp_blocks_total:  written to temporary files; should stay zero
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql

from dbadmin.connections import READER, Session
from monitoring.statement_view import locate

COLUMNS = (
    "role",
    "calls_total",
    "exec_seconds_total",
    "core_ratio",
    "share_ratio",
    "read_rows_total",
    "read_blocks_total",
    "hit_blocks_total",
    "temp_blocks_total",
    "connections_count",
    "readers_count",
)

#: Seconds of counting below which our share of it says nothing: at first we are the only ones.
LEAST = 120
QUERY = """
/* dbadmin probe own_cost */
select current_user::text, coalesce(sum(calls) filter (where mine), 0)::int8,
    coalesce(sum(total_exec_time) filter (where mine), 0) / 1000,
    case when min(extract(epoch from now() - began)) > {least}
        then (coalesce(sum(total_exec_time) filter (where mine), 0) / 1000
            / min(extract(epoch from now() - began)))::float8 end,
    case when sum(total_exec_time) > 10 * greatest({least}, min(extract(epoch from now() - began)))
        then sum(total_exec_time) filter (where mine) / sum(total_exec_time) end,
    coalesce(sum(rows) filter (where mine), 0)::int8,
    coalesce(sum(shared_blks_read) filter (where mine), 0)::int8,
    coalesce(sum(shared_blks_hit) filter (where mine), 0)::int8,
    coalesce(sum(temp_blks_written) filter (where mine), 0)::int8,
    (select count(*) from pg_catalog.pg_stat_activity where usename = current_user),
    (select count(*) from pg_catalog.pg_stat_activity where usename = current_user and application_name = {reader})
from (select *, userid = (select oid from pg_catalog.pg_roles where rolname = current_user) as mine
      from {statements}) statement
cross join (select coalesce(info.stats_reset, pg_catalog.pg_postmaster_start_time()) as began from {info} info) since
"""


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row, for the role of this connection."""
    view = locate(session)
    query = sql.SQL(QUERY).format(
        statements=view.call(with_text=False), info=view.info(), least=LEAST, reader=READER
    )
    return session.connection.execute(query).fetchall()
