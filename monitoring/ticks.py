"""What each tick says of a line, or of all lines together: increases of counters, values of gauges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from monitoring.blocks import Chunk
from monitoring.layouts import is_counter
from monitoring.packing import Block


@dataclass
class Ticks:
    """What the ticks of one span say of a line, or of all lines together."""

    base: int
    ends: Sequence[int]
    lengths: Sequence[int]
    values: Sequence[float | None]
    counts: bool


@dataclass
class Shared:
    """Blocks of the same ticks, each with some of the lines: a closed hour is cut into such."""

    first: Chunk
    blocks: list[Block]

    def has(self, chunk: Chunk) -> bool:
        """Does a chunk belong to these?"""
        own = self.first
        return (
            own.base == chunk.base
            and own.columns == chunk.columns
            and tuple(own.block.ticks) == tuple(chunk.block.ticks)
            and not set(own.block.lines) & set(chunk.block.lines)
        )

    @property
    def full(self) -> Sequence[int]:
        """Which ticks tell of every line that there is."""
        return self.first.block.full


def shared(chunks: Iterable[Chunk]) -> list[Shared]:
    """Chunks in order, those of the same ticks together: else the time of a tick would count once for each."""
    found: list[Shared] = []
    for chunk in chunks:
        if found and found[-1].has(chunk):
            found[-1].blocks.append(chunk.block)
        else:
            found.append(Shared(chunk, [chunk.block]))
    return found


def raw_ticks(spans: Iterable[Shared], column: str, line: int | None) -> Iterator[Ticks]:
    """Every tick; counters that were not compared give none, gauges keep their value until they change."""
    counts, state = is_counter(column), Held()
    for span in spans:
        number = span.first.place(column)
        if number is None:
            state.clear()
            continue
        if line is not None:
            samples = samples_of(span, number, line)
            found = increases(span, samples) if counts else state.of_line(span, samples, line)
        else:
            found = summed(span, number) if counts else state.over_all(span, number)
        yield Ticks(span.first.base, span.first.block.ticks, span.first.block.lengths, found, counts)


Samples = Sequence[tuple[int, int | None]]


def samples_of(span: Shared, number: int, line: int) -> Samples:
    """(tick, value) of each sample of a line."""
    for block in span.blocks:
        first, last = block.where(line)
        if first != last:
            return list(zip(block.places_of(first, last), block.part(number, first, last), strict=True))
    return ()


def increases(span: Shared, samples: Samples) -> list[float | None]:
    """The increase at each tick; 0 where the line did not move."""
    found: list[float | None] = [0] * len(span.first.block.ticks)
    for place, value in samples:
        found[place] = value
    return found


def summed(span: Shared, number: int) -> list[float | None]:
    """The increase of all lines at each tick; unknown ones are left out."""
    found: list[float] = [0] * len(span.first.block.ticks)
    for block in span.blocks:
        for place, value in enumerate(block.added(number)):
            found[place] += value
    return list(found)


class Held:
    """The values that gauges keep between samples."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}

    def clear(self) -> None:
        """Nothing is known."""
        self.values.clear()

    def of_line(self, span: Shared, samples: Samples, line: int) -> list[float | None]:
        """The value of one line at each tick."""
        new = dict(samples)
        found: list[float | None] = []
        for place, is_full in enumerate(span.full):
            if place in new:
                self.put(line, new[place])
            elif is_full:
                self.values.pop(line, None)
            found.append(self.values.get(line))
        return found

    def over_all(self, span: Shared, number: int) -> list[float | None]:
        """The sum of all lines at each tick."""
        new: dict[int, list[tuple[int, int | None]]] = {}
        for block in span.blocks:
            values = block.column(number)
            for line, first, last in block.spans():
                for place, value in zip(block.places[first:last], values[first:last], strict=True):
                    new.setdefault(place, []).append((line, value))
        found: list[float | None] = []
        for place, is_full in enumerate(span.full):
            if is_full:
                self.values.clear()
            for line, value in new.get(place, ()):
                self.put(line, value)
            found.append(sum(self.values.values()) if self.values else None)
        return found

    def put(self, line: int, value: int | None) -> None:
        """A new value, or the end of the line."""
        if value is None:
            self.values.pop(line, None)
        else:
            self.values[line] = value
