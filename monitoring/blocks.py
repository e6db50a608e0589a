"""Reads packed samples back: raw ticks of the current hour and of closed ones, totals of hours and days."""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psycopg
from django.db import connection

from monitoring import packing
from monitoring.hours import columns_of
from monitoring.models import Source, Total
from monitoring.packing import Block, Numbers

#: Bytes of packed bodies whose decoded form one process keeps.
MOST_BYTES = 8_000_000
HOURS = """
select starts_at, layout_id, body, ends from monitoring_hour
where source_id = %s and starts_at >= %s and starts_at < %s order by starts_at, part
"""
#: Only the block of one line: a slice of a value that is not compressed costs only its own pages.
HOURS_OF_LINE = """
select starts_at, layout_id, substring(body from start + 1 for ends[number] - start)
from (
    select hour.*, chosen.number, coalesce(hour.ends[chosen.number - 1], 0) as start
    from monitoring_hour hour, lateral (
        select count(*)::int4 as number from unnest(hour.firsts) first where first <= %s
    ) chosen
    where source_id = %s and starts_at >= %s and starts_at < %s
) hour
order by starts_at, part
"""
MINUTES = """
select taken_at, layout_id, body from monitoring_minute
where source_id = %s and taken_at >= %s and taken_at < %s order by taken_at
"""
TOTALS = """
select starts_at, layout_id, octet_length(body) from monitoring_total
where source_id = %s and span = %s and starts_at >= %s and starts_at < %s order by starts_at
"""
BODIES = """
select starts_at, body from monitoring_total where source_id = %s and span = %s and starts_at = any(%s)
"""


def stamp(moment: dt.datetime) -> int:
    """A moment as milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def moment_of(milliseconds: int) -> dt.datetime:
    """Milliseconds since 1970 as a moment."""
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


@dataclass
class Chunk:
    """A block with its base in milliseconds and the names of its columns."""

    base: int
    columns: tuple[str, ...]
    block: Block

    def place(self, column: str) -> int | None:
        """The number of a column, None when this block has none of that name."""
        return self.columns.index(column) if column in self.columns else None

    def numbers(self, column: str) -> Numbers | None:
        """The values of a column, None when this block has none of that name."""
        place = self.place(column)
        return None if place is None else self.block.column(place)


def floor_hour(moment: dt.datetime) -> dt.datetime:
    """The start of its hour, in UTC."""
    return moment.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def floor_day(moment: dt.datetime) -> dt.datetime:
    """The start of its day, in UTC."""
    return floor_hour(moment).replace(hour=0)


def raw(source: Source, start: dt.datetime, end: dt.datetime, line: int | None = None) -> Iterator[Chunk]:
    """Blocks that hold the ticks of a span, in order; those of closed hours hold whole hours."""
    span = [source.pk, floor_hour(start), end]
    if line is None:
        hours = [
            (at, layout_id, body[begin:until])
            for at, layout_id, body, ends in fetch(HOURS, span)
            for begin, until in pairwise([0, *ends])
        ]
    else:
        hours = fetch(HOURS_OF_LINE, [line, *span])
    minutes = fetch(MINUTES, [source.pk, start, end])
    for at, layout_id, body in [*hours, *minutes]:
        yield Chunk(stamp(at), columns_of(layout_id), packing.unpack(body))


def fetch(query: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows in the binary format: bodies come as they are, not as twice as many digits."""
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        return cursor.execute(query.encode(), params, binary=True).fetchall()


class Kept:
    """Totals of closed hours never change: this process keeps the blocks that it decoded."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocks: OrderedDict[tuple[int, int, int, int], Block] = OrderedDict()
        self.bytes = 0

    def get(self, key: tuple[int, int, int, int]) -> Block | None:
        """A kept block."""
        with self.lock:
            block = self.blocks.get(key)
            if block is not None:
                self.blocks.move_to_end(key)
            return block

    def put(self, key: tuple[int, int, int, int], block: Block) -> None:
        """Keep one, forget the least used; the last part of the key is the size."""
        with self.lock:
            self.blocks[key] = block
            self.bytes += key[3]
            while self.bytes > MOST_BYTES and len(self.blocks) > 1:
                self.bytes -= self.blocks.popitem(last=False)[0][3]


KEPT = Kept()


def totals(source: Source, span: int, start: dt.datetime, end: dt.datetime) -> list[Chunk]:
    """Totals of the hours or days that begin in a span."""
    rows = fetch(TOTALS, [source.pk, span, start, end])
    keys = {at: (source.pk, span, stamp(at), size) for at, _, size in rows}
    missing = [at for at, key in keys.items() if KEPT.get(key) is None]
    fresh: dict[dt.datetime, Block] = {}
    if missing:
        fresh = {at: packing.unpack(body) for at, body in fetch(BODIES, [source.pk, span, missing])}
    chunks = []
    for at, layout_id, _ in rows:
        block = fresh.get(at) or KEPT.get(keys[at])
        if block is None:
            continue  # It was replaced between the two statements; the next look has it.
        if at in fresh:
            KEPT.put(keys[at], block)
        chunks.append(Chunk(stamp(at), columns_of(layout_id), block))
    return chunks


def totalled_until(source: Source, start: dt.datetime, end: dt.datetime) -> dt.datetime:
    """The end of the last hour of a span that has its total; the span's start when none has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select max(starts_at) from monitoring_total"
            " where source_id = %s and span = %s and starts_at >= %s and starts_at < %s",
            [source.pk, Total.HOUR, start, end],
        )
        row = cursor.fetchone()
    return row[0] + dt.timedelta(hours=1) if row and row[0] else start


_sources: dict[tuple[int, str, str], Source] = {}


def find_source(server_id: int, probe: str, database: str = "") -> Source | None:
    """The source of a probe's series; once known it stays the same."""
    key = (server_id, probe, database)
    if key not in _sources:
        found = Source.objects.filter(server_id=server_id, probe=probe, database=database).first()
        if found is None:
            return None
        _sources[key] = found
    return _sources[key]


def column_named(columns: Sequence[str], wanted: str) -> str | None:
    """The kept column that is meant: wait_seconds also finds max(wait_seconds)."""
    if wanted in columns:
        return wanted
    return next((column for column in columns if column.partition("(")[2] == f"{wanted})"), None)
