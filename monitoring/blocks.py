"""Reads packed samples back: raw ticks of the current hour and of closed ones, totals of hours and days."""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psycopg
from django.db import connection

from dbadmin.by_hand import all_of, read
from monitoring import packing
from monitoring.hours import columns_of
from monitoring.models import Source
from monitoring.packing import Block, Numbers, PackedBlock

#: Bytes of packed bodies whose decoded form one process keeps, of totals and of ticks; what each weighs beside.
MOST_TOTALS, MOST_TICKS, WEIGHT = 8_000_000, 16_000_000, 2000
#: One statement sees an hour either open or closed, never both or neither.
PLACES = """
select starts_at, part::int4, layout_id, octet_length(body) from monitoring_hour
where source_id = %s and starts_at >= %s and starts_at < %s
union all
select taken_at, -1, layout_id, octet_length(body) from monitoring_minute
where source_id = %s and taken_at >= %s and taken_at < %s
"""
HOUR_BODIES = """
select starts_at, part::int4, body, ends from monitoring_hour where source_id = %s and starts_at = any(%s)
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
MINUTE_BODIES = (
    "select taken_at, -1, body, null from monitoring_minute where source_id = %s and taken_at = any(%s)"
)
TOTALS = """
select starts_at, layout_id, octet_length(body) from monitoring_total
where source_id = %s and span = %s and starts_at >= %s and starts_at < %s order by starts_at
"""
BODIES = """
select starts_at, body from monitoring_total where source_id = %s and span = %s and starts_at = any(%s)
"""
#: Asked anew as long as there is none, by each panel of a page.
SOURCE = f"""
select {all_of(Source)} from monitoring_source where server_id = %s and probe = %s and database = %s
"""  # noqa: S608 - our own names


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
    if line is None:
        yield from all_lines(source, start, end)
        return
    for at, layout_id, body in [
        *fetch(HOURS_OF_LINE, [line, source.pk, floor_hour(start), end]),
        *fetch(MINUTES, [source.pk, start, end]),
    ]:
        yield Chunk(stamp(at), columns_of(layout_id), packing.unpack(body))


@dataclass(frozen=True)
class Near:
    """Where the blocks of a span lie, looked up once by a page that reads parts of it many times."""

    source: int
    start: dt.datetime
    end: dt.datetime
    rows: Sequence[tuple[Any, ...]]

    def within(self, source: int, start: dt.datetime, end: dt.datetime) -> list[tuple[Any, ...]] | None:
        """As PLACES would tell of a part of the span; None when it is no part of it."""
        if source != self.source or start < self.start or end > self.end:
            return None
        hour = floor_hour(start)
        return [row for row in self.rows if (hour if row[1] >= 0 else start) <= row[0] < end]


_near: ContextVar[Near | None] = ContextVar("near", default=None)


@contextmanager
def looked_up(source: Source | None, start: dt.datetime, end: dt.datetime) -> Iterator[None]:
    """Look up once what lies in a span; what ticks after its end may be asked for until ten minutes later."""
    if source is None:
        yield
        return
    start, end = floor_hour(start), end + dt.timedelta(minutes=10)
    token = _near.set(Near(source.pk, start, end, places(source.pk, start, end)))
    try:
        yield
    finally:
        _near.reset(token)


def places(source: int, start: dt.datetime, end: dt.datetime) -> list[tuple[Any, ...]]:
    """(moment, part or -1, layout, size) of each closed hour and tick in a span."""
    return fetch(PLACES, [source, floor_hour(start), end, source, start, end])


def all_lines(source: Source, start: dt.datetime, end: dt.datetime) -> Iterator[Chunk]:
    """Closed hours in their blocks, then the ticks of the open one."""
    near = _near.get()
    for attempt in range(3):
        shared = near.within(source.pk, start, end) if near and not attempt else None
        rows = places(source.pk, start, end) if shared is None else shared
        known = TICKS.get_all(source.pk, rows)
        if None not in known.values():
            break
        read_missing(source, known, {(at, part): size for at, part, _, size in rows})
        if None not in known.values():
            break  # Else an hour was closed between the statements: it is all there now.
    # An hour that is closed comes before the late ticks of it that are not.
    for at, part, layout_id, _ in sorted(rows, key=lambda row: (row[1] < 0, row[0], row[1])):
        for block in known[at, part] or ():
            yield Chunk(stamp(at), columns_of(layout_id), block)


def read_missing(
    source: Source, known: dict[Place, list[PackedBlock] | None], sizes: dict[Place, int]
) -> None:
    """Fetch and keep the blocks that this process has not decoded yet."""
    hours = {at for (at, part), blocks in known.items() if blocks is None and part >= 0}
    minutes = [at for (at, part), blocks in known.items() if blocks is None and part < 0]
    found = fetch(HOUR_BODIES, [source.pk, list(hours)]) if hours else []
    found += fetch(MINUTE_BODIES, [source.pk, minutes]) if minutes else []
    for at, part, body, ends in found:
        blocks = [packing.unpack(body[begin:until]) for begin, until in pairwise([0, *(ends or [len(body)])])]
        known[at, part] = blocks
        TICKS.put((source.pk, stamp(at), part), blocks, sizes.get((at, part), len(body)))


def fetch(query: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows in the binary format: bodies come as they are, not as twice as many digits."""
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        return cursor.execute(query.encode(), params, binary=True).fetchall()


#: When an hour begins with its part, or a tick with -1.
Place = tuple[dt.datetime, int]


class Kept:
    """Ticks and totals never change once they are written: this process keeps the blocks that it decoded."""

    def __init__(self, most: int) -> None:
        self.lock = threading.Lock()
        self.most = most
        self.blocks: OrderedDict[tuple[int, ...], tuple[int, list[PackedBlock]]] = OrderedDict()
        self.bytes = 0

    def get(self, key: tuple[int, ...]) -> list[PackedBlock] | None:
        """Kept blocks."""
        with self.lock:
            found = self.blocks.get(key)
            if found is None:
                return None
            self.blocks.move_to_end(key)
            return found[1]

    def get_all(self, source: int, rows: Iterable[tuple[Any, ...]]) -> dict[Place, list[PackedBlock] | None]:
        """The kept blocks of each place that PLACES tells of."""
        keys = {(at, part): (source, stamp(at), part) for at, part, *_ in rows}
        with self.lock:
            found = {place: self.blocks.get(key) for place, key in keys.items()}
            for place, kept in found.items():
                if kept is not None:
                    self.blocks.move_to_end(keys[place])
        return {place: kept[1] if kept else None for place, kept in found.items()}

    def put(self, key: tuple[int, ...], blocks: list[PackedBlock], size: int) -> None:
        """Keep some, forget the least used."""
        with self.lock:
            self.bytes -= self.blocks.pop(key, (0, []))[0]
            self.blocks[key] = (size + WEIGHT, blocks)
            self.bytes += size + WEIGHT
            while self.bytes > self.most and len(self.blocks) > 1:
                self.bytes -= self.blocks.popitem(last=False)[1][0]

    def clear(self) -> None:
        """Forget all."""
        with self.lock:
            self.blocks.clear()
            self.bytes = 0


KEPT, TICKS = Kept(MOST_TOTALS), Kept(MOST_TICKS)


def totals(source: Source, span: int, start: dt.datetime, end: dt.datetime) -> list[Chunk]:
    """Totals of the hours or days that begin in a span."""
    rows = fetch(TOTALS, [source.pk, span, start, end])
    # A late hour is added to its total: another size is another body.
    keys = {at: (source.pk, span, stamp(at), size) for at, _, size in rows}
    known = {at: KEPT.get(key) for at, key in keys.items()}
    missing = [at for at, blocks in known.items() if blocks is None]
    for at, body in fetch(BODIES, [source.pk, span, missing]) if missing else ():
        known[at] = [packing.unpack(body)]
        KEPT.put(keys[at], known[at] or [], keys[at][3])
    return [
        Chunk(stamp(at), columns_of(layout_id), block)
        for at, layout_id, _ in rows
        for block in known[at] or ()
    ]


_sources: dict[tuple[int, str, str], Source] = {}


def find_source(server_id: int, probe: str, database: str = "") -> Source | None:
    """The source of a probe's series; once known it stays the same."""
    key = (server_id, probe, database)
    if key not in _sources:
        found = next(iter(read(Source, SOURCE, [server_id, probe, database])), None)
        if found is None:
            return None
        _sources[key] = found
    return _sources[key]


def column_named(columns: Sequence[str], wanted: str) -> str | None:
    """The kept column that is meant: wait_seconds also finds max(wait_seconds)."""
    if wanted in columns:
        return wanted
    return next((column for column in columns if column.partition("(")[2] == f"{wanted})"), None)
