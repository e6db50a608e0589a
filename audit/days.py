"""Two filters together: each may fit millions of statements and both none. The sums of index_log tell on which days
there is anything that fits both, and only those are looked at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import search
from audit.log_tables import SCHEMA
from audit.prepared import Reached, open_from, reached
from audit.registry import Installed
from audit.search import SKEW, Filter, Page, conditions, page_of, select, tables_named
from audit.tables import Rows

#: Between two days that have hits so many days without are walked through rather than passed over; where a person is
#: looked for, so many statements of theirs.
BRIDGED, WALKED = 2, 2000
DAYS = SQL(
    "select day, coalesce(sum(statements) filter (where {hits}), 0)::bigint as hits,"
    " sum(statements)::bigint as statements from {schema}.activity where {all} group by 1 order by 1"
)
FIRST = "select min(day) as day from dbadmin_audit.activity"
NEAR = SQL("select at from {}.statement where id {} {} order by id {} limit 1")
SPAN = "select dbadmin_audit.first_id(%s) as low, dbadmin_audit.first_id(%s) as high"


@dataclass(frozen=True)
class Range:
    """Blocks of numbers, (id >> 12), from this one, before that one; None: without an end.

    Conditions on the number itself beside would be taken for independent of these, and so for far more selective
    together than they are.
    """

    low: int | None
    high: int | None

    def parts(self) -> list[Composable]:
        """As conditions that the indexes by table, person and operation follow."""
        return [
            SQL("(id >> 12) {} {}").format(SQL(compare), Literal(bound))
            for bound, compare in ((self.low, ">="), (self.high, "<"))
            if bound is not None
        ]


def find(
    rows: Rows, state: Installed, wanted: Filter, before: int | None, after: int | None, limit: int
) -> Page:
    """One page of a search that asks for nothing inside of rows."""
    several = sum(map(bool, (wanted.table, wanted.person, wanted.operation))) > 1
    until = reached(rows) if several and state.version and not (wanted.key or wanted.xid) else None
    if until is None:
        return search.find(rows, state, wanted, before, after, limit)
    down, parts = after is None, conditions(rows, state, wanted)
    found: list[Any] = []
    for one in ranges(rows, state, wanted, until, before, after):
        here = select(rows, [*parts, *one.parts()], before, after, limit + 1 - len(found), grouped=True)
        found = [*found, *here] if down else [*here, *found]
        if len(found) > limit:
            break
    return page_of(found, before, after, limit)


def ranges(
    rows: Rows, state: Installed, wanted: Filter, until: Reached, before: int | None, after: int | None
) -> Iterator[Range]:
    """Where there may be hits, in the order of the walk: what is not in the sums yet, the days that have some, and
    months that were dropped and loaded again, of which the sums know nothing any more."""
    down, zone = after is None, ZoneInfo(until.zone)
    bottom, first = open_from(rows, until), rows(FIRST)[0].day
    if first is None and bottom is None:
        yield Range(None, None)  # nothing is summed up, and nothing waits for it
        return
    waiting = None if bottom is None else bottom >> 12
    start = waiting
    if first is not None:  # its block holds what is older, too
        start = (rows(SPAN, [moment(first, zone) - SKEW] * 2)[0].low >> 12) + 1
        start = start if waiting is None else min(start, waiting)
    if not down:
        yield Range(None, start)
    elif waiting is not None:
        yield Range(waiting, None)
    bound = waiting if down else start
    for low_day, high_day in runs(days(rows, state, wanted, near(rows, before, after), down, zone), down):
        ends = [moment(low_day, zone) - SKEW, moment(high_day + dt.timedelta(days=1), zone) + SKEW]
        span = rows(SPAN, ends)[0]
        low, high = span.low >> 12, (span.high >> 12) + 1
        if bound is not None:
            low, high = (low, min(high, bound)) if down else (max(low, bound), high)
        if not down and waiting is not None:
            high = min(high, waiting)
        if low < high:
            yield Range(low, high)
            bound = low if down else high
    if down:
        yield Range(None, start if bound is None or start is None else min(start, bound))
    elif waiting is not None:
        yield Range(waiting, None)


def moment(day: dt.date, zone: ZoneInfo) -> dt.datetime:
    """When a day begins."""
    return dt.datetime.combine(day, dt.time(), zone)


def near(rows: Rows, before: int | None, after: int | None) -> dt.datetime | None:
    """When the walk begins; None: at an end of the log."""
    if before is None and not after:
        return None
    query = NEAR.format(
        Identifier(SCHEMA),
        SQL("<=" if after is None else ">="),
        Literal(before if after is None else after),
        SQL("desc" if after is None else "asc"),
    )
    found = rows(query)
    return found[0].at if found else None


@dataclass(frozen=True)
class Day:
    """Statements of a day that fit all filters; those that a walk through it meets, where that is known."""

    day: dt.date
    hits: int
    statements: int | None


def days(
    rows: Rows, state: Installed, wanted: Filter, begin: dt.datetime | None, down: bool, zone: ZoneInfo
) -> list[Day]:
    """The days of the walk, in its order; without a person only those that have hits."""
    hits: list[Composable] = []
    if wanted.table:
        ids = [table.id for table in tables_named(state, wanted.table)]
        hits.append(SQL("watched_id = any({})").format(Literal(ids)))
    if wanted.operation:
        letters = [letter for letter, word in search.OPERATIONS.items() if wanted.operation in (letter, word)]
        hits.append(SQL('operation = any({}::"char"[])').format(Literal(letters)))
    parts = [SQL("person = {}").format(Literal(wanted.person))] if wanted.person else list(hits)
    low, high = [wanted.since], [wanted.until]
    (high if down else low).append(begin)
    for moments, compare, skew in ((low, ">=", -SKEW), (high, "<=", SKEW)):
        for one in moments:
            if one is not None:
                day = (one + skew).astimezone(zone).date()
                parts.append(SQL("day {} {}").format(SQL(compare), Literal(day)))
    query = DAYS.format(schema=Identifier(SCHEMA), hits=SQL(" and ").join(hits), all=SQL(" and ").join(parts))
    found = [Day(row.day, row.hits, row.statements if wanted.person else None) for row in rows(query)]
    return found[::-1] if down else found


def runs(found: list[Day], down: bool) -> Iterator[tuple[dt.date, dt.date]]:
    """Days that are walked through together, from the first to the last; not more than a page needs."""
    begin: Day | None = None
    end, hits, between = begin, 0, 0
    for one in found:
        between += one.statements or 0
        if not one.hits:
            continue
        if begin and end and is_apart(end, one, between - (one.statements or 0)):
            yield stretch(begin, end, down)
            begin, hits = None, 0
        begin, end, hits, between = begin or one, one, hits + one.hits, 0
        if hits > search.PAGE:
            yield stretch(begin, end, down)
            begin, hits = None, 0
    if begin and end:
        yield stretch(begin, end, down)


def is_apart(end: Day, one: Day, between: int) -> bool:
    """Is it dearer to walk from one to the other than to look where the other begins?"""
    if one.statements is None:
        return abs((one.day - end.day).days) > BRIDGED + 1
    return between > WALKED


def stretch(begin: Day, end: Day, down: bool) -> tuple[dt.date, dt.date]:
    """From the earlier to the later."""
    return (end.day, begin.day) if down else (begin.day, end.day)
