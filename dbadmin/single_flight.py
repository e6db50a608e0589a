"""Live readings: however many people watch, the server answers one question a cadence; pages wait briefly."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.db import IntegrityError
from django.db import connection as control
from django.utils import timezone
from psycopg_pool import TooManyRequests

from dbadmin import reading_store
from dbadmin.connections import Role, session, why
from dbadmin.models import Server
from dbadmin.packed_readings import blank, pack, unpack
from dbadmin.probes import NO_POOLER, PROBES, Probe, Problem, Reading

#: How long a page waits for the server before it shows what is stored, seconds.
PATIENCE = 0.4
#: How long once the server has just been found slow.
LITTLE_PATIENCE = 0.02
#: How long a slow server, or an absent Redis, is not waited for again, seconds.
REST = 5.0
#: How often a look for another process's answer is repeated, seconds.
LOOK = 0.02
#: How often a flight looks whether the sampler keeps what it brings, seconds: that takes longer than the question.
STORED = 30.0
#: Readings are shared this long at most, seconds; who wants them fresher asks for it with max_age.
KEEP = 600
#: Why there is no answer is asked anew after so many seconds.
PROBLEM_KEEPS = 2.0

#: Server, database, probe, and as JSON what the probe is told.
Key = tuple[str, str, str, str]


class Shared:
    """Answers and flights shared by all processes through Redis; when it is away each process flies alone."""

    def __init__(self) -> None:
        self.client: redis.Redis | None = None
        self.away_until = 0.0

    def call(self, work: Callable[[redis.Redis], Any], otherwise: Any) -> Any:
        """Do something with Redis, or give the other answer at once when it is away."""
        if time.monotonic() < self.away_until:
            return otherwise
        try:
            if self.client is None:
                self.client = redis.Redis.from_url(
                    settings.REDIS_URL, socket_timeout=0.2, socket_connect_timeout=0.2, retry=None
                )
            return work(self.client)
        except redis.RedisError:
            self.away_until = time.monotonic() + REST
            return otherwise

    def get(self, key: Key) -> tuple[float, bytes] | None:
        """The moment and the packed reading that some process put there."""
        found = self.call(lambda client: client.get(name_of(key)), None)
        if not found:
            return None
        head = bytes(found).partition(b"\n")[0]
        return float(json.loads(head)["at"]), bytes(found)

    def put(self, key: Key, reading: Reading) -> None:
        """Show a reading to all processes."""
        head = {"at": reading.taken_at.timestamp(), "took": reading.took_ms}
        text = json.dumps(head).encode() + b"\n" + pack(reading)
        self.call(lambda client: client.set(name_of(key), text, ex=KEEP), None)

    def take_off(self, key: Key, seconds: float) -> bool:
        """May this process ask the server? True also when Redis is away."""
        return bool(
            self.call(
                lambda c: c.set(f"{name_of(key)}:flight", os.getpid(), nx=True, px=int(seconds * 1000)), True
            )
        )

    def land(self, key: Key) -> None:
        """The flight is over."""
        self.call(lambda client: client.delete(f"{name_of(key)}:flight"), None)


def name_of(key: Key) -> str:
    """The key in Redis."""
    return "dbadmin:live:" + ":".join(key)


class Flights:
    """This process's own: last answers, flights under way, and servers found slow."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: dict[Key, Reading] = {}
        self.under_way: dict[Key, Future[Reading]] = {}
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

    def patience(self, key: Key) -> float:
        """How long to wait for this server now."""
        return LITTLE_PATIENCE if self.slow_until.get(key[0], 0) > time.monotonic() else PATIENCE

    def keep(self, key: Key, reading: Reading) -> None:
        """Remember an answer; a few hundred are enough."""
        with self.lock:
            self.answers[key] = reading
            if len(self.answers) > 500:
                oldest = sorted(self.answers, key=lambda known: self.answers[known].taken_at)
                for old in oldest[:100]:
                    del self.answers[old]


FLIGHTS = Flights()
os.register_at_fork(after_in_child=FLIGHTS.forget)


def live(
    server: Server,
    probe_name: str,
    database: str = "",
    max_age: float | None = None,
    params: Mapping[str, Any] | None = None,
) -> Reading:
    """A reading at most max_age seconds old; if the server keeps us waiting, the last one that is known.

    max_age: as long as the probe says that its answers keep, unless another age is asked for.
    """
    probe = PROBES[probe_name]
    max_age = probe.keeps if max_age is None else max_age
    key = (str(server.key), database, probe_name, json.dumps(params, sort_keys=True) if params else "")
    if key not in FLIGHTS.answers and is_absent(server, database):
        empty = blank(probe, server.name, database, timezone.now(), 0.0)
        empty.problem = no_database(server, database)
        return empty
    fresh = known_answer(server, probe, key, max_age)
    if fresh is not None:
        return fresh
    until = time.monotonic() + FLIGHTS.patience(key)
    with FLIGHTS.lock:
        flight = FLIGHTS.under_way.get(key)
        if flight is None and FLIGHTS.shared.take_off(key, probe.timeout + 4):
            flight = FLIGHTS.under_way[key] = Future()
            threading.Thread(target=fly, args=(server, probe, key, flight), daemon=True).start()
    arrived = wait(server, probe, key, flight, until, max_age)
    if arrived is not None:
        FLIGHTS.slow_until.pop(key[0], None)
        return arrived
    FLIGHTS.slow_until[key[0]] = time.monotonic() + REST
    return last_known(server, probe, key)


def is_absent(server: Server, database: str) -> bool:
    """Is it none of the server's databases? Whoever writes names into addresses shall open no connections."""
    if not database or database == reading_store.main_database(server):
        return False
    known = reading_store.databases(server)
    return bool(known) and database not in known


def no_database(server: Server, database: str) -> Problem:
    """Why a database that is not there has no answer."""
    return Problem("absent", f"{server} has no database {database} that people connect to.")


def known_answer(server: Server, probe: Probe, key: Key, max_age: float) -> Reading | None:
    """An answer that is fresh enough, of this process or another."""
    mine = FLIGHTS.answers.get(key)
    if mine is not None and mine.age_seconds <= max_age:
        return mine
    found = FLIGHTS.shared.get(key)
    age = time.time() - found[0] if found else 0.0
    if found is None or age > max_age:
        return None
    reading = decode(server, probe, key, found[1])
    # What mends a problem is done at any moment: it is not kept like an answer.
    return None if reading.problem and age > PROBLEM_KEEPS else reading


def decode(server: Server, probe: Probe, key: Key, text: bytes) -> Reading:
    """A shared answer as a Reading, kept decoded."""
    head, _, body = text.partition(b"\n")
    facts = json.loads(head)
    taken_at = dt.datetime.fromtimestamp(facts["at"], dt.UTC)
    reading = unpack(body, blank(probe, server.name, key[1], taken_at, facts["took"]))
    FLIGHTS.keep(key, reading)
    return reading


def wait(
    server: Server, probe: Probe, key: Key, flight: Future[Reading] | None, until: float, max_age: float
) -> Reading | None:
    """Wait for our own flight, or for another process's answer; None when patience ends."""
    if flight is not None:
        try:
            return flight.result(timeout=max(0.0, until - time.monotonic()))
        except TimeoutError:
            return None
    while time.monotonic() < until:
        time.sleep(LOOK)
        found = known_answer(server, probe, key, max_age)
        if found is not None:
            return found
    return None


def last_known(server: Server, probe: Probe, key: Key) -> Reading:
    """The newest of what this process and the store remember, with the reason why it is not fresh."""
    trouble = Problem("timeout", "The server has not answered in time; this is the last answer that we have.")
    stored = None if probe.params else reading_store.latest(server, probe.name, key[1])
    candidates = [
        reading for reading in (FLIGHTS.answers.get(key), stored) if reading and not reading.problem
    ]
    if not candidates:
        empty = blank(probe, server.name, key[1], timezone.now(), 0.0)
        empty.problem = Problem(
            "pending", "The server has not answered yet, and no earlier answer is stored."
        )
        return empty
    newest = max(candidates, key=lambda reading: reading.taken_at)
    return copy_with(newest, newest.trouble or trouble)


def copy_with(reading: Reading, trouble: Problem) -> Reading:
    """The same rows, with the reason why there are no newer ones."""
    return Reading(
        reading.probe, reading.server_name, reading.database, reading.taken_at, reading.took_ms,
        reading.columns, reading.rows, None, reading.cut, trouble,
    )  # fmt: skip


def fly(server: Server, probe: Probe, key: Key, flight: Future[Reading]) -> None:
    """In a thread of its own: ask the server, and give the answer to all who wait."""
    try:
        reading = ask(server, probe, key[1], **json.loads(key[3] or "{}"))
        FLIGHTS.keep(key, reading) if not reading.problem else None
        FLIGHTS.shared.put(key, reading)
        flight.set_result(reading)
        if not reading.problem and not probe.params and FLIGHTS.is_store_due(key):
            store_if_nobody_else_does(server, reading)
    except BaseException as error:
        if not flight.done():
            flight.set_exception(error)
        raise
    finally:
        with FLIGHTS.lock:
            FLIGHTS.under_way.pop(key, None)
        FLIGHTS.shared.land(key)
        with contextlib.suppress(Exception):
            control.close()


def ask(server: Server, probe: Probe, database: str, **params: Any) -> Reading:
    """Ask the server now, within the probe's time limit; trouble of any kind is the reading's problem."""
    started = timezone.now()
    role: Role = "pgbouncer" if probe.source == "pgbouncer" else "monitor"
    if role == "pgbouncer" and not server.sealed_pgbouncer_dsn:
        reading = blank(probe, server.name, database, started, 0.0)
        reading.problem = Problem("unsupported", NO_POOLER)
        return reading
    try:
        with session(server, role, database or None, probe.timeout + 1) as opened:
            return probe.read(opened, **params)
    except psycopg.Error as error:
        reading = blank(
            probe, server.name, database, started, (timezone.now() - started).total_seconds() * 1000
        )
        reading.problem = problem_of(error)
        return reading


def problem_of(error: Exception) -> Problem:
    """Why there was no session."""
    if isinstance(error, TooManyRequests):
        return Problem("busy", why(error, ""))
    return Problem("unreachable", f"The server does not answer: {why(error, '')}")


def store_if_nobody_else_does(server: Server, reading: Reading) -> None:
    """Keep live answers too where the sampler keeps none, so that there is a last one to show."""
    stored = reading_store.latest(server, reading.probe.name, reading.database)
    if stored is None or stored.is_stale:
        with contextlib.suppress(IntegrityError):  # the server was removed meanwhile
            reading_store.store(server, reading)
