"""Closed hours: their minutes packed by column, their totals beside; closed days: the sums of their hours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

from django.db import connection, transaction

from monitoring import packing, partitions
from monitoring.layouts import is_counter
from monitoring.models import Layout, Total
from monitoring.packing import Block, PackedBlock

#: Lines packed together, and samples that they have at least: many shrink better, few are read faster.
LINES, SAMPLES = 128, 1024
#: Minutes that came late still find their hour open so long after its end, seconds.
GRACE = 90
READ = """
select layout_id, taken_at, body from monitoring_minute
where source_id = %s and taken_at >= %s and taken_at < %s order by layout_id, taken_at
"""
ADD_HOUR = """
insert into monitoring_hour (source_id, starts_at, part, layout_id, firsts, ends, body)
values (%s, %s, %s, %s, %s, %s, %s)
"""
ADD_TOTAL = """
insert into monitoring_total (source_id, span, starts_at, layout_id, body) values (%s, %s, %s, %s, %s)
on conflict (source_id, span, starts_at) do update set layout_id = excluded.layout_id, body = excluded.body
"""
DUE = """
select distinct minute.source_id, date_trunc('hour', minute.taken_at, 'UTC')
from monitoring_minute minute join monitoring_source source on source.id = minute.source_id
where minute.taken_at < %s and source.server_id = any(%s) order by 2, 1
"""
DAYS_DUE = """
select distinct hourly.source_id, date_trunc('day', hourly.starts_at, 'UTC')
from monitoring_total hourly join monitoring_source source on source.id = hourly.source_id
where hourly.span = 3600 and hourly.starts_at >= %s and hourly.starts_at < %s and source.server_id = any(%s)
    and not exists (
        select from monitoring_total daily where daily.source_id = hourly.source_id and daily.span = 86400
        and daily.starts_at = date_trunc('day', hourly.starts_at, 'UTC'))
"""


@dataclass
class Totals:
    """Figures of each line over a span: sums of counters; mean, least and most of gauges."""

    columns: tuple[str, ...]
    length: int
    lines: dict[int, list[int | None]]


def milliseconds(moment: dt.datetime, base: dt.datetime) -> int:
    """From one moment to another, in milliseconds."""
    return (moment - base) // dt.timedelta(milliseconds=1)


def due(now: dt.datetime, servers: Iterable[int]) -> list[tuple[int, dt.datetime]]:
    """(source, hour) pairs that are over and not yet packed."""
    closed = (now - dt.timedelta(seconds=GRACE)).replace(minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(DUE, [closed, list(servers)])
        return [(source_id, hour) for source_id, hour in cursor.fetchall()]


def close(source_id: int, hour: dt.datetime) -> int:
    """Pack the minutes of a closed hour; returns the bytes of the packed rows."""
    until = hour + dt.timedelta(hours=1)
    partitions.ensure("hour", hour)
    partitions.ensure("total", hour)
    written = 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select pg_catalog.pg_advisory_xact_lock(%s, %s)", [0x64626133, source_id])
        cursor.execute(READ, [source_id, hour, until])
        rows = cursor.fetchall()
        part = next_part(source_id, hour) if rows else 0
        for layout_id, minutes in groupby(rows, key=lambda row: row[0]):
            columns = columns_of(layout_id)
            whole = merged([(taken_at, packing.unpack(bytes(body))) for _, taken_at, body in minutes], hour)
            gauges = [not is_counter(column) for column in columns]
            firsts, blocks = zip(*cut(whole), strict=True)
            bodies = [packing.pack(block, gauges) for block in blocks]
            ends = list(accumulate(map(len, bodies)))
            row = [source_id, hour, part, layout_id, list(firsts), ends, b"".join(bodies)]
            cursor.execute(ADD_HOUR, row)
            written, part = written + ends[-1], part + 1
            written += add_total(source_id, Total.HOUR, hour, totals(whole, columns))
        cursor.execute(
            "delete from monitoring_minute where source_id = %s and taken_at >= %s and taken_at < %s",
            [source_id, hour, until],
        )
        # A day that was added up before this late hour is added up again.
        cursor.execute(
            "delete from monitoring_total where source_id = %s and span = %s"
            " and starts_at = date_trunc('day', %s::timestamptz, 'UTC')",
            [source_id, Total.DAY, hour],
        )
    return written


def next_part(source_id: int, hour: dt.datetime) -> int:
    """The number after the last part that is packed already."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select coalesce(max(part) + 1, 0) from monitoring_hour where source_id = %s and starts_at = %s",
            [source_id, hour],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


_columns: dict[int, tuple[str, ...]] = {}


def columns_of(layout_id: int) -> tuple[str, ...]:
    """The columns of a layout."""
    if layout_id not in _columns:
        _columns[layout_id] = tuple(Layout.objects.get(pk=layout_id).columns)
    return _columns[layout_id]


def merged(minutes: Sequence[tuple[dt.datetime, PackedBlock]], hour: dt.datetime) -> Block:
    """The minutes of an hour as one block, by line and tick."""
    lines: list[int] = []
    places: list[int] = []
    for place, (_, block) in enumerate(minutes):
        lines.extend(block.lines)
        places.extend([place] * len(block.lines))
    order = sorted(range(len(lines)), key=lines.__getitem__)
    width = minutes[0][1].width
    columns: list[packing.Numbers] = []
    for number in range(width):
        values = [value for _, block in minutes for value in block.column(number)]
        columns.append([values[at] for at in order])
    counts = [(line, sum(1 for _ in group)) for line, group in groupby(lines[at] for at in order)]
    return Block(
        ticks=[milliseconds(taken_at, hour) for taken_at, _ in minutes],
        lengths=[block.lengths[0] for _, block in minutes],
        full=[block.full[0] for _, block in minutes],
        lines=[line for line, _ in counts],
        counts=[count for _, count in counts],
        places=[places[at] for at in order],
        columns=columns,
    )


def cut(whole: Block) -> Iterable[tuple[int, Block]]:
    """Blocks of some lines, each with the first number that belongs to it; the first one's is 0."""
    start, size = 0, max(LINES, SAMPLES * len(whole.lines) // max(1, len(whole.places)))
    for at in range(0, max(len(whole.lines), 1), size):
        counts = whole.counts[at : at + size]
        end = start + sum(counts)
        columns = [column[start:end] for column in whole.columns]
        lines = whole.lines[at : at + size]
        block = Block(
            whole.ticks, whole.lengths, whole.full, lines, counts, whole.places[start:end], list(columns)
        )
        yield lines[0] if at else 0, block
        start = end


def totals(whole: Block, columns: Sequence[str]) -> Totals:
    """What each line adds up to."""
    names = total_columns(columns)
    found: dict[int, list[int | None]] = {}
    gauges = [not is_counter(column) for column in columns]
    for line, start, end in whole.spans():
        figures: list[int | None] = []
        for values, is_gauge in zip(whole.columns, gauges, strict=True):
            if is_gauge:
                figures.extend(gauge_figures(whole, values, start, end))
            else:
                known = [value for value in values[start:end] if value is not None]
                figures.append(sum(known) if known else None)
        found[line] = figures
    return Totals(names, sum(whole.lengths), found)


def total_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Counters keep their name; a gauge has its mean, its least and its most."""
    return tuple(
        name
        for column in columns
        for name in ([column] if is_counter(column) else [column, f"least {column}", f"most {column}"])
    )


def gauge_figures(whole: Block, values: packing.Numbers, start: int, end: int) -> list[int | None]:
    """Mean over the ticks, least and most of a gauge that keeps its value between samples."""
    known = [value for value in values[start:end] if value is not None]
    if not known:
        return [None, None, None]
    if len(known) == 1 or min(known) == max(known):
        return [known[0]] * 3
    total = count = 0
    ends = [*whole.places[start + 1 : end], len(whole.ticks)]
    for place, until, value in zip(whole.places[start:end], ends, values[start:end], strict=True):
        if value is not None:
            total, count = total + value * (until - place), count + until - place
    return [round(total / count), min(known), max(known)]


def add_total(source_id: int, span: int, starts_at: dt.datetime, found: Totals) -> int:
    """Store totals; returns their bytes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select layout_id, body from monitoring_total"
            " where source_id = %s and span = %s and starts_at = %s",
            [source_id, span, starts_at],
        )
        before = cursor.fetchone()
        if before:
            found = added([unpack_totals(*before), found])
        layout_id = Layout.objects.get_or_create(columns=list(found.columns))[0].pk
        body = pack_totals(found)
        cursor.execute(ADD_TOTAL, [source_id, span, starts_at, layout_id, body])
    return len(body)


def pack_totals(found: Totals) -> bytes:
    """Totals as a block of one tick."""
    lines = sorted(found.lines)
    rows = [found.lines[line] for line in lines]
    columns: list[Any] = [list(values) for values in zip(*rows, strict=True)] or [[] for _ in found.columns]
    block = Block([0], [found.length], [1], lines, [1] * len(lines), [0] * len(lines), columns)
    return packing.pack(block, [False] * len(found.columns))


def unpack_totals(layout_id: int, body: bytes) -> Totals:
    """The totals of pack_totals()."""
    block, columns = packing.unpack(bytes(body)), columns_of(layout_id)
    values = [block.column(number) for number in range(len(columns))]
    rows = zip(*values, strict=True)
    return Totals(columns, block.lengths[0], dict(zip(block.lines, map(list, rows), strict=False)))


def added(parts: Sequence[Totals]) -> Totals:
    """Totals of several spans as one: sums of sums, means weighted by time, least of least, most of most."""
    columns = tuple(dict.fromkeys(column for part in parts for column in part.columns))
    found: dict[int, list[int | None]] = {}
    places = [[(number, columns.index(name)) for number, name in enumerate(part.columns)] for part in parts]
    for line in dict.fromkeys(line for part in parts for line in part.lines):
        seen: list[list[tuple[int, int]]] = [[] for _ in columns]
        for part, pairs in zip(parts, places, strict=True):
            values = part.lines.get(line)
            for number, place in pairs if values else ():
                value = values[number] if values else None
                if value is not None:
                    seen[place].append((part.length, value))
        found[line] = [folded(column, pairs) for column, pairs in zip(columns, seen, strict=True)]
    return Totals(columns, sum(part.length for part in parts), found)


def folded(column: str, values: Sequence[tuple[int, int]]) -> int | None:
    """One figure from several."""
    if not values:
        return None
    if column.startswith("least "):
        return min(value for _, value in values)
    if column.startswith("most "):
        return max(value for _, value in values)
    if is_counter(column):
        return sum(value for _, value in values)
    weight = sum(length for length, _ in values)
    if not weight:
        return round(sum(value for _, value in values) / len(values))
    return round(sum(length * value for length, value in values) / weight)


def close_days(now: dt.datetime, servers: Iterable[int]) -> int:
    """Add up the hours of days that are over; returns how many days of sources were added."""
    today = now.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(DAYS_DUE, [today - dt.timedelta(days=10), today, list(servers)])
        days = cursor.fetchall()
        for source_id, day in days:
            cursor.execute(
                "select layout_id, body from monitoring_total where source_id = %s and span = 3600"
                " and starts_at >= %s and starts_at < %s order by starts_at",
                [source_id, day, day + dt.timedelta(days=1)],
            )
            parts = [unpack_totals(*row) for row in cursor.fetchall()]
            add_total(source_id, Total.DAY, day, added(parts))
    return len(days)
