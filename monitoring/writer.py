"""Stores what the rounds found: few connections to the control database, however many servers there are."""

from __future__ import annotations

import datetime as dt
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import Error, InterfaceError, OperationalError, close_old_connections, connection

from dbadmin import reading_store
from dbadmin.models import Server, ServerState
from dbadmin.probes import Reading
from monitoring import texts
from monitoring.keeper import Keeper, close_gap, open_gap
from monitoring.models import Gap
from monitoring.rounds import Batch

logger = logging.getLogger(__name__)

#: Rounds that wait for the control database; beyond that the oldest is given up.
MOST_WAITING = 2000
#: Pause before the control database is tried again, seconds.
PAUSE = 2.0
#: Packed bytes of a cell, about; and how many a second one reading may write: 5,000 statements in 2 min.
CELL, RATE = 3, 2500


class Writer(threading.Thread):
    """A thread with one connection; while the control database is away, rounds wait in memory."""

    def __init__(self) -> None:
        super().__init__(name="writer", daemon=True)
        self.waiting: queue.Queue[Batch | None] = queue.Queue()
        self.stopping = threading.Event()
        self.work = Store()
        #: Told of each round that is stored, on this thread: they must hand it on at once.
        self.listeners: list[Callable[[Batch], object]] = []

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
                self.work.write(batch)
                for listener in self.listeners:
                    listener(batch)
                return
            except Error as error:
                connection.close()
                self.work.keeper.forget()
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
    return isinstance(error, OperationalError | InterfaceError)


class Store:
    """What the writer does with a round."""

    def __init__(self) -> None:
        self.keeper = Keeper()
        self.written: dict[tuple[int, str, str], tuple[float, int]] = {}

    def write(self, batch: Batch) -> None:
        """Store what one round found."""
        server = batch.server
        if batch.trouble is not None:
            since = self.last_answer(server, batch.taken_at)
            open_gap(server, since, Gap.Cause.UNREACHABLE, batch.trouble.message)
            reading_store.store_trouble(server, batch.trouble, batch.taken_at)
            return
        if batch.is_first:
            self.note_silence(server, batch.taken_at)
            batch.is_first = False
        close_gap(server, batch.taken_at)
        reading_store.store_many(
            server, [reading for reading in batch.readings if self.is_time(server, reading)]
        )
        changes: dict[str, Any] = {"slowed": batch.slowed}
        if batch.databases is not None:
            changes["databases"] = batch.databases
        if batch.cost_ratio is not None:
            changes["cost_ratio"] = batch.cost_ratio
        reading_store.note_reached(server, batch.taken_at, **changes)
        self.keeper.keep(server, batch.samples, batch.holes, batch.marks)
        if batch.texts is not None:
            texts.keep(server, batch.texts)

    @staticmethod
    def last_answer(server: Server, otherwise: dt.datetime) -> dt.datetime:
        """When the server last answered."""
        found = ServerState.objects.filter(server=server).values_list("reached_at", flat=True).first()
        return found or otherwise

    def note_silence(self, server: Server, now: dt.datetime) -> None:
        """Nobody asked between the last answer and now: a gap, unless one is told already."""
        last = self.last_answer(server, now)
        if last < now and not Gap.objects.filter(server=server, source=None, ended_at=None).exists():
            text = "No sampler was reading this server."
            Gap.objects.create(
                server=server, started_at=last, ended_at=now, cause=Gap.Cause.SILENT, text=text
            )

    def is_time(self, server: Server, reading: Reading) -> bool:
        """Large readings are stored less often: the control database writes at most so much a second."""
        key = (server.pk, reading.database, reading.probe.name)
        weight = len(reading.rows) * len(reading.columns) * CELL
        at, before = self.written.get(key, (-1e9, 0))
        now = time.monotonic()
        if now - at < max(weight, before) / RATE and not reading.problem:
            return False
        self.written[key] = (now, weight)
        return True
