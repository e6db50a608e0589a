"""Start processes in order, wait until each answers, restart what may be restarted, stop in reverse order."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from devtools.account import Account
from devtools.failure import Failure, last_lines
from devtools.say import Say

PR_SET_PDEATHSIG = 1
RESTARTS = 5
HEALTHY_SECONDS = 60.0
LARGEST_LOG = 5_000_000


class Stopped(BaseException):
    """The person pressed Ctrl-C, closed the terminal, or something asked us to end."""


@dataclass
class Service:
    """One long-running process and how to treat it."""

    name: str
    argv: Sequence[str]
    log: Path
    tier: int  # higher ones stop first; those of one tier stop together
    env: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] | None = None
    ready_seconds: float = 60
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15
    may_restart: bool = False
    account: Account | None = None
    program: str | None = None  # the file to start when it is not the first word
    cwd: Path | None = None


class Running:
    """A service's process, and when it was started how often."""

    def __init__(self, service: Service) -> None:
        """Start it for the first time."""
        self.service = service
        self.restarts = 0
        self.due = 0.0
        self.start()

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches only the supervisor."""
        service = self.service
        rotate(service.log)
        with service.log.open("ab") as out:
            try:
                self.process = subprocess.Popen(
                    list(service.argv),
                    executable=service.program,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **service.env},
                    cwd=service.cwd,
                    start_new_session=True,
                    preexec_fn=dies_with_us(service.stop_signal),  # noqa: PLW1509 - we have no threads
                    **(service.account.popen_options() if service.account else {}),
                )
            except OSError as error:
                raise Failure(
                    f"{service.name} could not be started: {error.strerror} ({service.argv[0]})."
                ) from error
        self.started = time.monotonic()
        self.due = 0.0

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def failure(self, what: str) -> Failure:
        """What to say when it went wrong."""
        return Failure(f"{self.service.name} {what}.", last_lines(self.service.log), self.service.log)

    def wait_until_ready(self) -> None:
        """Ask until it answers; a process that ends or stays silent is a Failure."""
        if not self.service.is_ready:
            return
        until = time.monotonic() + self.service.ready_seconds
        while not self.service.is_ready():
            if self.has_ended():
                raise self.failure(f"ended at once with status {self.process.returncode}")
            if time.monotonic() > until:
                raise self.failure(f"did not answer within {self.service.ready_seconds:.0f} s")
            time.sleep(0.1)

    def look(self) -> None:
        """Notice an end; start again after a pause that grows, or give up."""
        if not self.has_ended():
            return
        now = time.monotonic()
        if self.due:
            if now >= self.due:
                with undisturbed():
                    self.start()
            return
        if now - self.started > HEALTHY_SECONDS:
            self.restarts = 0
        if not self.service.may_restart or self.restarts >= RESTARTS:
            raise self.failure(f"ended with status {self.process.returncode}, {self.restarts + 1} times now")
        self.due = now + 2**self.restarts
        self.restarts += 1

    def ask_to_stop(self) -> None:
        """Send the signal that ends it cleanly."""
        if not self.has_ended():
            self.process.send_signal(self.service.stop_signal)

    def end(self) -> bool:
        """Wait for the end, kill it when it takes too long; return whether it went by itself."""
        went = True
        try:
            self.process.wait(self.service.stop_seconds)
        except subprocess.TimeoutExpired:
            went = False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return went


class Supervisor:
    """Holds the running services."""

    def __init__(self, say: Say) -> None:
        """Nothing runs yet."""
        self.say = say
        self.running: list[Running] = []

    def start(self, *services: Service) -> None:
        """Start them together and wait until all answer."""
        started = []
        for service in services:
            with undisturbed():
                started.append(Running(service))
                self.running.append(started[-1])
        for one in started:
            one.wait_until_ready()

    def watch(self) -> None:
        """Look after the services until one is given up."""
        while True:
            for one in self.running:
                was_due = bool(one.due)
                one.look()
                if one.due and not was_due:
                    self.say.step(
                        one.service.name, f"ended with status {one.process.returncode}; starting it again"
                    )
            time.sleep(0.3)

    def stop_one(self, name: str) -> None:
        """Stop the service of this name, cleanly."""
        one = next(one for one in self.running if one.service.name == name)
        one.ask_to_stop()
        if not one.end():
            raise one.failure(f"did not stop within {one.service.stop_seconds:.0f} s")
        self.running.remove(one)

    def stop(self) -> None:
        """Stop the highest tier first."""
        for tier in sorted({one.service.tier for one in self.running}, reverse=True):
            members = [one for one in reversed(self.running) if one.service.tier == tier]
            for one in members:
                one.ask_to_stop()
            for one in members:
                if not one.end():
                    self.say.step(one.service.name, "did not stop by itself and was killed")
        self.running.clear()


@contextlib.contextmanager
def supervising(say: Say) -> Iterator[Supervisor]:
    """A supervisor that stops all its services at the end, whatever ends it."""
    supervisor = Supervisor(say)
    try:
        yield supervisor
    finally:
        ignore_stop_signals()
        say.interrupted()
        if supervisor.running:
            say.step("stop", "stopping everything")
            supervisor.stop()
            say.step("stop", "all stopped; the data stays")


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Turn the signals that ask for an end into Stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        ignore_stop_signals()
        raise Stopped

    before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_stop_signals() -> None:
    """While stopping, a second Ctrl-C changes nothing."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back the signals that ask for an end, so that no process is started and then forgotten."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def dies_with_us(number: signal.Signals) -> Callable[[], None]:
    """What the child does before it becomes the program: ask the kernel for this signal when we die."""
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def ask() -> None:
        # Blocked and ignored signals are inherited; the program must hear them.
        for stopping in STOP_SIGNALS:
            signal.signal(stopping, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        if prctl:
            prctl(PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:
                os._exit(1)

    return ask


def rotate(log: Path) -> None:
    """Keep one older log when this one has become large."""
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".old.log"))
