"""Child processes that never outlive us: the kernel ends them when we die, we end them when we stop."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

#: Seconds between asking a process to end and ending it.
GRACE = 5.0
#: Ours alone; no program that we start needs to know them.
PRIVATE = (
    "SECRET_KEY",
    "DBADMIN_KEYS",
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "REDIS_URL",
    "OIDC_CLIENT_SECRET",
)

#: We read what programs say: they say it in one language, whatever the worker speaks.
LANGUAGE = {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}

PR_SET_PDEATHSIG = 1
# Loaded now: between fork and exec nothing may be imported.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that made it ends."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def guard_group() -> subprocess.Popen[bytes]:
    """Start a guardian that kills our process group when we are gone, however we went.

    The kernel ends our children with us, but not theirs: a parallel pg_dump has some. The guardian waits
    for the end of a pipe whose other end we alone hold; keep what is returned.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read _; kill -KILL -"$1"', "dbadmin-guardian", str(os.getpgrp())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without our own secrets and in one language, with what the program needs."""
    ours = {key: value for key, value in os.environ.items() if key not in PRIVATE}
    return ours | LANGUAGE | dict(extra or {})


def start(argv: list[str], env: Mapping[str, str] | None = None, **kwargs: Any) -> subprocess.Popen[bytes]:
    """Start a program that dies with the thread that starts it, and is told none of our secrets.

    env: what it needs beyond our own environment.
    """
    return subprocess.Popen(
        argv,
        env=clean_environment(env),
        preexec_fn=die_with_parent,  # noqa: PLW1509
        **kwargs,
    )


def end(processes: Iterable[subprocess.Popen[bytes]], grace: float = GRACE) -> None:
    """Ask all to end, wait for them together, kill those that stay."""
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + grace
    while alive and time.monotonic() < deadline:
        alive = [process for process in alive if process.poll() is None]
        time.sleep(0.05)
    for process in alive:
        process.kill()
        process.wait()


def kill_group(group: int) -> None:
    """Kill what is left of a process group; nothing left is fine."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
