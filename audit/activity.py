"""Who did how much: people by day, table and operation, and what is unusual about it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit.log_tables import SCHEMA, is_there
from audit.prepared import Reached, open_from, reached
from audit.registry import Installed
from audit.search import LONGEST_NAME, OPERATIONS, SKEW, SUMMED_PERSON
from audit.tables import Rows

#: Statements behind the end of the sums that a summary looks at; beyond, it says so.
MOST = 200_000
FIRST = "select dbadmin_audit.first_id(%s) as id"
#: Lines of the page of people.
SHOWN = 500
SUMMED = SQL(
    "select day, person, watched_id, operation, statements, rows, hours, last_at from {schema}.activity"
    " where day >= {day}{person}"
)
# ruff: noqa: S608 - the parts are constants of ours
FRESH = SQL(
    "select local::date as day, person, watched_id, operation, count(*) as statements, sum(rows)::bigint as rows,"
    " bit_or(1 << extract(hour from local)::int) as hours, max(at) as last_at from (select at,"
    f" at at time zone {{zone}} as local, {SUMMED_PERSON} as person, watched_id, operation, case operation when 'U'"
    " then (images + 1) / 2 else coalesce(images, 0) end as rows from {schema}.statement where id >= {first}"
    " and at >= {since}{closed}{person} order by id desc limit {most}) s"
    " group by 1, 2, 3, 4"
)

#: What a person did on a day, whatever the table: a line for each.
DAYS = SQL(
    "select person, day, statements, rows, hours, tables, last_at from {schema}.person_days where day >= {day}"
)
BY_DAY = SQL(
    "select person, day, sum(statements)::bigint as statements, sum(rows)::bigint as rows, bit_or(hours) as hours,"
    " array_agg(distinct watched_id) as tables, max(last_at) as last_at from ({lines}) l group by 1, 2"
)
BUSIEST = SQL(
    "with d as materialized ({days}),"
    " p as (select person, sum(statements) as total from d group by 1 order by 2 desc, 1 limit {most})"
    " select person, day, statements, rows, hours, tables, last_at from d join p using (person)"
    " order by total desc, person, day desc"
)


@dataclass
class Day:
    """A person's day."""

    day: dt.date
    statements: int = 0
    rows: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    hours: int = 0
    unusual: list[str] = field(default_factory=list)

    @property
    def next(self) -> dt.date:
        """The day after it."""
        return self.day + dt.timedelta(days=1)


@dataclass
class Activity:
    """A person's activity."""

    days: list[Day]
    tables: list[tuple[str, str, int, int]]
    hours: list[int]
    statements: int
    rows: int
    is_cut: bool


@dataclass
class Person:
    """One line of the page of people."""

    person: str
    statements: int
    rows: int
    tables: int
    last_at: dt.datetime
    unusual: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Window:
    """Some days back from today. until: how far the sums go; first: the first statement behind them, None: there is
    none."""

    day: dt.date
    since: dt.datetime
    until: Reached | None
    first: int | None


def window(rows: Rows, days: int) -> Window:
    """So many days, today with them."""
    zone = settings.TIME_ZONE
    day = dt.datetime.now(ZoneInfo(zone)).date() - dt.timedelta(days=days - 1)
    since = dt.datetime.combine(day, dt.time(), ZoneInfo(zone))
    until = reached(rows)
    if until is not None and until.zone != zone:
        until = None
    first = open_from(rows, until) if until else rows(FIRST, [since - SKEW])[0].id
    return Window(day, since, until, first)


def sums(of: Window, person: str = "") -> Composable:
    """Lines by day, person, table and operation: sums, and what happened since."""
    parts: list[Composable] = []
    whose = SQL(" and person = {}").format(Literal(person)) if person else SQL("")
    if of.until is not None:
        parts.append(SUMMED.format(schema=Identifier(SCHEMA), day=Literal(of.day), person=whose))
    if of.first is not None:
        parts.append(fresh(of.since, of.first, of.until, person))
    if not parts:
        parts.append(SUMMED.format(schema=Identifier(SCHEMA), day=Literal(of.day), person=SQL(" and false")))
    return SQL(" union all ").join(parts)


def by_day(rows: Rows, of: Window) -> Composable:
    """Lines by person and day. A person whose day ends behind the sums may have two of that day."""
    if of.until is None or not is_there(rows, "person_days"):
        return BY_DAY.format(lines=sums(of))
    summed: Composable = DAYS.format(schema=Identifier(SCHEMA), day=Literal(of.day))
    if of.first is None:
        return summed
    rest = BY_DAY.format(lines=fresh(of.since, of.first, of.until, ""))
    return SQL("{} union all {}").format(summed, rest)


def fresh(since: dt.datetime, first: int, until: Reached | None, person: str) -> Composable:
    """What the sums do not hold."""
    closed: Composable = SQL("")
    if until is not None:
        closed = SQL(" and xid::text::bigint >= {} and id > {}").format(
            Literal(until.high), Literal(until.above)
        )
    return FRESH.format(
        schema=Identifier(SCHEMA), zone=Literal(settings.TIME_ZONE), first=Literal(first), since=Literal(since),
        closed=closed, person=SQL(f" and {SUMMED_PERSON} = {{}}").format(Literal(person)) if person else SQL(""),
        most=Literal(MOST),
    )  # fmt: skip


def people(rows: Rows, days: int) -> list[Person]:
    """The busiest in the window; the last week's unusual days are named."""
    query = BUSIEST.format(days=by_day(rows, window(rows, days)), most=Literal(SHOWN))
    by_person: dict[str, list[Any]] = {}
    for row in rows(query):
        by_person.setdefault(row.person, []).append(row)
    return [one_person(name, some) for name, some in by_person.items()]


def one_person(name: str, some: list[Any]) -> Person:
    """A person's days as one line."""
    by_date: dict[dt.date, Day] = {}
    for row in some:
        day = by_date.setdefault(row.day, Day(row.day))
        day.statements += row.statements
        day.rows += row.rows
        day.hours |= row.hours
    days = list(by_date.values())
    mark_unusual(days)
    last = max(row.last_at for row in some)
    recent = [day for day in days if day.day > last.date() - dt.timedelta(days=7)]
    return Person(
        name, sum(day.statements for day in days), sum(day.rows for day in days),
        len({table for row in some for table in row.tables}), last,
        [f"{day.day:%Y-%m-%d}: {text}" for day in recent for text in day.unusual][:3],
    )  # fmt: skip


def of_person(rows: Rows, state: Installed, person: str, days: int) -> Activity:
    """One person's window: by day, by table and operation, by hour; unusual days are marked."""
    of = window(rows, days)
    query = SQL(
        "select day, watched_id, operation::text as operation, sum(statements)::bigint as statements,"
        " sum(rows)::bigint as rows, bit_or(hours) as hours from ({}) l group by 1, 2, 3"
    ).format(sums(of, person[:LONGEST_NAME]))
    by_date: dict[dt.date, Day] = {}
    by_table: dict[tuple[str, str], list[int]] = {}
    for row in rows(query):
        name = str(state.watched.get(row.watched_id, row.watched_id))
        day = by_date.setdefault(row.day, Day(row.day))
        day.statements += row.statements
        day.rows += row.rows or 0
        day.tables[name] = day.tables.get(name, 0) + row.statements
        day.hours |= row.hours
        counts = by_table.setdefault((name, OPERATIONS.get(row.operation, row.operation)), [0, 0])
        counts[0] += row.statements
        counts[1] += row.rows or 0
    ordered = sorted(by_date.values(), key=lambda day: day.day, reverse=True)
    mark_unusual(ordered)
    tables = [(name, word, counts[0], counts[1]) for (name, word), counts in by_table.items()]
    tables.sort(key=lambda line: (-line[2], line[0], line[1]))
    total = sum(day.statements for day in ordered)
    hours = [sum(day.hours >> hour & 1 for day in ordered) for hour in range(24)]
    return Activity(
        ordered, tables, hours, total, sum(day.rows for day in ordered), of.until is None and total >= MOST
    )


def mark_unusual(days: list[Day]) -> None:
    """Days with far more rows than the person's median, and hours or tables at which the person is never seen
    otherwise."""
    if len(days) < 5:
        return
    rows = sorted(day.rows for day in days)
    median = max(rows[len(rows) // 2], 1)
    seen = [sum(day.hours >> hour & 1 for day in days) for hour in range(24)]
    tables: dict[str, int] = {}
    for day in days:
        for name in day.tables:
            tables[name] = tables.get(name, 0) + 1
    for day in days:
        if day.rows > 1000 and day.rows > 10 * median:
            day.unusual.append(f"{day.rows // median} times the rows of a usual day")
        if len(days) < 10:
            continue
        rare = [f"{hour:02}:00" for hour in range(24) if day.hours >> hour & 1 and seen[hour] == 1]
        if rare and len(rare) < day.hours.bit_count():
            day.unusual.append(f"at an hour never seen otherwise: {', '.join(rare[:3])}")
        elif rare:
            day.unusual.append(f"only at hours never seen otherwise: {', '.join(rare[:3])}")
        once = sorted(name for name in day.tables if tables[name] == 1)
        if once:
            day.unusual.append(f"on no other day in {', '.join(once[:3])}")
