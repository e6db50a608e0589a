"""WAL positions, the names of segments, and the timelines that lead from one to the next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: What PostgreSQL takes unless a cluster was made with another size.
SEGMENT_BYTES = 16 << 20
SEGMENT = re.compile(r"^[0-9A-F]{24}$")
PARTIAL = re.compile(r"^[0-9A-F]{24}\.partial$")
HISTORY = re.compile(r"^[0-9A-F]{8}\.history$")


def parse_lsn(text: str) -> int:
    """0/3000028 -> its number."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def show_lsn(number: int | None) -> str:
    """The number as PostgreSQL writes it; an en dash when it is not known."""
    return "–" if number is None else f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def segment_name(timeline: int, number: int, size: int = SEGMENT_BYTES) -> str:
    """The name of the segment of this number on this timeline."""
    each = (1 << 32) // size
    return f"{timeline:08X}{number // each:08X}{number % each:08X}"


def segment_place(name: str, size: int = SEGMENT_BYTES) -> tuple[int, int]:
    """A segment's timeline and number."""
    each = (1 << 32) // size
    return int(name[:8], 16), int(name[8:16], 16) * each + int(name[16:24], 16)


@dataclass(frozen=True)
class Stretch:
    """A part of a timeline that belongs to a history; `end` is None on the newest."""

    timeline: int
    start: int
    end: int | None


def parse_history(timeline: int, text: str) -> list[Stretch]:
    """What 00000003.history says: which timelines lead to this one, and where each was left."""
    found, start = [], 0
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or not words[0].isdigit():
            continue
        end = parse_lsn(words[1])
        found.append(Stretch(int(words[0]), start, end))
        start = end
    return [*found, Stretch(timeline, start, None)]


def needed(
    stretches: Sequence[Stretch], start: int, end: int, size: int = SEGMENT_BYTES
) -> Iterator[tuple[int, int]]:
    """The (timeline, number) of every segment that a replay from one position to another reads.

    A segment in which a timeline ends is read from the following one, which begins with a copy of it.
    """
    for stretch in stretches:
        if stretch.end is not None and stretch.end <= start:
            continue
        is_last = stretch.end is None or end <= stretch.end
        last = (max(end, start + 1) - 1) // size if is_last else (stretch.end or 0) // size - 1
        for number in range(max(start, stretch.start) // size, last + 1):
            yield stretch.timeline, number
        if is_last:
            return
