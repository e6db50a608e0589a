"""When a counter of a line last moved, found from the newest ticks backwards."""

from __future__ import annotations

import datetime as dt

from django.utils import timezone

from monitoring.blocks import Chunk, floor_day, floor_hour, moment_of, raw, totals
from monitoring.models import Source, Total
from monitoring.ticks import raw_ticks, shared

HOUR, DAY, WEEK = dt.timedelta(hours=1), dt.timedelta(days=1), dt.timedelta(weeks=1)


def last_seen(source: Source, line: int, column: str, first_at: dt.datetime) -> dt.datetime | None:
    """The end of the last tick that counted something; of what is kept by the hour alone, the end of that hour."""
    now = timezone.now()
    return (
        in_ticks(source, line, column, floor_hour(now) - HOUR, now)
        or in_hours(source, line, column, floor_day(now) - DAY, now)
        or in_days(source, line, column, first_at, floor_day(now))
    )


def in_days(
    source: Source, line: int, column: str, first_at: dt.datetime, end: dt.datetime
) -> dt.datetime | None:
    """Week by week backwards, then within the day."""
    while end > first_at - DAY:
        begin = end - WEEK
        day = newest(totals(source, Total.DAY, begin, end), line, column)
        if day:
            return in_hours(source, line, column, day, day + DAY) or day + DAY
        end = begin
    return None


def in_hours(
    source: Source, line: int, column: str, start: dt.datetime, end: dt.datetime
) -> dt.datetime | None:
    """The hour, then the tick within it."""
    hour = newest(totals(source, Total.HOUR, start, end), line, column)
    return (in_ticks(source, line, column, hour, hour + HOUR) or hour + HOUR) if hour else None


def newest(chunks: list[Chunk], line: int, column: str) -> dt.datetime | None:
    """When the last total begins in which the line moved."""
    for chunk in reversed(chunks):
        first, last = chunk.block.where(line)
        values = chunk.numbers(column)
        if values is not None and any(values[first:last]):
            return moment_of(chunk.base)
    return None


def in_ticks(
    source: Source, line: int, column: str, start: dt.datetime, end: dt.datetime
) -> dt.datetime | None:
    """The end of the last tick that counted something."""
    ends = [
        ticks.base + at
        for ticks in raw_ticks(shared(raw(source, start, end, line)), column, line)
        for at, value in zip(ticks.ends, ticks.values, strict=True)
        if value
    ]
    return moment_of(max(ends)) if ends else None
