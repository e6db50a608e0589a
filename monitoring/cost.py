"""What we cost a server, and how we get slower before it is too much."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from django.conf import settings

from dbadmin.probes import Reading

#: How many times longer than asked the intervals become at most.
SLOWEST = 16.0
#: Costs are judged over so many seconds at least.
SPAN = 115.0


class Budget:
    """Compares our own share of the server's time with the budget after each round."""

    def __init__(self, budget: float | None = None) -> None:
        self.budget = budget or settings.OBSERVER_BUDGET
        self.since: float | None = None
        self.is_counted = False
        self.counted: tuple[float, float] | None = None
        self.spent = 0.0

    def after(self, readings: Iterable[Reading], slower: float) -> tuple[float | None, float]:
        """(our share of one core, how much slower to be from now on); the share is None until it is known.

        Where the server counts our statements it decides: our clock also counts the way, and a busy machine of ours.
        """
        readings, now = list(readings), time.monotonic()
        told = [counted_seconds(reading) for reading in readings if reading.probe.name == "own_cost"]
        self.is_counted = told[-1] is not None if told else self.is_counted
        if self.since is None:
            # The first round asks everything at once; it is no measure of what follows.
            self.since = now
            return None, slower
        counted = next(filter(None, told), None)
        span = now - self.since
        share = self.counted_share(counted, now) if self.is_counted else self.timed_share(readings, span)
        if share is None:
            return None, slower
        if share > self.budget:
            return share, min(SLOWEST, slower * 2)
        if share < self.budget / 3:
            return share, max(1.0, slower / 2)
        return share, slower

    def counted_share(self, counted: tuple[float, int] | None, now: float) -> float | None:
        """By the server's count, between two looks at it; of readers that share a role each has its part."""
        if counted is None:
            return None
        seconds, readers = counted
        before, self.counted = self.counted, (seconds, now)
        if before is None or seconds < before[0]:
            return None
        return (seconds - before[0]) / readers / (now - before[1])

    def timed_share(self, readings: Iterable[Reading], span: float) -> float | None:
        """By the time that our questions took."""
        self.spent += sum(reading.took_ms for reading in readings) / 1000
        if span < SPAN:
            return None
        used, self.spent = self.spent, 0.0
        self.since = time.monotonic()
        return used / span


def counted_seconds(reading: Reading) -> tuple[float, int] | None:
    """The execution time of our role's statements, as the server counted it, and how many readers share the role."""
    if reading.problem or not reading.rows:
        return None
    row: Any = reading.rows[0]
    value = getattr(row, "exec_seconds_total", None)
    return None if value is None else (float(value), max(1, row.readers_count or 1))
