"""Upkeep that a server feels, for its timeline: checkpoints that did not wait for their time, and long vacuums."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator

from dbadmin.probes import Reading
from dbadmin.units import size as size_text
from monitoring.marks import NewMark
from monitoring.recorder import Sample

#: A table of so many bytes is large; autovacuum of others is seen only when it takes so many seconds.
LARGE, LONG = 256 * 2**20, 60.0
#: What autovacuum says of itself: autovacuum: VACUUM shop.orders (to prevent wraparound).
TARGET = re.compile(r"^autovacuum: VACUUM (?:ANALYZE )?(.+?)( \(to prevent wraparound\))?$", re.DOTALL)


class UpkeepWatch:
    """Remembers what was told already."""

    def __init__(self) -> None:
        self.is_pressed = False
        self.told: set[tuple[int, str]] = set()

    def checkpoints(self, sample: Sample) -> Iterator[NewMark]:
        """A mark when requested checkpoints begin; none for each further minute of them, nor for timed ones."""
        place = sample.columns.index("requested_total")
        requested = sample.values[0][place] if sample.values else 0
        if requested is None:
            return
        if requested and not self.is_pressed:
            number = "A checkpoint was" if requested == 1 else f"{requested} checkpoints were"
            text = f"{number} requested before the time: by too much WAL for max_wal_size, or by somebody."
            yield NewMark(sample.taken_at, "checkpoint", text, {"requested": requested})
        self.is_pressed = bool(requested)

    def vacuums(self, progress: Reading, large: int = LARGE, long: float = LONG) -> Iterator[NewMark]:
        """A mark for each autovacuum of a large table, or that takes long, at the moment when it began.

        large: bytes of the table itself; long: seconds.
        """
        running = set()
        for row in progress.rows:
            found = TARGET.match(row.why or "")
            if found is None:
                continue
            key = (row.pid, found[1])
            running.add(key)
            seconds, size = row.running_seconds or 0.0, row.heap_bytes or 0
            if key in self.told or (size < large and seconds < long):
                continue
            self.told.add(key)
            why = " to prevent wraparound" if found[2] else ""
            text = f"Autovacuum of {row.database}.{found[1]}{why} began: {size_text(size)}."
            at = progress.taken_at - dt.timedelta(seconds=seconds)
            yield NewMark(at, "vacuum", text, {"database": row.database, "table": found[1]})
        self.told &= running
