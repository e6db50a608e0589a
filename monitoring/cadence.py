"""When a question is due again: on a fixed grid of a steady clock, so that nothing drifts."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Hashable, Iterable


class Cadence:
    """Due times of many questions.

    All questions with the same interval are due together; the grid of each server is shifted, so that a
    fleet is not asked at the same moment. What came too late is asked once, not once for each missed turn.
    """

    def __init__(self, shift_by: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.fraction = zlib.crc32(shift_by.encode()) / 2**32
        self.due: dict[Hashable, float] = {}
        self.slower = 1.0

    def next_after(self, now: float, every: float) -> float:
        """The first point of the grid after a moment."""
        interval = every * self.slower
        shift = self.fraction * interval
        return ((now - shift) // interval + 1) * interval + shift

    def take_due(self, intervals: Iterable[tuple[Hashable, float]], early: float = 0.05) -> list[Hashable]:
        """What is due now; each is due again at its next turn. What was never asked is due at once."""
        now, found = self.clock(), []
        for name, every in intervals:
            due = self.due.get(name)
            if due is None or due <= now + early:
                found.append(name)
                self.due[name] = self.next_after(now + early, every)
                if due is None and every <= 60:
                    # A counter says something only when it was read twice: the second look comes soon.
                    self.due[name] = min(self.due[name], now + 10.0)
        return found

    def owe(self, names: Iterable[Hashable], after: float = 0.0) -> None:
        """Ask again after so many seconds what got no answer: the next turn of a slow question is hours away."""
        soon = self.clock() + after
        for name in names:
            if name in self.due:
                self.due[name] = min(self.due[name], soon)

    def pause(self, most: float) -> float:
        """Seconds until something is due, at most so many."""
        if not self.due:
            return most
        return min(most, max(0.0, min(self.due.values()) - self.clock()))

    def forget(self, name: Hashable) -> None:
        """Drop a question."""
        self.due.pop(name, None)
