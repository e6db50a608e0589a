"""Bringing sums by day and the map of changed columns up to date with the log, behind its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from audit import canonical
from audit.canonical import Range
from audit.log_tables import SCHEMA
from audit.prepared import BLOCK
from audit.registry import Installed, Shape, images_of
from audit.sealing import Place, place_of
from audit.search import SUMMED_PERSON
from dbadmin.connections import named_rows

#: Statements of one batch: each is a transaction of its own.
MOST = 100_000
BEFORE = """
select system_identifier, high, above, last_id, zone from dbadmin_audit.summary for update
"""
NEXT = """
select count(*) as statements, max(xid::text::bigint) + 1 as high from (
    select xid from dbadmin_audit.statement where id > %s and xid::text::bigint >= %s order by id limit %s) s
"""
KEEP = """
insert into dbadmin_audit.summary (system_identifier, high, above, last_id, zone, at)
values (%s, %s, %s, %s, %s, clock_timestamp())
on conflict (only_one) do update set system_identifier = excluded.system_identifier, high = excluded.high,
    above = excluded.above, last_id = excluded.last_id, zone = excluded.zone, at = excluded.at
"""
ROWS = "case operation when 'U' then (images + 1) / 2 else coalesce(images, 0) end"
# ruff: noqa: S608 - the parts are constants of ours
ACTIVITY = SQL(
    "with line as (select local::date as day, person, watched_id, operation, count(*) as statements, sum(rows) as rows,"
    f" bit_or(1 << extract(hour from local)::int) as hours, max(at) as last_at from (select at,"
    f" at at time zone {{zone}} as local, {SUMMED_PERSON} as person, watched_id, operation, {ROWS} as rows"
    " from {schema}.statement s where {where}) s group by 1, 2, 3, 4),"
    " by_table as (insert into {schema}.activity as a"
    " (day, person, watched_id, operation, statements, rows, hours, last_at)"
    " select day, person, watched_id, operation, statements, rows, hours, last_at from line"
    " on conflict (person, day, watched_id, operation) do update set"
    " statements = a.statements + excluded.statements, rows = a.rows + excluded.rows,"
    " hours = a.hours | excluded.hours, last_at = greatest(a.last_at, excluded.last_at))"
    " insert into {schema}.person_days as d (day, person, statements, rows, hours, tables, last_at)"
    " select day, person, sum(statements), sum(rows), bit_or(hours), array_agg(distinct watched_id), max(last_at)"
    " from line group by 1, 2 on conflict (day, person) do update set"
    " statements = d.statements + excluded.statements, rows = d.rows + excluded.rows,"
    " hours = d.hours | excluded.hours, last_at = greatest(d.last_at, excluded.last_at),"
    " tables = case when d.tables @> excluded.tables then d.tables"
    " else array(select distinct unnest(d.tables || excluded.tables)) end"
)
UPDATED = SQL(
    "select shape_id, array_agg(id order by id) as ids, min(at) as first_at, max(at) as last_at"
    " from {schema}.statement s where {where} and operation = 'U' group by 1"
)


@dataclass(frozen=True)
class Before:
    """How far the last batch came."""

    system_identifier: str = ""
    high: int = 0
    above: int = 0
    last_id: int = 0
    zone: str = ""


@dataclass(frozen=True)
class Done:
    """One batch: how many statements, and whether more wait."""

    statements: int
    more: bool


def forget(connection: psycopg.Connection[Any]) -> None:
    """Begin anew: days are counted in another time zone."""
    connection.execute(
        "truncate dbadmin_audit.activity, dbadmin_audit.person_days, dbadmin_audit.touched, dbadmin_audit.summary"
    )


def sum_next(connection: psycopg.Connection[Any], state: Installed, zone: str) -> Done:
    """Add the next closed transactions, all or nothing."""
    with connection.transaction():
        connection.execute("lock table dbadmin_audit.summary in share row exclusive mode")
        found = connection.execute(BEFORE).fetchone()
        before = Before(*found) if found else Before(zone=zone)
        if before.zone != zone:
            forget(connection)
            before = Before(zone=zone)
        place = place_of(connection)
        span, count, high = next_span(connection, before, place)
        if not count:
            return Done(0, False)
        where = span.where("s")
        connection.execute(ACTIVITY.format(schema=Identifier(SCHEMA), zone=Literal(zone), where=where))
        add_touched(connection, state, where)
        top = connection.execute(
            SQL("select count(*), max(id) from {}.statement s where {}").format(Identifier(SCHEMA), where)
        ).fetchone() or (0, None)
        last_id = max(before.last_id, top[1] or 0)
        connection.execute(KEEP, [place.system_identifier, span.high, span.above, last_id, zone])
        return Done(top[0], high < place.horizon)


def next_span(connection: psycopg.Connection[Any], before: Before, place: Place) -> tuple[Range, int, int]:
    """The transactions of the next batch. A server made anew counts transactions anew: then by number."""
    if before.high and (place.system_identifier != before.system_identifier or place.under_way < before.high):
        low, above = 0, before.last_id
    else:
        low, above = before.high, before.above
    row: Any = connection.execute(NEXT, [above, low, MOST]).fetchone()
    high = min(row[1], place.horizon) if row[0] == MOST else place.horizon
    return Range(low, max(high, low), above), row[0] if high > low else 0, high


def add_touched(connection: psycopg.Connection[Any], state: Installed, where: Composable) -> None:
    """Which columns the updates of a batch changed, by blocks of neighbours."""
    for found in touched(connection, state, where):
        add = SQL("insert into {schema}.touched {found} on conflict do nothing")
        connection.execute(add.format(schema=Identifier(SCHEMA), found=found))


def touched(connection: psycopg.Connection[Any], state: Installed, where: Composable) -> Iterator[Composable]:
    """The same as queries, one for each version of columns: shape_id, attnum, block."""
    query = UPDATED.format(schema=Identifier(SCHEMA), where=where)
    for row in named_rows(connection.execute(query)):
        shape = state.shapes.get(row.shape_id)
        if shape is None or not shape.kept:
            yield whole_touched(row.shape_id, where)
        else:
            yield shape_touched(shape, row)


def whole_touched(shape_id: int, where: Composable) -> Composed:
    """Rows that were kept whole: only a look inside tells which columns changed."""
    return SQL(
        "select distinct 0 as shape_id, 0 as attnum, id >> {block} as block from {schema}.statement s"
        " where {where} and operation = 'U' and shape_id = {shape}"
    ).format(schema=Identifier(SCHEMA), block=Literal(BLOCK), where=where, shape=Literal(shape_id))


def shape_touched(shape: Shape, updates: Any) -> Composed:
    """One version of columns: before and after of the same place side by side, each row of the log read once.

    updates: numbers and times of the updates. What is found of other statements among them is true as well.
    """
    differs = SQL(", ").join(
        [
            SQL("case when bool_or(o{n} is distinct from n{n}) then {n} end").format(n=Literal(column.attnum))
            for column in shape.kept
        ]
    )
    sides = SQL(", ").join(
        [
            SQL(
                "max({c}::text) filter (where side <> '+') as {o}, max({c}::text) filter (where side = '+') as {n}"
            ).format(
                c=Identifier(column.kept_name),
                o=Identifier(f"o{column.attnum}"),
                n=Identifier(f"n{column.attnum}"),
            )
            for column in shape.kept
        ]
    )
    return SQL(
        "select {shape} as shape_id, a as attnum, b.block from ("
        " select statement_id >> {block} as block, array[{differs}]::smallint[] as attnums from ("
        " select statement_id, n, {sides} from {table} r where {which} and at between {first} and {last}"
        " group by 1, 2 having bool_or(side = '+') and bool_or(side <> '+')) r group by 1) b"
        " cross join unnest(b.attnums) a where a is not null"
    ).format(
        table=images_of(shape), shape=Literal(shape.id), block=Literal(BLOCK),
        differs=differs, sides=sides, which=canonical.numbered(updates.ids), first=Literal(updates.first_at),
        last=Literal(updates.last_at),
    )  # fmt: skip
