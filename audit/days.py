"""Two filters together: each may fit millions of statements and both none. The sums of index_log tell on which days
there is anything that fits both, and only those are looked at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import search, walk
from audit.log_tables import SCHEMA
from audit.prepared import Reached, open_from, reached
from audit.registry import Installed
from audit.search import LONGEST_NAME, SECONDS, SKEW, Filter, Page, tables_named
from audit.tables import Rows
from audit.walk import NUMBER, Span, Walk, cut

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


def find(
    rows: Rows, state: Installed, wanted: Filter, before: int | None, after: int | None, limit: int
) -> Page:
    """One page of a search that asks for nothing inside of rows."""
    several = sum(map(bool, (wanted.table, wanted.person, wanted.operation))) > 1
    until = reached(rows) if several and state.version and not (wanted.key or wanted.xid) else None
    if until is None:
        return walk.find(rows, state, wanted, before, after, limit)
    spans = ranges(rows, state, wanted, until, before, after)
    return Walk(rows, state, wanted).page(spans, before, after, limit, SECONDS)


def ranges(
    rows: Rows, state: Installed, wanted: Filter, until: Reached, before: int | None, after: int | None
) -> Iterator[Span]:
    """Where there may be hits, in the order of the walk: what is not in the sums yet, the days that have some, and
    months that were dropped and loaded again, of which the sums know nothing any more."""
    down, zone = after is None, ZoneInfo(until.zone)
    bottom, first = open_from(rows, until), rows(FIRST)[0].day
    if first is None and bottom is None:
        yield Span()  # nothing is summed up, and nothing waits for it
        return
    waiting = NUMBER if bottom is None else bottom
    start = waiting
    if first is not None:
        start = min(rows(SPAN, [moment(first, zone) - SKEW] * 2)[0].low, waiting)
    yield Span(waiting) if down else Span(0, start)
    bound = waiting if down else start
    for low_day, high_day in runs(days(rows, state, wanted, near(rows, before, after), down, zone), down):
        ends = [moment(low_day, zone) - SKEW, moment(high_day + dt.timedelta(days=1), zone) + SKEW]
        span = rows(SPAN, ends)[0]
        here = cut(Span(span.low, span.high), Span(0, bound) if down else Span(bound, waiting))
        if here.low < here.high:
            yield here
            bound = here.low if down else here.high
    yield Span(0, min(start, bound)) if down else Span(waiting)


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
        hits.append(SQL('operation = {}::"char"').format(Literal(search.letter_of(wanted.operation))))
    parts = (
        [SQL("person = {}").format(Literal(wanted.person[:LONGEST_NAME]))] if wanted.person else list(hits)
    )
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
