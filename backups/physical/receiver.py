"""The process that receives WAL: one stream for each server, each held by one process."""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import suppress
from typing import Any

import psycopg
from django.db import Error as DatabaseError
from django.db import connections

from backups.physical.models import PointInTime
from backups.physical.stream import WalStream
from dbadmin import control

log = logging.getLogger("dbadmin.wal")

#: Seconds between two looks at who is switched on.
LOOK = 2.0
#: Seconds that a stream may take to end.
PATIENCE = 20.0


class Receiver:
    """Any number of these may run; a server's WAL is received by the one that holds its lock."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.connection: psycopg.Connection[Any] | None = None
        self.streams: dict[int, tuple[WalStream, tuple[object, ...]]] = {}
        self.stopping = threading.Event()

    def run(self) -> None:
        """Work until stop() is called."""
        while not self.stopping.is_set():
            try:
                self.look()
            except (DatabaseError, psycopg.Error) as error:
                log.warning("the control database does not answer: %s", str(error).partition("\n")[0])
                self.close()
            self.stopping.wait(LOOK)
        for stream, _ in self.streams.values():
            stream.stop()
        for stream, _ in self.streams.values():
            stream.join(PATIENCE)
        self.close()

    def stop(self, *_: object) -> None:
        self.stopping.set()

    def look(self) -> None:
        """Take up what was switched on, let go what was switched off or belongs to another now."""
        points = {
            point.pk: point
            for point in PointInTime.objects.select_related("server", "store").filter(
                enabled=True, server__enabled=True
            )
        }
        held = self.held(points)
        for pk in [pk for pk in self.streams if pk not in held]:
            self.let_go(pk)
        for pk in held:
            known = self.streams.get(pk)
            if known and known[0].is_alive() and known[1] == _settings(points[pk]):
                continue
            if known:
                self.let_go(pk)
            log.info("wal of %s is received by %s", points[pk].server, self.name)
            stream = WalStream(points[pk], self.name)
            self.streams[pk] = stream, _settings(points[pk])
            stream.start()

    def held(self, points: dict[int, PointInTime]) -> list[int]:
        """Those whose lock we have; a lost connection loses them all, and whoever asks first gets them."""
        if self.connection is None or self.connection.closed:
            self.connection = control.direct_connection("dbadmin wal receiver")
            self.locked: set[int] = set()
        for pk in self.locked - set(points):
            control.unlock(self.connection, control.lock_key("wal receiver", pk))
        self.locked &= set(points)
        self.connection.execute("select 1")
        for pk in sorted(set(points) - self.locked):
            if control.try_lock(self.connection, control.lock_key("wal receiver", pk)):
                self.locked.add(pk)
        return sorted(self.locked)

    def let_go(self, pk: int) -> None:
        stream, _ = self.streams.pop(pk)
        stream.stop()
        stream.join(PATIENCE)

    def close(self) -> None:
        if self.connection is not None:
            with suppress(psycopg.Error):
                self.connection.close()
        self.connection = None
        connections.close_all()


def _settings(point: PointInTime) -> tuple[object, ...]:
    """What makes a stream begin anew when it changes."""
    return (
        point.store_id, point.store.way_in, point.slot, point.system_id, point.ship_seconds, point.heartbeat,
        point.heartbeat_database, point.server.changed_at, point.made_at,
    )  # fmt: skip
