"""Two windows side by side: the tables whose work or size changed."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from dbadmin import readings
from dbadmin.models import Server
from monitoring.blocks import Chunk, column_named, find_source, floor_hour, raw, stamp
from monitoring.comparison import MOST, Spans, difference, pair, rate
from monitoring.keeper import lines_of
from monitoring.layouts import Key, scale_of
from monitoring.models import Source
from monitoring.series import kept_columns
from monitoring.windows import Window, window


@dataclass(frozen=True)
class Table:
    """A table in both windows: what was read and written, and how big it was at the end of each."""

    schema: str
    table: str
    written_rows_per_second: float | None
    written_before_rows_per_second: float | None
    scanned_rows_per_second: float | None
    scanned_before_rows_per_second: float | None
    fetched_rows_per_second: float | None
    fetched_before_rows_per_second: float | None
    size_bytes: float | None
    size_before_bytes: float | None
    growth_bytes: float | None


WRITES = ("inserted_rows_total", "updated_rows_total", "deleted_rows_total")
SCANNED, FETCHED, SIZE = "sequential_rows_total", "index_rows_total", "total_bytes"


def tables(server: Server, spans: Spans, database: str = "", n: int = MOST) -> list[Table]:
    """The tables whose work or size changed most."""
    database = database or readings.main_database(server)
    source = find_source(server.pk, "tables", database)
    if source is None:
        return []
    columns = [*WRITES, SCANNED, FETCHED]
    old, new = (window(server, "tables", columns, *span, database) for span in (spans.before, spans.after))
    sizes, sizes_before = held(source, SIZE, spans.end), held(source, SIZE, spans.before[1])
    best = busiest(old, new, sizes, sizes_before, n)
    keys = lines_of(source, best)
    return [
        table(keys[line], line, old, new, sizes.get(line), sizes_before.get(line))
        for line in best
        if line in keys
    ]


def table(key: Key, line: int, old: Window, new: Window, size: float | None, before: float | None) -> Table:
    """One row."""
    scanned, scanned_before = pair(old, new, SCANNED, line)
    fetched, fetched_before = pair(old, new, FETCHED, line)
    return Table(
        schema=str(key[0]),
        table=str(key[1]),
        written_rows_per_second=written(new, line),
        written_before_rows_per_second=written(old, line),
        scanned_rows_per_second=scanned,
        scanned_before_rows_per_second=scanned_before,
        fetched_rows_per_second=fetched,
        fetched_before_rows_per_second=fetched_before,
        size_bytes=size,
        size_before_bytes=before,
        growth_bytes=difference(size, before),
    )


def written(found: Window, line: int) -> float | None:
    """Rows inserted, updated and deleted a second."""
    return sum(found.value(column, line) for column in WRITES) / found.observed if found.observed else None


def busiest(
    old: Window, new: Window, sizes: Mapping[int, float], sizes_before: Mapping[int, float], n: int
) -> list[int]:
    """Lines by how much they moved in any way, each way measured by what moved most in it."""
    lines = set(sizes) | set(sizes_before)
    for found in (old, new):
        for sums in found.sums.values():
            lines |= set(sums)
    ways = [
        {line: abs((written(new, line) or 0) - (written(old, line) or 0)) for line in lines},
        *(
            {line: abs((rate(new, column, line) or 0) - (rate(old, column, line) or 0)) for line in lines}
            for column in (SCANNED, FETCHED)
        ),
        {line: abs(sizes.get(line, 0) - sizes_before.get(line, 0)) for line in lines},
    ]
    tops = [max(way.values(), default=0.0) or 1.0 for way in ways]
    weights = {line: max(way[line] / top for way, top in zip(ways, tops, strict=True)) for line in lines}
    return [line for line in heapq.nlargest(n, lines, key=weights.__getitem__) if weights[line]]


def held(source: Source, column: str, at: dt.datetime) -> dict[int, float]:
    """The value that every line of a gauge had at a moment: the last one of its hour until then."""
    name = column_named(kept_columns(source), column)
    if name is None:
        return {}
    found: dict[int, int | None] = {}
    # The first tick of an hour holds all lines; shortly after its start the hour before must tell.
    for chunk in raw(source, floor_hour(at - dt.timedelta(minutes=20)), at):
        take_last(found, chunk, name, stamp(at))
    return {line: value / scale_of(name) for line, value in found.items() if value is not None}


def take_last(found: dict[int, int | None], chunk: Chunk, column: str, until: int) -> None:
    """The last value of each line in a chunk, not later than a moment."""
    values = chunk.numbers(column)
    if values is None:
        return
    block = chunk.block
    inside = [chunk.base + tick <= until for tick in block.ticks]
    for line, first, last in block.spans():
        for place, value in zip(block.places[first:last], values[first:last], strict=True):
            if inside[place]:
                found[line] = value
