"""A deadline for a connection: a server that hangs without a word cannot hold a thread of ours."""

from __future__ import annotations

import heapq
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg


class Watch:
    """One thread for all deadlines of the process; it shuts sockets down, nothing else."""

    def __init__(self) -> None:
        self.ready = threading.Condition()
        self.heap: list[tuple[float, int, int]] = []
        self.sockets: dict[int, socket.socket] = {}
        self.numbers = count()
        self.thread: threading.Thread | None = None

    def forget(self) -> None:
        """After a fork the thread is gone; begin anew."""
        self.__init__()  # type: ignore[misc]

    def add(self, descriptor: int, seconds: float) -> int:
        """Watch a socket; the copy of its descriptor stays ours, whatever its owner does."""
        copy = socket.socket(fileno=os.dup(descriptor))
        with self.ready:
            number = next(self.numbers)
            self.sockets[number] = copy
            heapq.heappush(self.heap, (time.monotonic() + seconds, number, 0))
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.run, name="deadlines", daemon=True)
                self.thread.start()
            if self.heap[0][1] == number:  # else it wakes in time for an earlier one anyway
                self.ready.notify()
        return number

    def remove(self, number: int) -> bool:
        """Stop watching; True when the deadline had passed."""
        with self.ready:
            copy = self.sockets.pop(number, None)
        if copy is None:
            return True
        copy.close()
        return False

    def run(self) -> None:
        """Wait for the next deadline, end what passed it."""
        while True:
            with self.ready:
                now = time.monotonic()
                while self.heap and (self.heap[0][0] <= now or self.heap[0][1] not in self.sockets):
                    self.end(heapq.heappop(self.heap)[1])
                self.ready.wait(self.heap[0][0] - now if self.heap else 60)

    def end(self, number: int) -> None:
        """Shut the socket down: whoever waits on it gets an error at once."""
        copy = self.sockets.pop(number, None)
        if copy is not None:
            try:
                copy.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It was closed already.
            copy.close()


WATCH = Watch()
os.register_at_fork(after_in_child=WATCH.forget)


class DeadlinePassed(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


@contextmanager
def deadline(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """Close the connection under whoever waits in the block when it takes longer than this.

    statement_timeout is the server's promise; this holds also when the server is stopped or unreachable.
    """
    number = WATCH.add(connection.fileno(), seconds)
    try:
        yield
    except psycopg.OperationalError as error:
        if number not in WATCH.sockets:
            raise DeadlinePassed(f"no answer within {seconds:g} s; the connection was closed") from error
        raise
    finally:
        if WATCH.remove(number):
            connection.close()
