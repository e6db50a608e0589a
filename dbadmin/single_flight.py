"""Live readings: however many people watch, the server answers one question a cadence; pages wait briefly."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple

import psycopg
from django.db import IntegrityError
from django.db import connection as control
from django.utils import timezone
from psycopg_pool import TooManyRequests

from dbadmin import reading_store
from dbadmin.connections import POOLS, Role, Session, why
from dbadmin.deadlines import deadline
from dbadmin.models import Server
from dbadmin.packed_readings import blank, unpack
from dbadmin.probes import NO_POOLER, PROBES, Probe, Problem, Reading
from dbadmin.shared_answers import REST, Key, Shared

#: How long a page waits for the server before it shows what is stored, seconds.
PATIENCE = 0.4
#: How long once the server has just been found slow.
LITTLE_PATIENCE = 0.02
#: When an answer takes longer than this, what is asked after it is asked beside it, seconds.
HELP = 0.05
#: As many questions at once as a server's pool has connections.
MOST_AT_ONCE = 3
#: How often a look for another process's answer is repeated, seconds.
LOOK = 0.02
#: How often a flight looks whether the sampler keeps what it brings, seconds: that takes longer than the question.
STORED = 30.0
#: Why there is no answer is asked anew after so many seconds.
PROBLEM_KEEPS = 2.0


class Question(NamedTuple):
    """What a page wants to know of a server now. params: what the probe is told, as JSON."""

    probe: Probe
    database: str = ""
    params: str = ""

    @classmethod
    def of(cls, probe: Probe, database: str, params: Mapping[str, Any] | None = None) -> Question:
        """The question that a probe is, asked in a database, about one thing where it is told of one."""
        return cls(probe, database, json.dumps(params, sort_keys=True) if params else "")

    def key(self, server: Server) -> Key:
        """What all who ask the same have in common."""
        return (str(server.key), self.database, self.probe.name, self.params)

    @property
    def way(self) -> tuple[Role, str]:
        """As whom, and in which database, it is asked."""
        return "pgbouncer" if self.probe.source == "pgbouncer" else "monitor", self.database


class Awaited(NamedTuple):
    """An answer that is under way, and by which flight."""

    flight: Flight
    answer: Future[Reading]


class NoPooler(psycopg.Error):
    """Nobody has named the server's PgBouncer."""


class Flights:
    """This process's own: last answers, flights under way, and servers found slow."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: dict[Key, Reading] = {}
        self.under_way: dict[Key, Awaited] = {}
        self.slow_until: dict[str, float] = {}
        self.stored_until: dict[Key, float] = {}
        self.shared = Shared()

    def forget(self) -> None:
        """After a fork."""
        self.__init__()  # type: ignore[misc]

    def is_store_due(self, key: Key) -> bool:
        """Has nobody looked for long whether this is kept in the store?"""
        now = time.monotonic()
        with self.lock:
            if self.stored_until.get(key, 0) > now:
                return False
            if len(self.stored_until) > 1000:
                self.stored_until.clear()
            self.stored_until[key] = now + STORED
            return True

    def patience(self, server: Server) -> float:
        """How long to wait for this server now."""
        return LITTLE_PATIENCE if self.slow_until.get(str(server.key), 0) > time.monotonic() else PATIENCE

    def keep(self, key: Key, reading: Reading) -> None:
        """Remember an answer; a few hundred are enough."""
        with self.lock:
            self.answers[key] = reading
            if len(self.answers) > 500:
                oldest = sorted(self.answers, key=lambda known: self.answers[known].taken_at)
                for old in oldest[:100]:
                    del self.answers[old]

    def begin(self, server: Server, questions: Mapping[Key, Question]) -> dict[Key, Awaited]:
        """Which of these are under way here: those that were, and those that no other process asks."""
        with self.lock:
            found = {key: self.under_way[key] for key in questions if key in self.under_way}
            wanted = [key for key in questions if key not in found]
            longest = max((questions[key].probe.timeout for key in wanted), default=0)
            taken = self.shared.take_off(wanted, longest + 4)
            if taken:
                flight = Flight(server, [questions[key] for key in taken])
                new = {key: Awaited(flight, Future[Reading]()) for key in taken}
                self.under_way |= new
        if taken:
            flight.ask_on()
            found |= new
        return found

    def end(self, keys: Iterable[Key]) -> None:
        """These are under way no more."""
        with self.lock:
            for key in keys:
                self.under_way.pop(key, None)


FLIGHTS = Flights()
os.register_at_fork(after_in_child=FLIGHTS.forget)


class Flight:
    """Questions to one server: one after the other on one connection, beside each other when one takes long."""

    def __init__(self, server: Server, questions: Sequence[Question]) -> None:
        self.server = server
        #: Those that go the same way follow each other: they share a connection.
        self.left = deque(sorted(questions, key=lambda question: question.way))
        self.brought: list[tuple[Question, Reading]] = []
        self.askers, self.is_let_in = 0, False

    def ask_on(self) -> None:
        """Have one more thread ask what is left, and show all processes what was brought.

        While it is not known whether the server lets us in, nobody else knocks.
        """
        with FLIGHTS.lock:
            is_enough = self.askers == MOST_AT_ONCE or (self.askers and not self.is_let_in)
            if is_enough or not (self.left or self.brought):
                return
            self.askers += 1
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Ask until nothing is left, and give each answer to all who wait."""
        try:
            self.land()
            while question := self.take():
                self.ask_along(question)
            self.land()
        except BaseException as error:
            self.give_up(error)
            raise
        finally:
            with FLIGHTS.lock:
                self.askers -= 1
            with contextlib.suppress(Exception):
                control.close()

    def take(self, like: Question | None = None) -> Question | None:
        """The next question; with like, when it goes the same way."""
        with FLIGHTS.lock:
            if not self.left or (like and self.left[0].way != like.way):
                return None
            return self.left.popleft()

    def ask_along(self, first: Question) -> None:
        """Ask a question and those that go its way, over one connection; each has its own time."""
        question: Question | None = first
        role, database = first.way
        try:
            if role == "pgbouncer" and not self.server.sealed_pgbouncer_dsn:
                raise NoPooler
            with POOLS.get(self.server, role, database or None).connection() as connection:
                self.is_let_in = True
                session = Session(connection, self.server)
                while question:
                    with deadline(connection, question.probe.timeout + 1):
                        reading = question.probe.read(session, **json.loads(question.params or "{}"))
                    self.bring(question, reading)
                    question = None if connection.closed else self.take(like=first)
        except psycopg.Error as error:
            while question:  # for those that would have gone the same way nobody knocks again
                reading = blank(question.probe, self.server.name, database, timezone.now(), 0.0)
                reading.problem = problem_of(error)
                self.bring(question, reading)
                question = self.take(like=first)

    def bring(self, question: Question, reading: Reading) -> None:
        """Give an answer to all who wait for it in this process."""
        key = question.key(self.server)
        if not reading.problem:
            FLIGHTS.keep(key, reading)
        with FLIGHTS.lock:
            self.brought.append((question, reading))
        FLIGHTS.under_way[key].answer.set_result(reading)

    def land(self) -> None:
        """Show what was brought to the other processes, all at once, and keep what nobody else keeps."""
        with FLIGHTS.lock:
            brought, self.brought = self.brought, []
        readings = {question.key(self.server): reading for question, reading in brought}
        try:
            FLIGHTS.shared.land(readings)
            for question, reading in brought:
                due = not reading.problem and not question.params
                if due and FLIGHTS.is_store_due(question.key(self.server)):
                    store_if_nobody_else_does(self.server, reading)
        finally:
            FLIGHTS.end(readings)

    def give_up(self, error: BaseException) -> None:
        """Tell all who wait for this flight why they wait in vain."""
        with FLIGHTS.lock:
            mine = [key for key, each in FLIGHTS.under_way.items() if each.flight is self]
            self.left.clear()
        for key in mine:
            if not FLIGHTS.under_way[key].answer.done():
                FLIGHTS.under_way[key].answer.set_exception(error)
        FLIGHTS.end(mine)


def live(
    server: Server,
    probe_name: str,
    database: str = "",
    max_age: float | None = None,
    params: Mapping[str, Any] | None = None,
) -> Reading:
    """A reading at most max_age seconds old; if the server keeps us waiting, the last one that is known."""
    (reading,) = live_all(server, [Question.of(PROBES[probe_name], database, params)], max_age)
    return reading


def live_all(server: Server, questions: Sequence[Question], max_age: float | None = None) -> list[Reading]:
    """An answer to each question, all asked at once; what the server keeps us waiting for is the last that is known.

    max_age: as long as the probe says that its answers keep, unless another age is asked for.
    """
    asked = {question.key(server): question for question in questions}
    found = absent(server, asked)
    found |= known(server, {key: asked[key] for key in asked if key not in found}, max_age)
    missing = {key: question for key, question in asked.items() if key not in found}
    under_way = FLIGHTS.begin(server, missing) if missing else {}
    for key, question in missing.items():
        arrived = wait(server, key, question, under_way.get(key), max_age)
        if arrived is not None:
            FLIGHTS.slow_until.pop(key[0], None)
        else:
            FLIGHTS.slow_until[key[0]] = time.monotonic() + REST
        found[key] = arrived or last_known(server, key, question)
    return [found[question.key(server)] for question in questions]


def absent(server: Server, asked: Mapping[Key, Question]) -> dict[Key, Reading]:
    """Those that are asked of a database that is not there."""
    new = {key: question for key, question in asked.items() if key not in FLIGHTS.answers}
    unknown = {name for name in {key[1] for key in new} if is_absent(server, name)}
    found = {}
    for key, question in new.items():
        if question.database in unknown:
            found[key] = blank(question.probe, server.name, question.database, timezone.now(), 0.0)
            found[key].problem = no_database(server, question.database)
    return found


def is_absent(server: Server, database: str) -> bool:
    """Is it none of the server's databases? Whoever writes names into addresses shall open no connections."""
    if not database or database == reading_store.main_database(server):
        return False
    there = reading_store.databases(server)
    return bool(there) and database not in there


def no_database(server: Server, database: str) -> Problem:
    """Why a database that is not there has no answer."""
    return Problem("absent", f"{server} has no database {database} that people connect to.")


def known(server: Server, asked: Mapping[Key, Question], max_age: float | None) -> dict[Key, Reading]:
    """Answers that are fresh enough, of this process or another."""
    ages = {key: question.probe.keeps if max_age is None else max_age for key, question in asked.items()}
    found = {}
    for key in asked:
        mine = FLIGHTS.answers.get(key)
        if mine is not None and mine.age_seconds <= ages[key]:
            found[key] = mine
    for key, (at, text) in FLIGHTS.shared.get([key for key in asked if key not in found]).items():
        age = time.time() - at
        if age <= ages[key]:
            reading = decode(server, asked[key], key, text)
            # What mends a problem is done at any moment: it is not kept like an answer.
            if not reading.problem or age <= PROBLEM_KEEPS:
                found[key] = reading
    return found


def decode(server: Server, question: Question, key: Key, text: bytes) -> Reading:
    """A shared answer as a Reading, kept decoded."""
    head, _, body = text.partition(b"\n")
    facts = json.loads(head)
    taken_at = dt.datetime.fromtimestamp(facts["at"], dt.UTC)
    reading = unpack(body, blank(question.probe, server.name, key[1], taken_at, facts["took"]))
    FLIGHTS.keep(key, reading)
    return reading


def wait(
    server: Server, key: Key, question: Question, awaited: Awaited | None, max_age: float | None
) -> Reading | None:
    """Wait for our own flight, or for another process's answer; None when patience ends."""
    until = time.monotonic() + FLIGHTS.patience(server)
    if awaited is not None:
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                return awaited.answer.result(timeout=min(HELP, left))
            awaited.flight.ask_on()
        return awaited.answer.result() if awaited.answer.done() else None
    while not (found := known(server, {key: question}, max_age)) and time.monotonic() < until:
        time.sleep(LOOK)
    return found.get(key)


def last_known(server: Server, key: Key, question: Question) -> Reading:
    """The newest of what this process and the store remember, with the reason why it is not fresh."""
    probe, database = question.probe, question.database
    trouble = Problem("timeout", "The server has not answered in time; this is the last answer that we have.")
    stored = None if probe.params else reading_store.latest(server, probe.name, database)
    candidates = [
        reading for reading in (FLIGHTS.answers.get(key), stored) if reading and not reading.problem
    ]
    if not candidates:
        empty = blank(probe, server.name, database, timezone.now(), 0.0)
        empty.problem = Problem(
            "pending", "The server has not answered yet, and no earlier answer is stored."
        )
        return empty
    newest = max(candidates, key=lambda reading: reading.taken_at)
    return replace(newest, problem=None, trouble=newest.trouble or trouble)


def problem_of(error: Exception) -> Problem:
    """Why there was no session."""
    if isinstance(error, NoPooler):
        return Problem("unsupported", NO_POOLER)
    if isinstance(error, TooManyRequests):
        return Problem("busy", why(error, ""))
    return Problem("unreachable", f"The server does not answer: {why(error, '')}")


def store_if_nobody_else_does(server: Server, reading: Reading) -> None:
    """Keep live answers too where the sampler keeps none, so that there is a last one to show."""
    stored = reading_store.latest(server, reading.probe.name, reading.database)
    if stored is None or stored.is_stale:
        with contextlib.suppress(IntegrityError):  # the server was removed meanwhile
            reading_store.store(server, reading)
