"""What lines add up to over a window, exactly, and the tops of it."""

from __future__ import annotations

import datetime as dt
import heapq
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dbadmin.models import Server
from monitoring.blocks import Chunk, find_source, floor_day, floor_hour, moment_of, raw, stamp, totals
from monitoring.keeper import lines_of
from monitoring.layouts import is_counter, scale_of
from monitoring.models import Source, Total
from monitoring.packing import Numbers


@dataclass
class Window:
    """Sums over a window: sums[column][line]; observed is how much of it was seen, seconds."""

    start: dt.datetime
    end: dt.datetime
    observed: float
    sums: dict[str, dict[int, int]]
    parts: list[Piece] = field(default_factory=list, repr=False)
    _totals: dict[str, float] = field(default_factory=dict, repr=False)

    def value(self, column: str, line: int) -> float:
        """The increase of a line, in the column's unit."""
        return self.sums[column].get(line, 0) / scale_of(column)

    def total(self, column: str) -> float:
        """The increase of all lines together."""
        if column not in self._totals:
            self._totals[column] = sum(self.sums[column].values()) / scale_of(column)
        return self._totals[column]


@dataclass(frozen=True)
class Top:
    """A line, what it added up to, and its share of all lines."""

    line: int
    key: tuple[Any, ...]
    value: float
    share: float


HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
#: Sums that one process keeps.
MOST_LINES = 200_000


def window(
    server: Server,
    probe: str,
    columns: Sequence[str],
    start: dt.datetime,
    end: dt.datetime,
    database: str = "",
    lines: Iterable[int] | None = None,
    like: Window | None = None,
) -> Window:
    """Sums of counters over the ticks that end in [start, end), of all lines or of some.

    like: a window of the same source and time, whose ticks need not be looked up again.
    """
    source = find_source(server.pk, probe, database)
    if source is None:
        return Window(start, end, 0.0, {column: {} for column in columns})
    chosen = tuple(sorted(set(lines))) if lines is not None else None
    parts = like.parts if like else [Piece.of(*piece) for piece in pieces(source, start, end)]
    key = (source.pk, tuple(columns), chosen, *edges(parts))
    known = ANSWERS.get(key, parts)
    if known is None:
        known = added_up(columns, parts, chosen)
        ANSWERS.put(key, parts, known)
    return Window(start, end, *known, parts)


def edges(parts: list[Piece]) -> tuple[int, ...]:
    """Where the first and the last begin: two windows that a page holds against each other are kept side by side."""
    return tuple(part.chunk.base + part.first for part in (parts[:1] + parts[-1:]))


def added_up(columns: Sequence[str], parts: Sequence[Piece], chosen: Sequence[int] | None) -> Answer:
    """Observed seconds, and the sums of each column."""
    sums: dict[str, dict[int, int]] = {column: {} for column in columns}
    observed, timed = 0, set()
    for part in parts:
        # The blocks of an hour share their ticks: their lengths count once.
        ticks = (part.chunk.base, tuple(part.chunk.block.ticks))
        if ticks not in timed:
            observed += sum(part.chunk.block.lengths[part.first : part.last])
            timed.add(ticks)
        part.add_to(sums, chosen)
    return observed / 1000, sums


@dataclass(frozen=True)
class Piece:
    """A chunk, and which of its ticks are meant: from first to before last."""

    chunk: Chunk
    first: int
    last: int

    @classmethod
    def of(cls, chunk: Chunk, first: int, last: int) -> Piece:
        """The ticks that end in [first, last)."""
        ticks = chunk.block.ticks
        return cls(chunk, bisect_left(ticks, first - chunk.base), bisect_left(ticks, last - chunk.base))

    @property
    def is_whole(self) -> bool:
        """Are all ticks meant?"""
        return self.first == 0 and self.last == len(self.chunk.block.ticks)

    def add_to(self, sums: dict[str, dict[int, int]], chosen: Sequence[int] | None) -> None:
        """Add the increases of all lines, or of some."""
        if self.first == self.last:
            return
        block = self.chunk.block
        spans = None if chosen is None else [(line, *block.where(line)) for line in chosen]
        spans = None if spans is None else [span for span in spans if span[2] > span[1]]
        if spans == []:
            return
        for column, found in sums.items():
            values = self.chunk.numbers(column) if is_counter(column) else None
            if values is not None:
                self.add(found, values, spans)

    def add(
        self, sums: dict[int, int], values: Numbers, chosen: Sequence[tuple[int, int, int]] | None
    ) -> None:
        """Add the increases of one column."""
        block = self.chunk.block
        if self.is_whole and len(values) == len(block.lines) and chosen is None:
            for line, value in zip(block.lines, values, strict=True):
                if value:
                    sums[line] = sums.get(line, 0) + value
            return
        spans = block.spans() if chosen is None else chosen
        if self.is_whole:
            for line, begin, end in spans:
                sums[line] = sums.get(line, 0) + sum(filter(None, values[begin:end]))
            return
        for line, begin, end in spans:
            # The places of a line ascend.
            start = bisect_left(block.places, self.first, begin, end)
            until = bisect_left(block.places, self.last, start, end)
            if start < until:
                sums[line] = sums.get(line, 0) + sum(filter(None, values[start:until]))


Answer = tuple[float, dict[str, dict[int, int]]]


class Answers:
    """Sums that this process has made: while the same ticks lie in a window, its sums stay as they are."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: OrderedDict[tuple[Any, ...], tuple[list[Piece], Answer]] = OrderedDict()
        self.lines = 0

    def get(self, key: tuple[Any, ...], parts: Sequence[Piece]) -> Answer | None:
        """The sums of the same columns and lines over the very same ticks."""
        with self.lock:
            found = self.kept.get(key)
            if found is None or not are_same(found[0], parts):
                return None
            self.kept.move_to_end(key)
            return found[1]

    def put(self, key: tuple[Any, ...], parts: list[Piece], answer: Answer) -> None:
        """Keep sums, forget the least used."""
        with self.lock:
            if key in self.kept:
                self.lines -= weight(*self.kept.pop(key))
            self.kept[key] = (parts, answer)
            self.lines += weight(parts, answer)
            while self.lines > MOST_LINES and len(self.kept) > 1:
                self.lines -= weight(*self.kept.popitem(last=False)[1])


def weight(parts: Sequence[Piece], answer: Answer) -> int:
    """How much is kept of it, in sums."""
    return 50 + 5 * len(parts) + sum(len(sums) for sums in answer[1].values())


def are_same(known: Sequence[Piece], parts: Sequence[Piece]) -> bool:
    """The same ticks of the same decoded blocks? Blocks are kept, so that each is one object."""
    return len(known) == len(parts) and all(
        one.chunk.block is other.chunk.block and one.first == other.first and one.last == other.last
        for one, other in zip(known, parts, strict=True)
    )


ANSWERS = Answers()


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
    for chunk in raw(source, moment_of(first), moment_of(last)):
        yield chunk, first, last


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
