"""Connections that come back after every loss, and the voice in which losses are told."""

import threading
from collections.abc import Callable
from time import monotonic

import psycopg
from psycopg.types.numeric import Int8Dumper

SILENCE = 30.0  # seconds in which the same sentence is not said twice
Say = Callable[[str], None]


class Voice:
    """Says each thing once in a while, though many programs notice it at the same time."""

    def __init__(self, say: Say) -> None:
        self.say, self.lock = say, threading.Lock()
        self.said: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        with self.lock:
            if monotonic() >= self.said.get(text, 0):
                self.said[text] = monotonic() + SILENCE
                self.say(text)


class Line:
    """A connection that comes back after every loss, with back-off, and says so once."""

    def __init__(self, dsn: str, application: str, stop: threading.Event, say: Say) -> None:
        self.dsn, self.application, self.stop, self.say = dsn, application, stop, say
        self.connection: psycopg.Connection | None = None
        self.told = False

    def get(self) -> psycopg.Connection | None:
        """The open connection; None when the workload is to stop."""
        wait = 0.5
        while not self.stop.is_set():
            if self.connection and not self.connection.closed:
                return self.connection
            try:
                self.connection = self.opened()
            except psycopg.OperationalError as error:
                self.lost(error)
                self.stop.wait(wait)
                wait = min(wait * 1.7, 10)
            else:
                self.back()
        return None

    def opened(self) -> psycopg.Connection:
        connection = psycopg.connect(
            self.dsn,
            autocommit=True,
            application_name=self.application,
            connect_timeout=5,
            prepare_threshold=None,
        )
        # A pooler takes connections while its server is away: only an answer proves that it is there.
        connection.execute("select 1")
        # Numbers of one width make one statement of one text; else pg_stat_statements counts three.
        connection.adapters.register_dumper(int, Int8Dumper)
        return connection

    def lost(self, error: psycopg.Error) -> None:
        if not self.told:
            self.say(
                f"{self.application}: the server is away ({first_line(error)}). Trying until it is back."
            )
        self.told = True

    def back(self) -> None:
        if self.told:
            self.say(f"{self.application}: the server is back.")
        self.told = False

    def close(self) -> None:
        if self.connection:
            self.connection.close()


def first_line(error: psycopg.Error) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip()
