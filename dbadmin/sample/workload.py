"""People and machines that use the sample platform, gently, without end, whatever happens to it."""

import math
import random
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import psycopg

from dbadmin.sample import accounts
from dbadmin.sample.lines import Line, Say, Voice, first_line
from dbadmin.sample.requests import Population, Request, population, requests
from dbadmin.sample.troubles import Troubles

REST = 30.0  # seconds before a request that failed is tried again


@dataclass(frozen=True)
class Role:
    """A kind of program: how often it asks a second at rate 1, as whom, and whether through the pooler."""

    actor: str
    account: str
    a_second: float
    pooled: bool = False
    connections: int = 1

    @property
    def application(self) -> str:
        return f"academy-{self.actor}"


ROLES = (
    Role("web", accounts.WEB, 6.0, pooled=True, connections=3),
    Role("mobile", accounts.WEB, 6.0, pooled=True),
    Role("events", accounts.WEB, 0.5, pooled=True),
    Role("support", accounts.WEB, 0.25),
    Role("reports", accounts.REPORTS, 0.15),
    Role("batch", accounts.BATCH, 0.02),
)


class Actor(threading.Thread):
    """One program with one connection, asking at its pace."""

    def __init__(self, role: Role, line: Line, rate: float) -> None:
        super().__init__(name=role.application, daemon=True)
        self.role, self.line, self.rate = role, line, rate
        self.requests = [request for request in requests() if request.actor == role.actor]
        self.resting: dict[Request, float] = {}
        self.met: psycopg.Connection | None = None
        self.people = Population()

    def run(self) -> None:
        while not self.line.stop.wait(
            random.expovariate(self.role.a_second * self.rate * rhythm(datetime.now().astimezone()))
        ):
            connection = self.line.get()
            if connection is None:
                break
            try:
                self.act(connection)
            except psycopg.Error as error:
                connection.close()
                self.line.lost(error)
        self.line.close()

    def act(self, connection: psycopg.Connection) -> None:
        if connection is not self.met:
            self.people, self.met = population(connection), connection
        request = random.choices(self.requests, [request.weight for request in self.requests])[0]
        if self.resting.get(request, 0) > monotonic():
            return
        try:
            ask(connection, request, self.people.draw())
        except psycopg.Error as error:
            if connection.closed or connection.broken:
                raise
            self.failed(request, error)
        else:
            if self.resting.pop(request, None):
                self.line.say(f"{self.role.application}: '{request.name}' works again.")

    def failed(self, request: Request, error: psycopg.Error) -> None:
        """Let it rest and say so once. What passes by itself (a cancel, a deadlock) needs no rest."""
        if isinstance(error, psycopg.OperationalError) and not isinstance(
            error, psycopg.errors.ObjectNotInPrerequisiteState
        ):
            return
        if request not in self.resting:
            self.line.say(
                f"{self.role.application}: '{request.name}' failed: {first_line(error)}. Going on without it."
            )
        self.resting[request] = monotonic() + REST


def ask(connection: psycopg.Connection, request: Request, wishes: dict[str, object]) -> None:
    if not request.as_user:
        for statement in request.statements:
            connection.execute(statement, wishes)
        return
    with connection.transaction():
        connection.execute("select set_config('app.current_user_id', %s::text, true)", [wishes["user"]])
        for statement in request.statements:
            connection.execute(statement, wishes)


def rhythm(now: datetime) -> float:
    """How busy it is: evenings more than nights, a slow swell, now and then a crowd after a newsletter."""
    minutes = now.hour * 60 + now.minute + now.second / 60
    day = 0.75 - 0.3 * math.cos((minutes - 7 * 60) / 1440 * 2 * math.pi)
    swell = 1 + 0.25 * math.sin(minutes / 11 * 2 * math.pi)
    crowd = 2.0 if minutes % 27 < 3 else 1.0
    return day * swell * crowd


def working_dsns(dsn: str, pooler_dsn: str, say: Say) -> dict[str, tuple[str, str]]:
    """For each account the direct way and the pooled one; the owner's own where a role cannot sign in."""
    ways = {}
    for account in accounts.WORKING:
        direct = accounts.dsn_of(account, dsn)
        try:
            psycopg.connect(direct, connect_timeout=5).close()
            ways[account] = (direct, accounts.dsn_of(account, dsn, pooler_dsn) if pooler_dsn else direct)
        except psycopg.OperationalError as error:
            say(
                f"{account} cannot sign in ({first_line(error)}); its work is done as the given user instead."
            )
            ways[account] = (dsn, dsn)
    return ways


def actors(ways: dict[str, tuple[str, str]], rate: float, stop: threading.Event, say: Say) -> list[Actor]:
    found = []
    for role in ROLES:
        direct, pooled = ways[role.account]
        for _ in range(role.connections):
            line = Line(pooled if role.pooled else direct, role.application, stop, say)
            found.append(Actor(role, line, rate))
    return found


def work(
    dsn: str,
    pooler_dsn: str = "",
    rate: float = 1.0,
    troubles: bool = True,
    say: Say = print,
    stop: threading.Event | None = None,
) -> None:
    """Let all of them work until stop is set (or, in the main thread, a signal comes)."""
    stop, say = stop or stopped_by_signals(), Voice(say)
    first = Line(dsn, "academy-start", stop, say)
    if first.get() is None:
        return
    first.close()
    ways = working_dsns(dsn, pooler_dsn, say)
    threads: Sequence[threading.Thread] = actors(ways, rate, stop, say)
    if troubles:
        threads = [*threads, Troubles(ways, stop, say)]
    for thread in threads:
        thread.start()
    say(f"{len(threads)} programs use the platform. Ctrl-C stops them.")
    stop.wait()
    last = monotonic() + 4
    for thread in threads:
        thread.join(timeout=max(0.0, last - monotonic()))


def stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
