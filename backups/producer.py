"""A process whose output is a backup: its end counts only when it ended well."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from dbadmin.failures import Told

BLOCK = 256 << 10
PIPE = 1 << 20
#: What a program writes at once; more is no faster.
WRITTEN = 64 << 10
LONGEST_QUERY = 300
_SAID = re.compile(r"Error message from server: [A-Z]+:\s+(.+?)\.?$")
_FUNCTION = re.compile(r"PQ\w+\(\) failed")
STALL_SECONDS = 30 * 60
Popen = Callable[..., "subprocess.Popen[bytes]"]


def plain_popen(argv: list[str], env: Mapping[str, str], **kwargs: Any) -> subprocess.Popen[bytes]:
    """A process with our environment and these variables; runs give one that dies with its worker instead."""
    return subprocess.Popen(argv, env={**os.environ, "PGAPPNAME": "dbadmin", **env}, **kwargs)


def roomy(argv: Sequence[str]) -> list[str]:
    """The same program writing larger pieces, where the system can: PostgreSQL's fill a pipe with 4 KiB at a time."""
    program = shutil.which("stdbuf")
    return [program, f"--output={WRITTEN}", *argv] if program else list(argv)


def lines(pipe: IO[bytes]) -> Iterator[str]:
    """What a process says, line by line, and an empty one each second in which it says nothing."""
    begun = b""
    while True:
        if not select.select([pipe], [], [], 1)[0]:
            yield ""
            continue
        said = os.read(pipe.fileno(), BLOCK)
        *whole, begun = (begun + said).split(b"\n")
        for line in [*whole, *([begun] if begun and not said else [])]:
            yield line.decode("utf-8", "replace").rstrip()
        if not said:
            return


class ProducerFailed(Told):
    """The process died or said no; the sentence carries its own words."""


class Producer:
    """Iterating gives blocks; where a plain pipe would just end, a dead process raises instead."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        popen: Popen = plain_popen,
        tick: Callable[[], None] = lambda: None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self.argv = list(argv)
        self.name = Path(argv[0]).name
        self._tick = tick
        self._stall_seconds = stall_seconds
        self._lines: deque[str] = deque(maxlen=200)
        self.process = popen(
            roomy(self.argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._out, self._err = given(self.process.stdout), given(self.process.stderr)
        _widen(self._out.fileno())
        self._listener = threading.Thread(target=self._listen, name=f"{self.name}-stderr", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self._err:
            self._lines.append(line.decode("utf-8", "replace").rstrip())

    @property
    def said(self) -> list[str]:
        return list(self._lines)

    def __iter__(self) -> Iterator[bytes]:
        pipe = self._out.fileno()
        heard = time.monotonic()
        while True:
            if not select.select([pipe], [], [], 1)[0]:
                self._tick()
                if time.monotonic() - heard > self._stall_seconds:
                    raise ProducerFailed(
                        f"{self.name} has sent nothing for {self._stall_seconds:.0f} seconds."
                    )
                continue
            block = os.read(pipe, BLOCK)
            if not block:
                break
            yield block
            heard = time.monotonic()
        self._must_have_ended_well()

    def _must_have_ended_well(self) -> None:
        code = self.process.wait()
        self._listener.join(5)
        if code < 0:
            raise ProducerFailed(f"{self.name} was killed by signal {-code}. {self._reason()}".strip())
        if code:
            raise ProducerFailed(f"{self.name} failed: {self._reason() or f'exit status {code}'}")

    def _reason(self) -> str:
        """The first error that the process named, without its own name in front."""
        errors = [line for line in self._lines if "error:" in line] or list(self._lines)[-1:]
        text = errors[0].partition("error: ")[2] or errors[0] if errors else ""
        said = next((found[1] for line in self._lines if (found := _SAID.search(line))), "")
        if said:  # what failed is told by a function of the driver, why by the next line
            text = _FUNCTION.sub(lambda _: said, text)
        return f"{text.rstrip('.')}.{self._awaited(text)}" if text else ""

    def _awaited(self, text: str) -> str:
        """Which lock it was, where the process gave up waiting for one."""
        named = next(
            (line.partition("Query was: ")[2] for line in self._lines if "Query was: LOCK TABLE" in line), ""
        )
        if "timeout" not in text or not named:
            return ""
        return f" It waited too long for a lock that another session holds: {named[:LONGEST_QUERY]}."

    def stop(self) -> None:
        """End the process if it still runs, and wait until it is gone."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._out.close()


def given(pipe: IO[bytes] | None) -> IO[bytes]:
    """A pipe that was asked for is there; the types of the library do not know it."""
    if pipe is None:
        raise ProducerFailed("The process was started without a pipe.")
    return pipe


def _widen(pipe: int) -> None:
    """A larger pipe lets producer and reader run apart; where the system refuses, the usual one will do."""
    try:
        import fcntl

        fcntl.fcntl(pipe, getattr(fcntl, "F_SETPIPE_SZ", 1031), PIPE)
    except OSError:
        return
