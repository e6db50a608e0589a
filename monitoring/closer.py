"""Closes hours and days that are over, and keeps the history within its time and its space."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from django.db import Error, connection
from django.utils import timezone

from monitoring import hours, partitions

logger = logging.getLogger(__name__)

#: How often it looks, and how often it clears old partitions away, seconds.
LOOK, CLEAR = 30.0, 900.0


class Closer(threading.Thread):
    """A thread with one connection to the control database; servers tells whose hours are ours to close."""

    def __init__(self, servers: Callable[[], Sequence[int]]) -> None:
        super().__init__(name="closer", daemon=True)
        self.servers, self.stopping = servers, threading.Event()
        self.cleared = -CLEAR

    def run(self) -> None:
        """Look, work, rest, until stopped."""
        while not self.stopping.wait(LOOK if self.cleared > 0 else 5.0):
            try:
                self.work()
            except Error as error:
                logger.warning("Hours could not be closed: %s", str(error).strip())
                connection.close()
        connection.close()

    def work(self) -> None:
        """Everything that is due."""
        now, servers = timezone.now(), self.servers()
        for source_id, hour in hours.due(now, servers):
            hours.close(source_id, hour)
            if self.stopping.is_set():
                return
        hours.close_days(now, servers)
        if time.monotonic() - self.cleared > CLEAR:
            partitions.drop_old(now)
            partitions.keep_under_cap()
            self.cleared = time.monotonic()

    def finish(self, seconds: float) -> None:
        """End after the hour under way."""
        self.stopping.set()
        self.join(seconds)
