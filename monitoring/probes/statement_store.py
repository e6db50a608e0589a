"""title:    Statement store
about:    How full pg_stat_statements is, and how often it had to forget statements to make room.
empty:    The extension keeps no account of itself.
scope:    instance
every:    5m
column evictions_total:  times that the least used five per cent were forgotten, and with them their counts
column entries_count:    statements held now
column limit_count:      pg_stat_statements.max
column hidden_count:     statements of other roles that this role may not tell apart
column reset_at:         when all counters were last set back
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql

from dbadmin.connections import Session
from monitoring.statement_view import locate

COLUMNS = (
    "entries_count",
    "limit_count",
    "used_ratio",
    "hidden_count",
    "evictions_total",
    "reset_at",
    "tracks",
    "extension_version",
)

#: The number of entries without touching their texts; the info view exists from PostgreSQL 14.
QUERY = """
/* dbadmin probe statement_store */
select held.entries, allowed.most, held.entries::float8 / allowed.most, held.hidden,
    info.dealloc, info.stats_reset,
    pg_catalog.current_setting('pg_stat_statements.track'),
    (select extversion from pg_catalog.pg_extension where extname = 'pg_stat_statements')
from (select count(*) as entries, count(*) filter (where queryid is null) as hidden from {statements}) held,
    (select pg_catalog.current_setting('pg_stat_statements.max')::int8 as most) allowed,
    {info} info
"""


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row."""
    view = locate(session)
    query = sql.SQL(QUERY).format(statements=view.call(with_text=False), info=view.info())
    return session.connection.execute(query).fetchall()
