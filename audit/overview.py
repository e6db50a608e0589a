"""The state of capture: each table of the database, whether it is watched, and what its log takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit import mapping
from audit.capture import Choices
from audit.gaps import Gap
from audit.models import CountedTable
from audit.registry import Installed, Watched, restored
from audit.tables import Rows

TABLES = """
select c.oid::bigint as relid, n.nspname as schema_name, c.relname as table_name, c.relkind::text as kind,
       nullif(c.reltuples, -1)::bigint as estimated_rows, changed.writes,
       c.relrowsecurity as has_row_security
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    -- The rows of a partitioned table are written to its partitions.
    with recursive part as (
        select c.oid
        union all
        select below.inhrelid from part join pg_catalog.pg_inherits below on below.inhparent = part.oid
        where c.relkind = 'p'
    )
    select sum(pg_catalog.pg_stat_get_tuples_inserted(oid) + pg_catalog.pg_stat_get_tuples_updated(oid)
        + pg_catalog.pg_stat_get_tuples_deleted(oid))::bigint as writes
    from part where not pg_catalog.pg_is_in_recovery()
) changed
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'dbadmin_audit') and n.nspname !~ '^pg_toast'
order by n.nspname, c.relname
limit 2000
"""
SIZES = """
select substring(parent.relname from '\\d+')::int as shape_id,
       case when not bool_or(c.relpages = 0 and pg_catalog.pg_stat_get_tuples_inserted(c.oid) > 0)
           then sum(c.relpages)::bigint * current_setting('block_size')::bigint end as size_bytes
from pg_catalog.pg_class c
join pg_catalog.pg_inherits i on i.inhrelid = c.oid
join pg_catalog.pg_class parent on parent.oid = i.inhparent
where parent.relnamespace = 'dbadmin_audit'::regnamespace and parent.relname ~ '^(rows|pairs)_\\d+$'
group by 1
"""
# Among the newest statements, else where the map has the table last.
LAST = """
with newest as (
    select distinct on (watched_id) watched_id, at, person from (
        select id, watched_id, at, coalesce(app_user, set_role, session_role) as person from dbadmin_audit.statement
        order by id desc limit 20000) s
    order by watched_id, id desc
)
select watched_id, at, person from newest
"""
MAPPED = """
union all
select w.id, s.at, s.person
from dbadmin_audit.watched w
cross join lateral (
    select number * 1024 + length(rtrim(blocks::text, '0')) - 1 as block from dbadmin_audit.stretch
    where kind = 't' and value = w.id order by number desc limit 1) k
cross join lateral (
    select at, coalesce(app_user, set_role, session_role) as person from dbadmin_audit.statement s
    where s.watched_id = w.id and id >= k.block * 64 and id < k.block * 64 + 64 order by id desc limit 1) s
where w.id not in (select watched_id from newest)
"""


@dataclass
class TableState:
    """One table, for the page."""

    schema: str
    name: str
    estimated_rows: int | None
    writes: int | None
    watched: Watched | None = None
    size_bytes: int | None = None
    last_at: Any = None
    last_person: str = ""
    trouble: list[str] = field(default_factory=list)
    is_gone: bool = False
    is_restored: bool = False
    #: Does the table hide rows from some? The log hides none.
    has_row_security: bool = False
    counted: CountedTable | None = None

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def chosen(self) -> str:
        """What was chosen for it other than is usual."""
        return chosen_for(self.watched) if self.watched else ""


def capture_overview(
    rows: Rows, state: Installed, counts: Mapping[int, CountedTable] | None = None, found: Sequence[Gap] = ()
) -> list[TableState]:
    """Tables of the database, and watched ones that are gone. counts: by watched id; found: gaps of the log."""
    watched = {w.relid: w for w in state.watched.values() if w.until is None}
    sizes = {row.shape_id: row.size_bytes for row in rows(SIZES)} if state.version else {}
    query = LAST + (MAPPED if state.version and mapping.is_ready(rows) else "")
    last = {row.watched_id: row for row in rows(query)} if state.version else {}
    gaps: dict[tuple[str, str], list[str]] = {}
    for gap in found:
        gaps.setdefault((gap.schema, gap.table), []).append(gap.problem)
    states, came = [], restored(rows, state)
    for row in rows(TABLES):
        known = came.get(row.relid)
        mine = watched.pop(known.relid if known else row.relid, None)
        one = TableState(row.schema_name, row.table_name, row.estimated_rows, row.writes, mine)
        one.has_row_security = row.has_row_security
        one.trouble = gaps.get((one.schema, one.name), [])
        if known:
            one.trouble, one.is_restored = ["Restored: upgrade its capture"], True
        if one.watched:
            fill(one, sizes, last)
            one.counted = (counts or {}).get(one.watched.id)
        states.append(one)
    for gone in watched.values():
        one = TableState(gone.schema, gone.name, None, None, gone, is_gone=True)
        fill(one, sizes, last)
        states.append(one)
    return sorted(states, key=lambda one: (one.watched is None, one.schema, one.name))


RULES = {"excluded": "left out", "hashed": "hashed", "masked": "masked"}


def chosen_for(watched: Watched) -> str:
    """`left out: password; statements' text kept; named by app.me`."""
    columns = watched.shapes[-1].columns if watched.shapes else []
    told = [
        f"{words}: {', '.join(names)}"
        for rule, words in RULES.items()
        if (names := [column.name for column in columns if column.rule == rule])
    ]
    return "; ".join([*told, *unusual(chosen_before(watched))])


def chosen_before(watched: Watched) -> Choices:
    """What was chosen when the table was watched; what is not told there as usual."""
    return Choices(**{name: watched.choices.get(name, value) for name, value in vars(Choices()).items()})


def unusual(chosen: Choices) -> list[str]:
    """What was chosen other than is usual, but for the columns."""
    told = []
    if chosen.query_text:
        told.append("statements' text kept")
    if not chosen.skip_unchanged:
        told.append("updates that change nothing kept")
    if chosen.on_failure == "continue":
        told.append("writes pass unrecorded")
    if chosen.level == "row":
        told.append("recorded for each row")
    if chosen.user_setting != Choices.user_setting:
        told.append(f"named by {chosen.user_setting}")
    return told


def log_bytes(watched: Watched, sizes: Mapping[int, int | None]) -> int | None:
    """What the rows of a table take in the log; None while some of it was never counted."""
    parts = [sizes.get(shape.id, 0) for shape in watched.shapes]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def fill(one: TableState, sizes: Mapping[int, int | None], last: dict[int, Any]) -> None:
    """What the log knows of it."""
    if one.watched is None:
        return
    one.size_bytes = log_bytes(one.watched, sizes)
    latest = last.get(one.watched.id)
    if latest:
        one.last_at, one.last_person = latest.at, latest.person or ""
