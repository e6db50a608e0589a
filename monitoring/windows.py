"""What lines add up to over a window, exactly: tops of a window, and two windows side by side."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dbadmin.models import Server
from monitoring.blocks import Chunk, find_source, floor_day, floor_hour, moment_of, raw, stamp, totals
from monitoring.keeper import lines_of
from monitoring.layouts import is_counter, scale_of
from monitoring.models import Source, Total


@dataclass
class Window:
    """Sums over a window: sums[column][line]; observed is how much of it was seen, seconds."""

    start: dt.datetime
    end: dt.datetime
    observed: float
    sums: dict[str, dict[int, int]]

    def value(self, column: str, line: int) -> float:
        """The increase of a line, in the column's unit."""
        return self.sums[column].get(line, 0) / scale_of(column)

    def total(self, column: str) -> float:
        """The increase of all lines together."""
        return sum(self.sums[column].values()) / scale_of(column)


@dataclass(frozen=True)
class Top:
    """A line, what it added up to, and its share of all lines."""

    line: int
    key: tuple[Any, ...]
    value: float
    share: float


HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def window(
    server: Server,
    probe: str,
    columns: Sequence[str],
    start: dt.datetime,
    end: dt.datetime,
    database: str = "",
    lines: Iterable[int] | None = None,
) -> Window:
    """Sums of counters over the ticks that end in [start, end), of all lines or of some."""
    found = Window(start, end, 0.0, {column: {} for column in columns})
    source = find_source(server.pk, probe, database)
    if source is None:
        return found
    chosen = sorted(set(lines)) if lines is not None else None
    observed = 0
    for chunk, first, last in pieces(source, start, end):
        observed += sum(length for at, length in ends(chunk) if first <= at < last)
        for column in columns:
            add(found.sums[column], chunk, column, first, last, chosen)
    found.observed = observed / 1000
    return found


def ends(chunk: Chunk) -> Iterator[tuple[int, int]]:
    """(moment, length) of each tick of a chunk."""
    for at, length in zip(chunk.block.ticks, chunk.block.lengths, strict=True):
        yield chunk.base + at, length


def pieces(source: Source, start: dt.datetime, end: dt.datetime) -> Iterator[tuple[Chunk, int, int]]:
    """Chunks that cover a window once: days and hours within it as totals, its edges as raw ticks."""
    first, last = stamp(start), stamp(end)
    whole = floor_hour(start) if floor_hour(start) == start else floor_hour(start) + HOUR
    hours = {chunk.base: chunk for chunk in hour_chunks(source, whole, end)}
    days = day_chunks(source, whole, end)
    at = first
    while at < last:
        if at in days:
            yield days[at], at, at + 86_400_000
            at += 86_400_000
        elif at in hours and at + 3_600_000 <= last:
            yield hours[at], at, at + 3_600_000
            at += 3_600_000
        else:
            until = next_total(at, last, hours, days)
            yield from raw_pieces(source, at, until)
            at = until


def next_total(at: int, last: int, hours: dict[int, Chunk], days: dict[int, Chunk]) -> int:
    """The next moment from which a total can be used, or the end."""
    usable = [base for base in hours if at < base and base + 3_600_000 <= last]
    usable += [base for base in days if at < base]
    return min(usable, default=last)


def hour_chunks(source: Source, start: dt.datetime, end: dt.datetime) -> list[Chunk]:
    """Totals of hours in a window, unless the window is shorter than one."""
    return totals(source, Total.HOUR, start, end) if end - start >= HOUR else []


def day_chunks(source: Source, start: dt.datetime, end: dt.datetime) -> dict[int, Chunk]:
    """Totals of whole days in a window."""
    first = floor_day(start) if floor_day(start) == start else floor_day(start) + DAY
    if end - first < DAY:
        return {}
    found = totals(source, Total.DAY, first, end)
    return {chunk.base: chunk for chunk in found if chunk.base + 86_400_000 <= stamp(end)}


def raw_pieces(source: Source, first: int, last: int) -> Iterator[tuple[Chunk, int, int]]:
    """Raw ticks of a span."""
    seen: set[tuple[int, tuple[str, ...]]] = set()
    for chunk in raw(source, moment_of(first), moment_of(last)):
        if (chunk.base, chunk.columns) in seen:
            # The parts of an hour share their ticks: their lengths count once.
            chunk.block.lengths = [0] * len(chunk.block.lengths)
        seen.add((chunk.base, chunk.columns))
        yield chunk, first, last


def add(
    sums: dict[int, int], chunk: Chunk, column: str, first: int, last: int, chosen: Sequence[int] | None
) -> None:
    """Add the increases of a chunk's ticks within [first, last)."""
    block = chunk.block
    if chosen is not None and not any(block.where(line)[1] for line in chosen):
        return
    values = chunk.numbers(column)
    if values is None or not is_counter(column):
        return
    inside = [first <= chunk.base + at < last for at in block.ticks]
    if all(inside) and len(values) == len(block.lines) and chosen is None:
        for line, value in zip(block.lines, values, strict=True):
            if value:
                sums[line] = sums.get(line, 0) + value
        return
    spans = block.spans() if chosen is None else ((line, *block.where(line)) for line in chosen)
    if all(inside):
        for line, begin, end in spans:
            sums[line] = sums.get(line, 0) + sum(filter(None, values[begin:end]))
        return
    for line, begin, end in spans:
        known = zip(block.places[begin:end], values[begin:end], strict=True)
        sums[line] = sums.get(line, 0) + sum(value for place, value in known if value and inside[place])


def top(
    server: Server,
    start: dt.datetime,
    end: dt.datetime,
    column: str,
    n: int = 20,
    probe: str = "statements",
    database: str = "",
) -> list[Top]:
    """The lines that added most to a counter in a window, most first."""
    found = window(server, probe, [column], start, end, database)
    sums, scale = found.sums[column], scale_of(column)
    most = heapq.nlargest(n, sums.items(), key=lambda item: item[1])
    source = find_source(server.pk, probe, database)
    keys = lines_of(source, [line for line, _ in most]) if source else {}
    whole = sum(sums.values())
    return [
        Top(line, keys.get(line, ()), value / scale, value / whole if whole else 0.0)
        for line, value in most
        if value
    ]


@dataclass(frozen=True)
class Change:
    """A line in two windows, as rates a second; None where nothing was observed."""

    line: int
    key: tuple[Any, ...]
    before: dict[str, float | None]
    after: dict[str, float | None]


def compare(
    server: Server,
    probe: str,
    columns: Sequence[str],
    before: tuple[dt.datetime, dt.datetime],
    after: tuple[dt.datetime, dt.datetime],
    n: int = 50,
    database: str = "",
) -> list[Change]:
    """Two windows side by side: the lines whose first column changed most, by its rate."""
    one, two = (window(server, probe, columns, *span, database) for span in (before, after))
    source = find_source(server.pk, probe, database)
    if source is None:
        return []
    lines = {line for found in (one, two) for line in found.sums[columns[0]]}

    def rate(found: Window, column: str, line: int) -> float | None:
        return found.value(column, line) / found.observed if found.observed else None

    def moved(line: int) -> float:
        return abs((rate(two, columns[0], line) or 0.0) - (rate(one, columns[0], line) or 0.0))

    most = heapq.nlargest(n, lines, key=moved)
    keys = lines_of(source, most)
    return [
        Change(
            line,
            keys.get(line, ()),
            {column: rate(one, column, line) for column in columns},
            {column: rate(two, column, line) for column in columns},
        )
        for line in most
    ]
