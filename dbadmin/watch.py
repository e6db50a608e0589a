"""Beside a run's main thread: its locks, its heartbeat, and the eye on the wish to cancel."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psycopg
from django.db import Error as DatabaseError
from django.db import connections as django_connections
from django.utils import timezone

from dbadmin import connections, control
from dbadmin.models import Run

if TYPE_CHECKING:
    from dbadmin.work import Work

log = logging.getLogger("dbadmin.runner")

#: Seconds between two looks at the row, and between two heartbeats.
LOOK, BEAT = 0.5, 2.0
#: Seconds between two questions whether the server still answers.
ASK = 10.0
#: How long a run waits for the lock of its target before it gives up.
PATIENCE = 20.0


class Busy(Exception):
    """Another run works on the same target."""


def target_key(run: Run) -> int:
    """The lock of (server, operation, target): one at a time, whoever asks."""
    return control.lock_key("target", run.server_id, run.operation, run.target)


def life_key(run_id: int) -> int:
    """The lock that a living run holds; free means that its process is gone."""
    return control.lock_key("life", run_id)


class Locks:
    """Both locks of a run, on a connection of its own; taken again after the control database restarted."""

    def __init__(self, run: Run) -> None:
        self.keys = [life_key(run.pk), target_key(run)]
        self.name = f"dbadmin locks of run {run.pk}"
        self.connection: psycopg.Connection[Any] | None = None

    def take(self) -> None:
        """Take them within PATIENCE seconds; raises Busy."""
        self.connection = control.direct_connection(self.name)
        deadline = time.monotonic() + PATIENCE
        waiting = list(self.keys)
        while waiting := [key for key in waiting if not control.try_lock(self.connection, key)]:
            if time.monotonic() > deadline:
                raise Busy
            time.sleep(0.2)

    def keep(self) -> None:
        """Look that they are still ours."""
        try:
            if self.connection is None or self.connection.closed:
                raise psycopg.OperationalError("closed")
            self.connection.execute("select 1")
        except psycopg.OperationalError:
            self.release()
            self.take()

    def release(self) -> None:
        """Give them back by closing."""
        if self.connection is not None:
            with suppress(psycopg.Error):
                self.connection.close()


class Watcher:
    """Holds the locks, beats, stores progress, and stops the work when the row says so."""

    def __init__(self, work: Work, cleaning: bool = False) -> None:
        self.work, self.locks, self.cleaning = work, Locks(work.run), cleaning
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="watcher", daemon=True)
        self.beaten_at = self.kept_at = time.monotonic()
        self.taken = self.is_alone = False
        self.asked_at = time.monotonic()
        self.silent_since: datetime | None = None
        self.stored: tuple[Any, ...] = ()
        self.old_handler: Any = None

    def __enter__(self) -> Watcher:
        self.old_handler = signal.signal(signal.SIGTERM, self.work.interrupted)
        self.thread.start()
        try:
            self.locks.take()
            self.taken = True
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.work.interruptible = False
        self.ended.set()
        self.thread.join(timeout=15)
        self.locks.release()
        signal.signal(signal.SIGTERM, self.old_handler or signal.SIG_DFL)

    def watch(self) -> None:
        """The thread."""
        try:
            while not self.ended.wait(LOOK):
                self.look()
        finally:
            django_connections.close_all()

    def look(self) -> None:
        """One look; trouble with the control database is waited out, for the target's work goes on."""
        try:
            self.work.flush()
            wish = self.wish_to_stop()
            if self.taken and time.monotonic() - self.kept_at >= BEAT:
                self.locks.keep()
                self.kept_at = time.monotonic()
        except Busy:
            wish = "Its locks went to another process while the control database was away."
        except (DatabaseError, psycopg.Error) as error:
            if not self.is_alone:
                log.warning("run %s: the control database does not answer: %s", self.work.run.pk, error)
            self.is_alone = True
            django_connections.close_all()
            return
        self.is_alone = False
        if wish and not self.work.stopped:
            self.work.stop(wish)
        if time.monotonic() - self.asked_at >= ASK and not self.work.stopped:
            self.ask_server()
            self.asked_at = time.monotonic()

    def ask_server(self) -> None:
        """A hung server is no reason to give up, but one to say so: the run may wait for it in vain."""
        try:
            connections.open_dsn(self.work.server.dsn("operate")).close()
        except psycopg.Error:
            if self.silent_since is None:
                self.silent_since = timezone.now()
                self.work.log(
                    "The server does not answer. The run waits for it; cancel it if that takes too long."
                )
        else:
            if self.silent_since is not None:
                self.work.log(f"The server answers again; it did not since {self.silent_since:%H:%M:%S} UTC.")
            self.silent_since = None

    def wish_to_stop(self) -> str:
        """Write heartbeat and progress if it is time, and read whether somebody wants the run to end."""
        if self.cleaning:
            return ""
        run = self.work.run
        mine = Run.objects.filter(pk=run.pk)
        progress = (run.step, run.progress_done, run.progress_total, run.progress_unit)
        if progress != self.stored or time.monotonic() - self.beaten_at >= BEAT:
            mine.filter(status=Run.Status.RUNNING).update(
                heartbeat_at=timezone.now(),
                step=progress[0],
                progress_done=progress[1],
                progress_total=progress[2],
                progress_unit=progress[3],
            )
            self.stored = progress
            self.beaten_at = time.monotonic()
        row = mine.values_list("status", "cancel_requested_at", "cancel_requested_by").first()
        if row is None or row[0] not in Run.OPEN:
            return "Its row was closed by another process."
        return f"Cancelled by {row[2]}." if row[1] else ""
