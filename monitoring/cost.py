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
        self.counted: tuple[float, float] | None = None
        self.spent = 0.0

    def after(self, readings: Iterable[Reading], slower: float) -> tuple[float | None, float]:
        """(our share of one core, how much slower to be from now on); the share is None until it is known.

        The server's own account of our statements counts, else the time that our questions took.
        """
        readings = list(readings)
        if self.since is None:
            # The first round asks everything at once; it is no measure of what follows.
            self.since = time.monotonic()
            return None, slower
        self.spent += sum(reading.took_ms for reading in readings) / 1000
        now = time.monotonic()
        if now - self.since < SPAN:
            return None, slower
        span, self.since = now - self.since, now
        used, self.spent = self.spent, 0.0
        counted = next((found for found in map(counted_seconds, readings) if found is not None), None)
        if counted is not None:
            if self.counted is not None and counted >= self.counted[0]:
                used, span = counted - self.counted[0], now - self.counted[1]
            self.counted = (counted, now)
        share = used / span
        if share > self.budget and counted is None and self.counted is not None:
            # Our clock also counts the way and a busy machine of ours: where the server counts, it decides.
            return None, slower
        if share > self.budget:
            return share, min(SLOWEST, slower * 2)
        if share < self.budget / 3:
            return share, max(1.0, slower / 2)
        return share, slower


def counted_seconds(reading: Reading) -> float | None:
    """The execution time of our own statements, as the server counted it."""
    if reading.probe.name != "own_cost" or reading.problem or not reading.rows:
        return None
    row: Any = reading.rows[0]
    value = getattr(row, "exec_seconds_total", None)
    return None if value is None else float(value)
