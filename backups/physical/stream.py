"""One server's WAL: pg_receivewal under supervision, and what it received on its way to the store."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO

import psycopg
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections as django_connections
from django.utils import timezone
from psycopg_pool import PoolTimeout

from backups import catalogue, logical
from backups.physical import preflight, source
from backups.physical.chain_watch import Watch
from backups.physical.models import BaseBackup, PointInTime
from backups.physical.shipping import Shipper
from backups.physical.source import APPLICATION
from backups.physical.spool import Spool, spool_folder
from backups.physical.wal import segment_name
from dbadmin import processes
from dbadmin.connections import why
from dbadmin.failures import Told, sentence
from dbadmin.operations import Refused
from dbadmin.units import size

log = logging.getLogger("dbadmin.wal")

#: Seconds between two turns, and before a receiver that ended is started again.
TURN, AGAIN = 1.0, 3.0
#: What the spool may take before receiving rests; the slot then keeps the WAL at the source.
SPOOL_BYTES = 4 << 30
GONE = "has already been removed"


class WalStream(threading.Thread):
    """Receives and ships for one server until told to stop."""

    def __init__(self, point: PointInTime, name: str) -> None:
        super().__init__(name=f"wal {point.server}", daemon=True)
        self.point, self.process_name = point, name
        self.stopping = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.said: deque[str] = deque(maxlen=20)
        self.started_at = self.looked_at = self.beaten_at = 0.0
        self.flushed: int | None = None
        self.problem = ""
        self.shipper: Shipper | None = None
        self.watch = Watch(point)

    @property
    def spool_limit(self) -> int:
        return int(getattr(settings, "DBADMIN_SPOOL_BYTES", SPOOL_BYTES))

    def run(self) -> None:
        """Turn by turn; whatever fails is said in the row and tried again."""
        while not self.stopping.is_set():
            self.guarded(self.turn)
            self.stopping.wait(TURN)
        self.end_process()
        self.guarded(self.ship)
        django_connections.close_all()

    def guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (psycopg.Error, PoolTimeout) as error:
            self.tell(f"{self.point.server} does not answer: {why(error, self.point.server.dsn('operate'))}")
        except DatabaseError as error:
            log.warning("the control database does not answer: %s", str(error).partition("\n")[0])
            django_connections.close_all()
        except (Told, Refused, OSError) as error:
            self.tell(str(error) if isinstance(error, Refused) else sentence(error, self.point.server))
        except Exception as error:
            log.exception("wal of %s", self.point.server)
            self.tell(sentence(error, self.point.server))

    def turn(self) -> None:
        """Keep pg_receivewal alive, send what is whole, look at the source when that is due."""
        spool = self.open_shipper().spool
        rests = spool.size_bytes() > self.spool_limit
        try:
            if rests:
                self.end_process()
            else:
                self.keep_process(spool)
        finally:
            self.ship()  # what was received is sent all the same: the source may be lost for good
        if rests:
            raise Told(
                f"Receiving rests: the spool {spool.folder} holds {size(spool.size_bytes())}, more than the"
                f" {size(self.spool_limit)} that it may. The server keeps the WAL in its slot meanwhile. Look why"
                f" the store {self.point.store} takes nothing."
            )

    def open_shipper(self) -> Shipper:
        if self.shipper is None:
            folder = spool_folder(self.point.server.key, self.point.system_id)
            self.shipper = Shipper(self.point, Spool(folder, self.point.segment_bytes))
        return self.shipper

    # -- receiving ---------------------------------------------------------

    def keep_process(self, spool: Spool) -> None:
        """Start pg_receivewal when none runs; what the last one said is the trouble."""
        if self.process is not None and self.process.poll() is None:
            return
        if time.monotonic() - self.started_at < AGAIN:
            return
        spool.drop_torn()
        if self.process is not None and any(GONE in line for line in self.said):
            # The source has recycled what comes next: a hole. Go on where the slot stands, once all before is sent.
            catalogue.must_be_mounted(self.point.store)
            shipper = self.open_shipper()
            shipper.ship_closed()
            shipper.ship_partial(None)
            spool.clear()
        elif spool.is_empty():
            self.seed(spool)
        self.started_at = time.monotonic()
        preflight_problem = source.keep_slot(self.point)
        if preflight_problem:
            log.warning("%s: %s", self.point.server, preflight_problem)
        self.start_process(spool)

    def seed(self, spool: Spool) -> None:
        """On an empty spool, go on behind what is stored, not where the slot stands.

        The slot has moved on with what was received, and that may have been lost with the spool's disk.
        """
        if self.process is not None:
            return
        size_bytes = self.point.segment_bytes
        newest = self.open_shipper().rows().filter(kind="segment").order_by("-timeline", "-number").first()
        bases = BaseBackup.objects.present().filter(server=self.point.server, system_id=self.point.system_id)
        if newest is not None:
            spool.seed(segment_name(newest.timeline, newest.number, size_bytes))
        elif base := bases.order_by("-start_lsn").first():
            spool.seed(segment_name(base.timeline, base.start_lsn // size_bytes - 1, size_bytes))
        elif name := source.segment_before_slot(self.point):
            spool.seed(name)

    def start_process(self, spool: Spool) -> None:
        tools = preflight.receiving_tools(self.point.server)
        argv = [
            preflight.program(tools, "pg_receivewal"),
            f"--directory={spool.folder}",
            f"--slot={self.point.slot}",
            "--synchronous",
            "--status-interval=5",
            "--no-password",
            "--no-loop",
        ]
        environment = {**logical.environment(self.point.server.dsn("operate")), "PGAPPNAME": APPLICATION}
        self.said.clear()
        # Started by this very thread, which lives as long as the receiving is wanted.
        self.process = processes.start(
            argv,
            environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        listener = threading.Thread(target=self.listen, args=(self.process.stderr,), daemon=True)
        listener.start()

    def listen(self, pipe: IO[bytes] | None) -> None:
        for line in pipe or ():
            self.said.append(line.decode("utf-8", "replace").strip())

    def end_process(self) -> None:
        if self.process is not None:
            processes.end([self.process])

    def trouble(self) -> str:
        """Why nothing is received, in pg_receivewal's own words."""
        if self.process is None or self.process.poll() is None:
            return ""
        said = [line for line in self.said if line]
        errors = [line.partition("error: ")[2] for line in said if "error: " in line]
        errors = [line for line in errors if line != "disconnected"] or errors  # what it always says at last
        words = (errors or said or ["it said nothing"])[-1].rstrip(".")
        full = os.strerror(errno.ENOSPC) in words
        mend = " Free space on this host; the server keeps the WAL in its slot meanwhile." if full else ""
        return f"pg_receivewal ended: {words}.{mend}"

    # -- shipping ----------------------------------------------------------

    def ship(self) -> None:
        """Whole segments at once; a look at the source and the part under way when that is due."""
        catalogue.must_be_mounted(self.point.store)
        shipper = self.open_shipper()
        is_due = time.monotonic() - self.looked_at >= self.point.ship_seconds or self.stopping.is_set()
        asked: Exception | None = None
        if is_due:
            self.looked_at = time.monotonic()
            try:
                self.look(shipper)
            except (psycopg.Error, PoolTimeout) as error:
                asked = error  # what was received is sent all the same: the source may be lost
        shipper.ship_closed()
        position = None
        if is_due:
            position = shipper.ship_partial(self.flushed)
            shipper.ship_closed()
            self.watch.look(shipper.store)
        self.record(shipper, position)
        if asked is not None:
            raise asked

    def look(self, shipper: Shipper) -> None:
        self.flushed = None
        seen = source.look(self.point)
        if seen.system_id != self.point.system_id:
            self.end_process()
            raise Told(
                f"{self.point.server} is another cluster now (system identifier {seen.system_id}, not"
                f" {self.point.system_id}). Switch point-in-time recovery off and on again."
            )
        shipper.marks.append(seen.mark)
        self.flushed = seen.flushed
        self.point.source_at, self.point.source_lsn = seen.mark.at, seen.mark.lsn

    def record(self, shipper: Shipper, position: int | None) -> None:
        """Say in the row how far we are; once in five seconds is enough when nothing changed."""
        covered = shipper.cover(position) if position is not None else None
        if covered:
            self.point.covered_at, self.point.covered_lsn = covered, position
        problem = self.watch.problem or self.trouble()
        if covered is None and time.monotonic() - self.beaten_at < 5 and problem == self.problem:
            return
        self.beaten_at, self.problem = time.monotonic(), problem
        changed = {
            "receiver": self.process_name, "seen_at": timezone.now(), "problem": problem,
            "spool_bytes": shipper.spool.size_bytes(), "spooled_lsn": self.flushed,
            "source_at": self.point.source_at, "source_lsn": self.point.source_lsn,
            "covered_at": self.point.covered_at, "covered_lsn": self.point.covered_lsn,
        }  # fmt: skip
        PointInTime.objects.filter(pk=self.point.pk).update(**changed)

    def tell(self, problem: str) -> None:
        """The trouble of this turn, for the page and the alerts."""
        if problem != self.problem:
            log.warning("%s: %s", self.point.server, problem)
        self.problem = problem
        try:
            PointInTime.objects.filter(pk=self.point.pk).update(
                receiver=self.process_name, seen_at=timezone.now(), problem=problem
            )
        except DatabaseError:
            django_connections.close_all()

    def stop(self) -> None:
        self.stopping.set()
