"""Moments of the source's clock with the WAL position that it had reached: how a time is found in the WAL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: A segment keeps so many; of more, every second is dropped.
MOST = 240


@dataclass(frozen=True, order=True)
class Mark:
    """At this moment everything committed lay before this position; and the beat that was written last."""

    at: datetime
    lsn: int
    beat: int | None = None
    beat_at: datetime | None = None

    def pack(self) -> list[Any]:
        beat_at = self.beat_at.isoformat() if self.beat_at else None
        return [self.at.isoformat(), self.lsn, self.beat, beat_at]

    @classmethod
    def unpack(cls, packed: Sequence[Any]) -> Mark:
        at, lsn, beat, beat_at = packed
        return cls(
            datetime.fromisoformat(at), lsn, beat, datetime.fromisoformat(beat_at) if beat_at else None
        )


def packed(marks: Iterable[Mark]) -> list[list[Any]]:
    """For the row of a segment: thinned evenly, the last one kept."""
    found = sorted(marks)
    while len(found) > MOST:
        found = found[(len(found) + 1) % 2 :: 2]
    return [mark.pack() for mark in found]


def unpacked(rows: Iterable[Sequence[Any]]) -> list[Mark]:
    return [Mark.unpack(row) for row in rows]
