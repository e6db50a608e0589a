"""Who did how much: people by day, table and operation, and what is unusual about it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from audit.registry import Installed
from audit.search import OPERATIONS, PERSON, SKEW
from audit.tables import Rows

#: Statements that a summary looks at; beyond, it says so.
MOST = 200_000
EDGE = (
    "select now() - make_interval(days => %s) as since,"
    " dbadmin_audit.first_id(now() - make_interval(days => %s) - %s) as id"
)
# ruff: noqa: S608 - the parts are constants of ours
PEOPLE = f"""
select person, count(*) as statements, sum(case operation when 'U' then (images + 1) / 2 else
    coalesce(images, 0) end)::bigint as rows,
       max(at) as last_at, count(distinct watched_id) as tables
from (select {PERSON} as person, operation, images, at, watched_id from dbadmin_audit.statement
      where id >= %s and at >= %s order by id desc limit {MOST}) s
group by person order by 2 desc limit 500
"""
PERSON_DAYS = f"""
select date_trunc('hour', at) as hour, watched_id, operation::text as operation, count(*) as statements,
       sum(case operation when 'U' then (images + 1) / 2 else coalesce(images, 0) end)::bigint as rows
from (select at, watched_id, operation, images from dbadmin_audit.statement
      where {PERSON} = %s and (id >> 12) >= (%s >> 12) and at >= %s order by (id >> 12) desc limit {MOST}) s
group by 1, 2, 3 order by 1 desc
"""


@dataclass
class Day:
    """A person's day."""

    day: dt.date
    statements: int = 0
    rows: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    hours: set[int] = field(default_factory=set)
    unusual: list[str] = field(default_factory=list)


@dataclass
class Activity:
    """A person's activity."""

    days: list[Day]
    tables: list[tuple[str, str, int, int]]
    hours: list[int]
    statements: int
    rows: int
    is_cut: bool


def since(rows: Rows, days: int) -> Any:
    """The moment and the number where the window begins."""
    return rows(EDGE, [days, days, SKEW])[0]


def people(rows: Rows, days: int) -> list[Any]:
    """Everybody in the window, the busiest first."""
    edge = since(rows, days)
    return list(rows(PEOPLE, [edge.id, edge.since]))


def of_person(rows: Rows, state: Installed, person: str, days: int) -> Activity:
    """One person's window: by day, by table and operation, by hour; unusual days are marked."""
    edge = since(rows, days)
    found = rows(PERSON_DAYS, [person, edge.id, edge.since])
    by_day: dict[dt.date, Day] = {}
    by_table: dict[tuple[str, str], list[int]] = {}
    hours = [0] * 24
    for row in found:
        name = str(state.watched.get(row.watched_id, row.watched_id))
        day = by_day.setdefault(row.hour.date(), Day(row.hour.date()))
        day.statements += row.statements
        day.rows += row.rows or 0
        day.tables[name] = day.tables.get(name, 0) + row.statements
        day.hours.add(row.hour.hour)
        hours[row.hour.hour] += row.statements
        sums = by_table.setdefault((name, OPERATIONS.get(row.operation, row.operation)), [0, 0])
        sums[0] += row.statements
        sums[1] += row.rows or 0
    ordered = sorted(by_day.values(), key=lambda day: day.day, reverse=True)
    mark_unusual(ordered)
    tables = [(name, word, sums[0], sums[1]) for (name, word), sums in by_table.items()]
    tables.sort(key=lambda line: -line[2])
    total = sum(day.statements for day in ordered)
    return Activity(ordered, tables, hours, total, sum(day.rows for day in ordered), total >= MOST)


def mark_unusual(days: list[Day]) -> None:
    """Days with far more rows than the person's median, and hours at which the person is never seen
    otherwise."""
    if len(days) < 5:
        return
    rows = sorted(day.rows for day in days)
    median = rows[len(rows) // 2]
    seen: dict[int, int] = {}
    for day in days:
        for hour in day.hours:
            seen[hour] = seen.get(hour, 0) + 1
    for day in days:
        if day.rows > 1000 and day.rows > 10 * max(median, 1):
            day.unusual.append(f"{day.rows // max(median, 1)} times the rows of a usual day")
        rare = sorted(hour for hour in day.hours if seen[hour] == 1)
        if rare and len(days) >= 10:
            day.unusual.append(
                "at an hour never seen otherwise: " + ", ".join(f"{hour:02}:00" for hour in rare[:3])
            )
