"""title:    Statement texts
about:    The texts of chosen statements; without a choice those of the hundred that took the most time.
empty:    No statement has been counted yet.
scope:    instance
timeout:  20s
key:      database_id, query_id
column text_bytes: length of the whole text; what is longer than 100 kB is cut
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql

from dbadmin.connections import Session
from monitoring.statement_view import locate, require_sight

COLUMNS = ("user_id", "database_id", "query_id", "toplevel", "text_bytes", "query")

#: Reading texts loads the whole text file of the server, whatever is chosen: ask once, for new ids only.
QUERY = """
/* dbadmin probe statement_texts */
with chosen as materialized (
    select userid, dbid, queryid, {toplevel} as toplevel
    from {without_text}
    where queryid is not null and (queryid = any (%(ids)s) or cardinality(%(ids)s) = 0)
    order by total_exec_time desc
    limit case when cardinality(%(ids)s) = 0 then 100 end
)
select distinct on (dbid, queryid) userid, dbid, queryid, {toplevel} as toplevel,
    octet_length(query)::int8, left(query, 100000)
from {with_text}
where queryid in (select queryid from chosen) and query is not null
order by dbid, queryid, userid
"""


def rows(session: Session, ids: Sequence[int] = ()) -> Iterable[tuple[Any, ...]]:
    """Texts of these query ids, one for each database."""
    view = locate(session)
    require_sight(session, view)
    query = sql.SQL(QUERY).format(
        toplevel=view.first("toplevel"),
        without_text=view.call(with_text=False),
        with_text=view.call(with_text=True),
    )
    return session.connection.execute(query, {"ids": list(ids)}).fetchall()
