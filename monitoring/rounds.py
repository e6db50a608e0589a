"""The reading of one server: a thread, one connection, and a cadence that nothing else delays."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.db import connections
from django.utils import timezone

from dbadmin.connections import READER, Session, connect, without_secrets
from dbadmin.deadlines import deadline
from dbadmin.models import Server
from dbadmin.probes import NO_POOLER, PROBES, Probe, Problem, Reading
from monitoring.cadence import Cadence
from monitoring.cost import Budget
from monitoring.ddl import Heard, SchemaWatch
from monitoring.epochs import Evidence, Witness
from monitoring.marks import NewMark, changed_settings, epoch_marks, unseen_marks
from monitoring.recorder import Hole, Moment, Recorder, Sample
from monitoring.texts import Fetcher, Found
from monitoring.upkeep import UpkeepWatch
from monitoring.waits import WaitSampler

logger = logging.getLogger(__name__)

#: How often the list of databases is read anew, seconds.
DISCOVER = 120.0
#: How long an unreachable server is left alone, seconds: first and at most.
REST, LONGEST_REST = 2.0, 30.0
#: How long a question that a connection broke on is left alone, seconds: it may be what breaks it.
LEFT_ALONE = 600.0
SILENCE = "The server does not answer: "
DATABASES = """
/* dbadmin databases */ select datname from pg_catalog.pg_database
where datallowconn and not datistemplate and pg_catalog.has_database_privilege(oid, 'connect')
order by datname
"""


@dataclass
class Batch:
    """What one round found; the writer stores it."""

    server: Server
    taken_at: dt.datetime = field(default_factory=timezone.now)
    readings: list[Reading] = field(default_factory=list)
    databases: list[str] | None = None
    trouble: Problem | None = None
    samples: list[Sample] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    marks: list[NewMark] = field(default_factory=list)
    cost_ratio: float | None = None
    slowed: float = 1.0
    is_first: bool = False
    texts: Found | None = None


@dataclass(frozen=True)
class Past:
    """What earlier samplers left in the store: the last settings, the statements whose text is known, names, and when
    the server answered the last time."""

    settings: Reading | None = None
    texts: Sequence[tuple[int, int]] = ()
    heard: Heard | None = None
    reached_at: dt.datetime | None = None


class Round:
    """Everything that is due on one server now."""

    def __init__(
        self,
        server: Server,
        put: Callable[[Batch], None],
        past: Past | None = None,
        turn: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.server, self.put = server, put
        self.turn = turn or nullcontext()
        past = past or Past()
        self.cadence = Cadence(str(server.key))
        self.connection: psycopg.Connection[Any] | None = None
        self.databases: list[str] = []
        self.rest = REST
        self.asked: tuple[str, str] | None = None
        self.recorder, self.witness, self.budget = Recorder(), Witness(), Budget()
        self.waits = WaitSampler()
        self.last: Evidence | None = None
        self.settings, self.texts, self.reached_at = past.settings, Fetcher(past.texts), past.reached_at
        self.schema, self.upkeep = SchemaWatch(past.heard), UpkeepWatch()
        self.is_first = True

    def run(self) -> float:
        """Ask what is due, hand it over; returns how long there is nothing to do."""
        due = self.take_due()
        if not due:
            return self.cadence.pause(5.0)
        batch = Batch(self.server, is_first=self.is_first)
        self.asked = None
        try:
            session = self.open()
            # The first round asks everything: a whole fleet's at once would keep each from its cadence for minutes.
            with self.turn if self.is_first else nullcontext():
                batch.taken_at = timezone.now()
                self.ask(session, due, batch)
            self.rest, self.is_first = REST, False
        except psycopg.Error as error:
            self.close()
            batch.trouble = self.explain(error)
            self.cadence.owe(each for each in due if each != self.asked)
            self.cadence.owe([self.asked], LEFT_ALONE)
            self.rest = min(self.rest * 2, LONGEST_REST)
        self.put(batch)
        return self.rest if batch.trouble else self.cadence.pause(5.0)

    def ask(self, session: Session, due: list[tuple[str, str]], batch: Batch) -> None:
        """Look which databases there are when it is time, then read what is due."""
        if ("", "databases") in due or not self.databases:
            self.databases = batch.databases = self.discover(session)
            due += self.take_due()
        self.read_all(session, due, batch)

    def read_all(self, session: Session, due: list[tuple[str, str]], batch: Batch) -> None:
        """The readings between two looks at the epoch, then their samples."""
        before = self.look(session)
        if self.last is None and self.reached_at is not None:
            # By the server's own clock, which may be another.
            batch.marks.extend(unseen_marks(before.at - (timezone.now() - self.reached_at), before))
        taken: list[tuple[Reading, float]] = []
        for read in (self.read_instance(session, due), self.read_databases(session, due)):
            taken.extend(read)
        after = self.look(session)
        pace = self.cadence.slower
        for reading, steady in taken:
            moment = Moment(reading.taken_at, steady, before, after)
            sample, holes = self.recorder.record(reading, moment, pace)
            batch.samples.extend([sample] if sample else [])
            batch.holes.extend(holes)
        batch.readings.extend(reading for reading, _ in taken)
        waited = self.waits.take()
        batch.samples.extend([waited] if waited else [])
        for reading in batch.readings:
            if reading.probe.name == "statements":
                batch.texts = self.texts.fetch(session, reading)
                batch.marks.extend(self.schema_changes(batch, reading))
        self.note(batch, before)

    def schema_changes(self, batch: Batch, statements: Reading) -> list[NewMark]:
        """What ran since the last round and changed the schema."""
        sample = next((sample for sample in batch.samples if sample.probe == "statements"), None)
        return self.schema.marks(sample, statements, batch.texts, self.last.at if self.last else None)

    def note(self, batch: Batch, evidence: Evidence) -> None:
        """Marks for the timeline, and what we cost."""
        if self.last is not None:
            batch.marks.extend(epoch_marks(self.last, evidence, batch.taken_at))
        self.last = evidence
        for reading in batch.readings:
            if reading.problem:
                continue
            if reading.probe.name == "settings":
                batch.marks.extend(changed_settings(self.settings, reading))
                self.settings = reading
            if reading.probe.name == "vacuum_progress":
                batch.marks.extend(self.upkeep.vacuums(reading))
        for sample in batch.samples:
            if sample.probe == "checkpoints":
                batch.marks.extend(self.upkeep.checkpoints(sample))
        batch.cost_ratio, self.cadence.slower = self.budget.after(batch.readings, self.cadence.slower)
        batch.slowed = self.cadence.slower

    def look_at_waits(self) -> float:
        """Between rounds, one look at who waits; returns how long until the next."""
        if self.connection is None or self.connection.closed or self.cadence.slower > 1:
            return 5.0
        try:
            self.waits.look(Session(self.connection, self.server))
        except psycopg.Error:
            # The next round finds out what is wrong with the connection.
            self.waits.forget_pause()
            self.close()
        return self.waits.pause()

    def look(self, session: Session) -> Evidence:
        """The evidence for comparing counters."""
        with deadline(session.connection, 3):
            return self.witness.look(session)

    def take_due(self) -> list[tuple[str, str]]:
        """(database, probe) pairs that are due."""
        wanted: list[tuple[tuple[str, str], float]] = [(("", "databases"), DISCOVER)]
        for probe in PROBES.values():
            if probe.every is None:
                continue
            places = self.databases if probe.scope == "database" else [""]
            wanted.extend(((place, probe.name), probe.every) for place in places)
        return [name for name in self.cadence.take_due(wanted) if isinstance(name, tuple)]

    def open(self) -> Session:
        """The monitoring connection, opened anew when it was lost."""
        if self.connection is None or self.connection.closed:
            self.connection = connect(self.server, "monitor", read_only=True, application_name=READER)
        return Session(self.connection, self.server)

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def explain(self, error: psycopg.Error) -> Problem:
        """Why the server could not be read."""
        text = without_secrets(str(error).strip().partition("\n")[0], self.server.dsn())
        return Problem("unreachable", f"{SILENCE}{text.removeprefix(SILENCE)}")

    def discover(self, session: Session) -> list[str]:
        """The databases that this role may connect to."""
        with deadline(session.connection, 3):
            return [row.datname for row in session.rows(DATABASES)]

    def read_instance(self, session: Session, due: list[tuple[str, str]]) -> Iterator[tuple[Reading, float]]:
        """Probes of the whole server, on the one connection."""
        for _, name in due:
            probe = PROBES.get(name)
            if probe is not None and probe.scope == "instance":
                yield self.read(session if probe.source == "postgres" else None, probe)

    def read_databases(self, session: Session, due: list[tuple[str, str]]) -> Iterator[tuple[Reading, float]]:
        """Probes of each database: a short visit, all due probes in it."""
        for database in self.databases:
            probes = [PROBES[name] for where, name in due if where == database and name in PROBES]
            if not probes:
                continue
            if database == session.database:
                yield from (self.read(session, probe) for probe in probes)
            else:
                yield from self.visit(database, probes)

    def visit(self, database: str, probes: list[Probe]) -> Iterator[tuple[Reading, float]]:
        """Read in another database of the server; one that cannot be entered does not stop the round."""
        try:
            connection = connect(self.server, "monitor", database, read_only=True)
        except psycopg.Error as error:
            yield from (self.failed(probe, database, self.explain(error)) for probe in probes)
            return
        with connection:
            for probe in probes:
                yield self.read(Session(connection, self.server), probe)

    def read(self, session: Session | None, probe: Probe) -> tuple[Reading, float]:
        """One probe within its time, and when by the steady clock; a connection that hangs ends the round."""
        started = time.monotonic()
        if session is None:
            return self.read_elsewhere(probe)
        self.asked = (session.database if probe.scope == "database" else "", probe.name)
        with deadline(session.connection, probe.timeout + 1):
            reading = probe.read(session)
        if session.connection.closed:
            raise psycopg.OperationalError(reading.problem.message if reading.problem else "connection lost")
        self.asked = None
        return reading, started

    def read_elsewhere(self, probe: Probe) -> tuple[Reading, float]:
        """A probe of the server's PgBouncer."""
        started = time.monotonic()
        if not self.server.sealed_pgbouncer_dsn:
            return self.failed(probe, "", Problem("unsupported", NO_POOLER))
        try:
            with connect(self.server, "pgbouncer") as connection, deadline(connection, probe.timeout + 1):
                return probe.read(Session(connection, self.server)), started
        except psycopg.Error as error:
            return self.failed(probe, "", self.explain(error))

    def failed(self, probe: Probe, database: str, problem: Problem) -> tuple[Reading, float]:
        """A reading that says why there is none."""
        reading = Reading(probe, self.server.name, database, timezone.now(), 0.0)
        reading.problem = problem
        return reading, time.monotonic()


class ServerThread(threading.Thread):
    """Repeats rounds until told to stop."""

    def __init__(self, made: Round) -> None:
        super().__init__(name=f"server {made.server.name}", daemon=True)
        self.round, self.stopping = made, threading.Event()

    def run(self) -> None:
        """Rounds for ever; an error of ours is logged and costs one round."""
        while not self.stopping.is_set():
            try:
                pause = self.round.run()
            except Exception:
                logger.exception("A round on %s failed", self.round.server)
                self.round.close()
                pause = 5.0
            # A probe may have asked the control database: a thread for each server must not keep it.
            connections.close_all()
            self.rest(pause)
        self.round.close()

    def rest(self, seconds: float) -> None:
        """Until the next round, with a look at the waits each second."""
        until = time.monotonic() + max(seconds, 0.05)
        while not self.stopping.is_set() and (left := until - time.monotonic()) > 0:
            pause = self.round.look_at_waits() if left > 0.2 else left
            self.stopping.wait(min(pause, max(until - time.monotonic(), 0.0)) or 0.01)

    def stop(self) -> None:
        """End after the question under way."""
        self.stopping.set()

    def finish(self, seconds: float) -> None:
        """Wait for the end, so long at most."""
        self.stop()
        self.join(max(0.0, seconds))
