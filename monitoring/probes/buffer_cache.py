"""title:    Shared buffers
about:    Which tables and indexes of this database fill the shared buffers.
empty:    Nothing of this database is in shared buffers.
scope:    database
needs:    pg_buffercache, pg_monitor
timeout:  20s
column cached_ratio:  share of the relation that is in memory
column share_ratio:   share of shared buffers that it takes
column changed_bytes: not written out yet
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql

from dbadmin.connections import Session
from dbadmin.probes import ProbeProblem, Problem

COLUMNS = ("schema", "relation", "kind", "cached_bytes", "changed_bytes", "share_ratio", "cached_ratio")

LOCATE = """
select space.nspname from pg_catalog.pg_extension extension
join pg_catalog.pg_namespace space on space.oid = extension.extnamespace
where extension.extname = 'pg_buffercache'
"""

#: Files are matched by number: pg_relation_filenode() of every relation would cost more than the buffers.
QUERY = """
/* dbadmin probe buffer_cache */
with held as (
    select relfilenode, count(*) as buffers, count(*) filter (where isdirty) as changed
    from {view}
    where reldatabase = (select oid from pg_catalog.pg_database where datname = current_database())
        and relforknumber = 0
    group by relfilenode
), size as (
    select pg_catalog.current_setting('block_size')::int8 as block,
        pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')) as whole
)
select space.nspname, relation.relname,
    case relation.relkind when 'i' then 'index' when 't' then 'TOAST' when 'm' then 'materialized view'
        else 'table' end,
    held.buffers * size.block, held.changed * size.block, held.buffers * size.block / size.whole::float8,
    least(held.buffers / nullif(relation.relpages, 0)::float8, 1)
from held
join pg_catalog.pg_class relation on relation.relfilenode = held.relfilenode and relation.relfilenode <> 0
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
cross join size
where relation.oid >= 16384
order by held.buffers desc, space.nspname, relation.relname
limit 100
"""


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """The hundred relations that take the most room."""
    home = session.value(LOCATE)
    if home is None:
        raise ProbeProblem(
            Problem(
                "extension",
                f"The extension pg_buffercache is not installed in database {session.database}.",
                "CREATE EXTENSION pg_buffercache;",
            )
        )
    query = sql.SQL(QUERY).format(view=sql.Identifier(home, "pg_buffercache"))
    return session.connection.execute(query).fetchall()
