"""Rows and tables as they were: read from the log alone."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import Any

from psycopg.sql import SQL, Identifier, Literal

from audit import walk
from audit.chains import NEAR
from audit.changes import columns_of, exact, image, life, with_statements
from audit.registry import Installed, Shape, Watched, images_of
from audit.search import SKEW, Change, Filter, key_statements, key_values
from audit.tables import Rows

Row = dict[str, str | None]


def row_at(rows: Rows, state: Installed, table: Watched, key: str, moment: dt.datetime) -> Change | None:
    """The last change of a row up to a moment; its `new` is the row as it was, None when it was deleted then."""
    before: int | None = rows("select dbadmin_audit.first_id(%s) as id", [moment + SKEW])[0].id
    while found := life(rows, state, table, key, before, 50):
        for change in found:
            if change.at is not None and change.at <= moment:
                return unless_gone(rows, table, key_values(key), change, moment)
        before = min(change.statement_id for change in found)
    return found_so(rows, state, table, key, moment)


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
select id, at from truncates where id > %s and at <= %s order by id limit 1
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
LEFT = re.compile(r"partition (dropped|detached): (.+?) (?:FOR VALUES|DEFAULT)")


def partitions_lost(
    rows: Rows, state: Installed, table: Watched, until: dt.datetime, after: int = 0, since: dt.datetime | None = None
) -> list[Any]:  # fmt: skip
    """Partitions of a table that were emptied, dropped or detached between two moments, and above a statement's number,
    while others were not: which rows lay in them the log does not tell. Newest first, ten of a kind at most."""
    emptied = rows(ALONE, [table.id, after, since or dt.datetime.min.replace(tzinfo=dt.UTC), until])
    return [*left(rows, state, table, until, after, since), *emptied]


@dataclass(frozen=True)
class Left:
    """A partition that was dropped or detached, as the line of the log tells that saw it; became: which of both."""

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
    rows: Rows, table: Watched, values: list[str | None], change: Change, moment: dt.datetime
) -> Change:
    """A change, or that the row left its key by it, or that the whole table was emptied after it."""
    before, after = (
        [(row or {}).get(name) for name in change.key] for row in (change.old, change.new or change.old)
    )
    if before == values != after:
        return replace(change, new=None)
    found = rows(EMPTIED, [table.id, change.statement_id, moment]) if change.new is not None else []
    if not found:
        return change
    return Change(found[0].id, 0, change.shape, change.new, None, found[0].at)


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
            end = unless_gone(rows, table, key_values(key), one, moment)
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
            "select r.statement_id, r.n, r.side::text as side, {columns} as texts from {table} r"
            " where r.statement_id <= {last}"
        ).format(columns=columns_of(shape, "r"), table=images_of(shape), last=Literal(statement_id))
        for row in rows(exact(query)):
            # Within a statement all rows leave before any comes: keys may have been swapped.
            order = 1 if row.side == "+" else 0
            events.append((row.statement_id, order, row.n, row.side, shape, image(shape, row.texts) or {}))
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
