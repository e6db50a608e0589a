"""Rows and tables as they were: read from the log alone."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import Any

from psycopg.sql import SQL, Identifier, Literal

from audit import walk
from audit.chains import NEAR
from audit.changes import exact, image, life, with_statements
from audit.long_values import columns_of
from audit.registry import Installed, Shape, Watched, images_of
from audit.search import SKEW, Change, Filter, key_statements, key_values
from audit.tables import Rows

Row = dict[str, str | None]


def row_at(rows: Rows, state: Installed, table: Watched, key: str, moment: dt.datetime) -> Change | None:
    """The last change of a row up to a moment; its `new` is the row as it was, None when it was deleted then."""
    before: int | None = rows("select dbadmin_audit.first_id(%s) as id", [moment + SKEW])[0].id
    while found := life(rows, state, table, key, before, 50):
        unseen = committed_after(rows, moment, [change.statement_id for change in found])
        for change in found:
            if change.at is not None and change.at <= moment and change.statement_id not in unseen:
                return unless_gone(rows, table, key_values(key), change, moment)
        before = min(change.statement_id for change in found)
    return found_so(rows, state, table, key, moment)


#: Is a statement s one that ran before a moment, but was committed after it? Numbers of transactions come round again
#: after 2^31; of those further back the server keeps no time.
UNSEEN = """(s.at <= %s and pg_snapshot_xmax(pg_current_snapshot())::text::bigint - s.xid::text::bigint < 2147483648
    and pg_xact_commit_timestamp(s.xid::xid) > %s)"""
KEEPS_TIMES = "select current_setting('track_commit_timestamp') = 'on' as does"


def knows_commits(rows: Rows) -> bool:
    """Does the server keep when each transaction was committed? What it did before it was told to is not known."""
    return bool(rows(KEEPS_TIMES)[0].does)


def committed_after(rows: Rows, moment: dt.datetime, numbers: list[int]) -> set[int]:
    """Of these statements, those that ran before a moment and that nobody else saw then, as far as the server knows."""
    if not knows_commits(rows):
        return set()
    query = f"select s.id from dbadmin_audit.statement s where s.id = any(%s) and {UNSEEN}"  # noqa: S608
    return {row.id for row in rows(query, [numbers, moment, moment])}


#: Months between two moments that the log does not have: they expired, or were never made.
LACKING = """
select from generate_series(date_trunc('month', %s at time zone 'UTC'), %s at time zone 'UTC', '1 month') m
where to_regclass('dbadmin_audit.statement_' || to_char(m, 'YYYY_MM')) is null
"""


def found_so(rows: Rows, state: Installed, table: Watched, key: str, moment: dt.datetime) -> Change | None:
    """A row that the log knows only later, as its first change found it: so it was since its table is watched."""
    if moment < table.since:
        return None
    wanted = Filter(table=str(table), key=key)
    after = rows("select dbadmin_audit.first_id(%s) as id", [moment - SKEW])[0].id - 1
    numbers, _ = key_statements(rows, state, wanted, None, after, NEAR)
    later = life(rows, state, table, key, numbers[-1][0] + 1, 4 * NEAR) if numbers else []
    first = later[-1] if later else None
    if first is None or first.at is None or first.old is None:
        return None
    is_same = [first.old.get(name) for name in first.key] == key_values(key)
    if not is_same or rows(LACKING, [moment, first.at]):
        return None
    return replace(first, old=None, new=first.old)


EMPTIED = """
with truncates as materialized (select id, at from dbadmin_audit.statement where operation = 'T' and watched_id = %s
    and note is null)
select id, at from truncates where id > %s and at <= %s order by id
"""


#: Partitions that were emptied alone, the newest first.
ALONE = """
select s.id, s.at, substring(s.note from 10) as name, 'emptied' as became from dbadmin_audit.statement s
where s.watched_id = %s and s.operation = 'T' and s.note is not null and s.id > %s and s.at > %s and s.at <= %s
  and not exists (select from dbadmin_audit.statement w
                  where w.watched_id = s.watched_id and w.operation = 'T' and w.note is null and w.xid = s.xid)
order by s.id desc limit 10
"""
#: As audit/definitions.py tells of it.
LEFT = re.compile(r"partition (dropped|detached|attached): (.+?) (?:FOR VALUES|DEFAULT)")


def partitions_lost(
    rows: Rows, state: Installed, table: Watched, until: dt.datetime, after: int = 0, since: dt.datetime | None = None
) -> list[Any]:  # fmt: skip
    """Partitions of a table that were emptied, dropped, detached, or attached with rows between two moments, and above
    a statement's number: which rows lay in them the log does not tell. Newest first, ten of a kind at most."""
    emptied = rows(ALONE, [table.id, after, since or dt.datetime.min.replace(tzinfo=dt.UTC), until])
    return [*left(rows, state, table, until, after, since), *emptied]


@dataclass(frozen=True)
class Left:
    """A partition that was dropped, detached or attached, as the line of the log tells that saw it; became: which."""

    id: int
    at: dt.datetime
    name: str
    became: str


def left(
    rows: Rows, state: Installed, table: Watched, until: dt.datetime, after: int, since: dt.datetime | None
) -> list[Left]:
    """Those of the last fifty changes of the table's definition; they are told when a look has seen them."""
    wanted = Filter(table=str(table), operation="definition", since=since, until=until)
    return [
        Left(line.id, line.at, name, became)
        for line in walk.find(rows, state, wanted, limit=50).statements
        if line.id > after and line.watched_id == table.id
        for became, name in LEFT.findall(line.note or "")
    ][:10]


def unless_gone(
    rows: Rows,
    table: Watched,
    values: list[str | None],
    change: Change,
    moment: dt.datetime,
    seen: bool = True,
) -> Change:
    """A change, or that the row left its key by it, or that the whole table was emptied after it. seen: only if others
    saw that by the moment."""
    before, after = (
        [(row or {}).get(name) for name in change.key] for row in (change.old, change.new or change.old)
    )
    if before == values != after:
        return replace(change, new=None)
    ends = rows(EMPTIED, [table.id, change.statement_id, moment]) if change.new is not None else []
    unseen = committed_after(rows, moment, [each.id for each in ends]) if seen and ends else set()
    found = next((each for each in ends if each.id not in unseen), None)
    return change if found is None else Change(found.id, 0, change.shape, change.new, None, found.at)


def with_ends(
    rows: Rows, table: Watched, key: str, changes: list[Change], until: dt.datetime | None
) -> list[Change]:
    """A row's changes, newest first, and where the whole table was emptied while the row was there: then it ended too,
    as a change without a place (n is 0). until: up to when the newest one is looked after; None where it has a newer
    one that is not among these."""
    found: list[Change] = []
    newer: Change | None = None
    for one in changes:
        moment = newer.at if newer else until
        if moment and one.new is not None and (newer is None or newer.kind == "insert"):
            end = unless_gone(rows, table, key_values(key), one, moment, seen=False)
            found += with_statements(rows, [end]) if end.ended_with_table else []
        found.append(one)
        newer = one
    return found


def table_at(rows: Rows, table: Watched, statement_id: int) -> dict[tuple[str | None, ...], Row]:
    """All rows that the log knows of, by key, as they were after this statement.

    Rows that were there before the table was watched are known from their first change on.
    """
    found: dict[tuple[str | None, ...], Row] = {}
    events: list[tuple[int, int, int, str, Shape, Row]] = []
    for shape in table.shapes:
        query = SQL(
            "select r.statement_id, r.n, r.side::text as side, {columns} from {table} r"
            " where r.statement_id <= {last}"
        ).format(columns=columns_of(shape, "r"), table=images_of(shape), last=Literal(statement_id))
        for row in rows(exact(query)):
            # Within a statement all rows leave before any comes: keys may have been swapped.
            order = 1 if row.side == "+" else 0
            events.append(
                (row.statement_id, order, row.n, row.side, shape, image(shape, row.texts, row.lengths) or {})
            )
    ends = rows(
        SQL(
            "select id from {}.statement where watched_id = {} and operation = 'T' and note is null and id <= {}"
        ).format(Identifier("dbadmin_audit"), Literal(table.id), Literal(statement_id))
    )
    emptied = sorted(row.id for row in ends)
    for number, order, _, _, shape, values in sorted(events, key=lambda event: event[:3]):
        while emptied and emptied[0] < number:
            found.clear()
            emptied.pop(0)
        key = tuple(values.get(name) for name in shape.key)
        if order:
            found[key] = values
        else:
            found.pop(key, None)
    if emptied:
        found.clear()
    return found
