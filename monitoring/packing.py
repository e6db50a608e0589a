"""Samples as bytes: each column as narrow as its numbers, its bytes sorted by weight, deflated when it helps.

A block holds the samples of many lines (a line is one key of a source) at one or several ticks, by line and
tick. Only what changed is in it: a counter that is absent at a tick did not move, a gauge kept its value.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import cast

#: array() type codes by width in bytes, signed.
CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
WIDTHS = (1, 2, 4, 8)
#: Bits of a column's first byte: two of width, then what was done to the numbers.
DIFFERENCES, DEFLATED, HOLES, CONSTANT, UNKNOWN = 4, 8, 16, 32, 64
#: Long repetitions, or runs of zeros among numbers that do not repeat: whatever is shorter.
WAYS = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_RLE)
BIG_ENDIAN = sys.byteorder == "big"

Numbers = Sequence[int | None]


def write_size(number: int) -> bytes:
    """A length of any size: seven bits a byte."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_size(data: bytes, at: int) -> tuple[int, int]:
    """A length, and where it ended."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7


def narrowest(values: Sequence[int]) -> int:
    """The width in bytes that holds all of them."""
    low, high = min(values), max(values)
    return next(width for width in WIDTHS if -(1 << (8 * width - 1)) <= low and high < 1 << (8 * width - 1))


def to_bytes(values: Sequence[int], width: int) -> bytes:
    """Numbers as bytes of one width, all lowest bytes first, then the next."""
    numbers = array(CODES[width], values)
    if BIG_ENDIAN:
        numbers.byteswap()
    raw = numbers.tobytes()
    return raw if width == 1 else b"".join(raw[place::width] for place in range(width))


def from_bytes(data: bytes, width: int) -> array[int]:
    """The numbers of to_bytes()."""
    numbers = array(CODES[width])
    if width == 1:
        numbers.frombytes(data)
        return numbers
    count = len(data) // width
    raw = bytearray(len(data))
    for place in range(width):
        raw[place::width] = data[place * count : (place + 1) * count]
    numbers.frombytes(bytes(raw))
    if BIG_ENDIAN:
        numbers.byteswap()
    return numbers


def pack_numbers(values: Numbers, differences: bool = False) -> bytes:
    """A column as bytes; differences=True when neighbours are alike, as in a gauge's life."""
    known = [value for value in values if value is not None]
    if not known:
        return bytes([UNKNOWN])
    holes = b""
    if len(known) < len(values):
        holes = pack_numbers([value is None for value in values])
        holes = write_size(len(holes)) + holes
    head = HOLES if holes else 0
    first = known[0]
    if all(value == first for value in known):
        width = narrowest([first])
        return (
            bytes([head | CONSTANT | WIDTHS.index(width)])
            + holes
            + first.to_bytes(width, "little", signed=True)
        )
    ways = [(0, known)]
    if differences:
        steps = [first, *(after - before for before, after in pairwise(known))]
        if max(map(abs, steps)) < 1 << 63:
            ways.append((DIFFERENCES, steps))
    return min((packed_way(head | way, holes, numbers) for way, numbers in ways), key=len)


def deflate(raw: bytes, way: int) -> bytes:
    """Deflate without a header and a checksum: pages of PostgreSQL have their own."""
    work = zlib.compressobj(6, zlib.DEFLATED, -15, 9, way)
    return work.compress(raw) + work.flush()


def inflate(data: bytes) -> bytes:
    """The bytes of deflate()."""
    return zlib.decompress(data, -15)


def inflate_start(data: bytes, size: int) -> bytes:
    """So many of the first bytes of deflate(), without the work for what follows."""
    return zlib.decompressobj(-15).decompress(data, size) if size else b""


def packed_way(head: int, holes: bytes, numbers: Sequence[int]) -> bytes:
    """One way of packing: plain or deflated, whatever is shorter."""
    width = narrowest(numbers)
    raw = to_bytes(numbers, width)
    deflated = min((deflate(raw, way) for way in WAYS), key=len) if len(raw) > 16 else raw
    head |= WIDTHS.index(width)
    if len(deflated) < len(raw):
        return bytes([head | DEFLATED]) + holes + deflated
    return bytes([head]) + holes + raw


def unpack_numbers(data: bytes, count: int) -> Numbers:
    """The column of pack_numbers(), so many numbers long."""
    head, at = data[0], 1
    if head & UNKNOWN:
        return [None] * count
    holes: Numbers = ()
    if head & HOLES:
        length, at = read_size(data, at)
        holes = unpack_numbers(data[at : at + length], count)
        at += length
    width = WIDTHS[head & 3]
    if head & CONSTANT:
        known: Sequence[int] = [int.from_bytes(data[at:], "little", signed=True)] * count
    else:
        known = from_bytes(inflate(data[at:]) if head & DEFLATED else data[at:], width)
        if head & DIFFERENCES:
            known = list(accumulate(known))
    if not holes:
        return known
    source = iter(known)
    return [None if hole else next(source) for hole in holes]


def unpack_part(data: bytes, count: int, start: int, end: int) -> Numbers:
    """Some numbers of a column without unpacking the others, where the way of packing allows it."""
    head = data[0]
    if head & (UNKNOWN | CONSTANT | HOLES | DIFFERENCES):
        return unpack_numbers(data, count)[start:end]
    width = WIDTHS[head & 3]
    raw = inflate_start(data[1:], (width - 1) * count + end) if head & DEFLATED else data[1:]
    return from_bytes(
        b"".join(raw[place * count + start : place * count + end] for place in range(width)), width
    )


@dataclass
class Block:
    """Samples of many lines, column by column.

    ticks: moments as milliseconds after the block's base; lengths: what each tick covers in milliseconds, 0
    when counters could not be compared; full: ticks at which every line is present; lines: ascending numbers;
    counts: samples of each line; places: the tick of each sample; columns: the values.
    """

    ticks: Sequence[int] = ()
    lengths: Sequence[int] = ()
    full: Sequence[int] = ()
    lines: Sequence[int] = ()
    counts: Sequence[int] = ()
    places: Sequence[int] = ()
    columns: Sequence[Numbers] = ()

    def column(self, number: int) -> Numbers:
        """A column."""
        return self.columns[number]

    def added(self, number: int) -> Sequence[int]:
        """The sum of a column over all lines at each tick; unknown ones are left out."""
        found = [0] * len(self.ticks)
        for place, value in zip(self.places, self.column(number), strict=True):
            if value:
                found[place] += value
        return found

    def part(self, number: int, start: int, end: int) -> Numbers:
        """Some samples of a column."""
        return self.columns[number][start:end]

    def places_of(self, start: int, end: int) -> Sequence[int]:
        """The ticks of some samples."""
        return self.places[start:end]

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """(line, first sample, after its last sample) of each line."""
        end = 0
        for line, count in zip(self.lines, self.counts, strict=True):
            yield line, end, end + count
            end += count

    @cached_property
    def starts(self) -> Sequence[int]:
        """The first sample of each line, and the end."""
        if len(self.lines) == len(self.places):  # a block of one tick
            return range(len(self.lines) + 1)
        return array("i", accumulate(self.counts, initial=0))

    def where(self, line: int) -> tuple[int, int]:
        """First sample of a line and the one after its last; (0, 0) when it has none."""
        at = bisect_left(self.lines, line)
        if at == len(self.lines) or self.lines[at] != line:
            return 0, 0
        return self.starts[at], self.starts[at + 1]


class PackedBlock(Block):
    """A block that unpacks what is asked for, when it is asked for."""

    def __init__(self, sizes: Sequence[int], parts: Sequence[bytes]) -> None:
        self.sizes, self.parts = sizes, parts
        self.unpacked: dict[int, Numbers] = {}
        self.sums: dict[int, Sequence[int]] = {}

    @cached_property
    def starts(self) -> Sequence[int]:
        """The first sample of each line, and the end."""
        if self.sizes[1] == self.sizes[2]:
            return range(self.sizes[1] + 1)
        return array("i", accumulate(self.counts, initial=0))

    def whole(self, part: int, count: int) -> Sequence[int]:
        """A part in which nothing is unknown."""
        return cast(Sequence[int], unpack_numbers(self.parts[part], count))

    @cached_property
    def ticks(self) -> Sequence[int]:  # type: ignore[override]
        return self.whole(0, self.sizes[0])

    @cached_property
    def lengths(self) -> Sequence[int]:  # type: ignore[override]
        return self.whole(1, self.sizes[0])

    @cached_property
    def full(self) -> Sequence[int]:  # type: ignore[override]
        return self.whole(2, self.sizes[0])

    @cached_property
    def lines(self) -> Sequence[int]:  # type: ignore[override]
        return self.whole(3, self.sizes[1])

    @cached_property
    def counts(self) -> Sequence[int]:  # type: ignore[override]
        return self.whole(4, self.sizes[1])

    @cached_property
    def places(self) -> Sequence[int]:  # type: ignore[override]
        return self.whole(5, self.sizes[2])

    def column(self, number: int) -> Numbers:
        """A column, kept once it is unpacked."""
        if number not in self.unpacked:
            self.unpacked[number] = unpack_numbers(self.parts[6 + number], self.sizes[2])
        return self.unpacked[number]

    def added(self, number: int) -> Sequence[int]:
        """The sum of a column at each tick, kept once it is made."""
        if number not in self.sums:
            self.sums[number] = super().added(number)
        return self.sums[number]

    def part(self, number: int, start: int, end: int) -> Numbers:
        """Some samples of a column."""
        if number in self.unpacked:
            return self.unpacked[number][start:end]
        return unpack_part(self.parts[6 + number], self.sizes[2], start, end)

    def places_of(self, start: int, end: int) -> Sequence[int]:
        """The ticks of some samples."""
        if "places" in self.__dict__:
            return self.places[start:end]
        return cast(Sequence[int], unpack_part(self.parts[5], self.sizes[2], start, end))

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.parts) - 6


def pack(block: Block, gauges: Sequence[bool]) -> bytes:
    """A block as bytes; gauges says of each column whether neighbours are alike."""
    parts = [
        pack_numbers(block.ticks, differences=True),
        pack_numbers(block.lengths),
        pack_numbers(block.full),
        pack_numbers(block.lines, differences=True),
        pack_numbers(block.counts),
        pack_numbers(block.places),
        *(pack_numbers(values, gauge) for values, gauge in zip(block.columns, gauges, strict=True)),
    ]
    sizes = chain([len(block.ticks), len(block.lines), len(block.places)], map(len, parts))
    return b"".join([bytes([len(parts)]), *map(write_size, sizes), *parts])


def unpack(data: bytes) -> PackedBlock:
    """The block of pack()."""
    sizes, at = [], 1
    for _ in range(data[0] + 3):
        size, at = read_size(data, at)
        sizes.append(size)
    ends = list(accumulate(sizes[3:], initial=at))
    return PackedBlock(sizes[:3], [data[start:end] for start, end in pairwise(ends)])
