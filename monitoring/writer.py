"""Stores what the rounds found: few connections to the control database, however many servers there are."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

from django.db import Error, close_old_connections, connection

from dbadmin import reading_store
from monitoring.rounds import Batch

logger = logging.getLogger(__name__)

#: Rounds that wait for the control database; beyond that the oldest is given up.
MOST_WAITING = 2000
#: Pause before the control database is tried again, seconds.
PAUSE = 2.0


class Writer(threading.Thread):
    """A thread with one connection; while the control database is away, rounds wait in memory."""

    def __init__(self) -> None:
        super().__init__(name="writer", daemon=True)
        self.waiting: queue.Queue[Batch | None] = queue.Queue()
        self.stopping = threading.Event()

    def put(self, batch: Batch) -> None:
        """Take a round over; never blocks the thread that reads."""
        while self.waiting.qsize() >= MOST_WAITING:
            try:
                self.waiting.get_nowait()
            except queue.Empty:
                break
        self.waiting.put(batch)

    def run(self) -> None:
        """Store one round after the other until stopped and done."""
        while (batch := self.waiting.get()) is not None:
            self.store(batch)
        connection.close()

    def store(self, batch: Batch) -> None:
        """Store a round; again and again while the control database is away."""
        while True:
            try:
                write(batch)
                return
            except Error as error:
                connection.close()
                if not is_away(error):
                    logger.exception("A round on %s could not be stored", batch.server)
                    return
                logger.warning("The control database is away: %s", str(error).strip())
                if self.stopping.wait(PAUSE):
                    return
                close_old_connections()

    def finish(self, seconds: float) -> None:
        """Store what waits, within so many seconds."""
        self.waiting.put(None)
        self.join(seconds)
        self.stopping.set()


def is_away(error: BaseException) -> bool:
    """Does this error mean that the control database cannot be reached?"""
    from django.db import InterfaceError, OperationalError

    return isinstance(error, OperationalError | InterfaceError)


def write(batch: Batch) -> None:
    """Store what one round found."""
    if batch.trouble is not None:
        reading_store.store_trouble(batch.server, batch.trouble, batch.taken_at)
        return
    if batch.readings:
        reading_store.store_many(batch.server, batch.readings)
    changes: dict[str, Any] = {"databases": batch.databases} if batch.databases is not None else {}
    reading_store.note_reached(batch.server, batch.taken_at, **changes)
