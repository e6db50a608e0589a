"""title:    Exact bloat
about:    What pgstattuple finds in one chosen table: dead rows and free room, read from its pages.
empty:    Choose a table: ?schema=public&table=orders.
scope:    database
needs:    pgstattuple, pg_monitor
timeout:  60s
params:   schema, table
keeps:    10m
column dead_bytes:     rows that are dead and not removed yet
column free_bytes:     room for new rows; much of it is reused by later inserts
column scanned_ratio:  of the pages; pages that hold only visible rows are not read
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql

from dbadmin.connections import Session
from dbadmin.probes import ProbeProblem, Problem

COLUMNS = (
    "schema",
    "table",
    "heap_bytes",
    "live_rows",
    "dead_rows",
    "dead_bytes",
    "free_bytes",
    "bloat_ratio",
    "scanned_ratio",
)

LOCATE = """
select space.nspname from pg_catalog.pg_extension extension
join pg_catalog.pg_namespace space on space.oid = extension.extnamespace
where extension.extname = 'pgstattuple'
"""

#: By number, for the name would need rights on the schema.
QUERY = """
/* dbadmin probe exact_bloat */
select space.nspname, relation.relname, found.table_len, found.approx_tuple_count::int8,
    found.dead_tuple_count, found.dead_tuple_len, found.approx_free_space,
    (found.dead_tuple_len + found.approx_free_space)::float8 / nullif(found.table_len, 0),
    found.scanned_percent / 100
from pg_catalog.pg_class relation
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
cross join lateral {function}(relation.oid::pg_catalog.regclass) found
where space.nspname = %s and relation.relname = %s and relation.relkind in ('r', 'm')
"""


def rows(session: Session, schema: str = "", table: str = "") -> Iterable[tuple[Any, ...]]:
    """One row for the chosen table, none when none is chosen or it does not exist."""
    home = session.value(LOCATE)
    if home is None:
        raise ProbeProblem(
            Problem(
                "extension",
                f"The extension pgstattuple is not installed in database {session.database}.",
                "CREATE EXTENSION pgstattuple;",
            )
        )
    if not table:
        return []
    query = sql.SQL(QUERY).format(function=sql.Identifier(home, "pgstattuple_approx"))
    return session.connection.execute(query, [schema, table]).fetchall()
