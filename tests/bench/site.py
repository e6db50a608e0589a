"""The web server as it is installed, two workers of eight threads, and what it takes of the processor."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.db import connection

from dbadmin.models import Grant
from dbadmin.sessions import SessionStore
from tests.fixtures.servers import Postgres

#: As in docs/install.md.
GUNICORN = [
    "-k", "gthread", "--threads", "8", "--workers", "2", "--keep-alive", "30", "--no-control-socket", "--preload",
]  # fmt: skip
TICK = os.sysconf("SC_CLK_TCK")


def parent_of(pid: int) -> int:
    """The process that started this one."""
    return int(fields_of(pid)[1])


def fields_of(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tasks_of(pid: int) -> list[str]:
    """The threads of a process."""
    return [task.name for task in Path(f"/proc/{pid}/task").iterdir()]


def seconds_of(pid: int) -> float:
    """Processor seconds of a process, its threads and its children, those that ended included."""
    try:
        told = fields_of(pid)
        children = [Path(f"/proc/{pid}/task/{task}/children") for task in tasks_of(pid)]
        own = sum(map(int, told[11:15])) / TICK
        return own + sum(seconds_of(int(child)) for path in children for child in path.read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


@dataclass
class Site:
    """A running web server, and the trees of processes that answer a page: it, our database, the target."""

    port: int
    roots: Sequence[int]

    def used(self) -> float:
        """Processor seconds of all of them so far."""
        return sum(map(seconds_of, self.roots))

    def client(self) -> http.client.HTTPConnection:
        """A browser's connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)


@contextmanager
def running(target: Postgres) -> Iterator[Site]:
    """Start it, wait until it answers, end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "gunicorn", "dbadmin.wsgi", "-b", f"127.0.0.1:{port}", *GUNICORN]
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dbadmin.settings",
        "DBADMIN_POOL": "1",
        "LOG_LEVEL": "ERROR",
    }
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        connection.ensure_connection()
        with target.connect() as own:
            roots = [
                process.pid,
                parent_of(connection.connection.info.backend_pid),
                parent_of(own.info.backend_pid),
            ]
        site = Site(port, roots)
        wait_for(site, process)
        yield site
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_for(site: Site, process: subprocess.Popen[bytes]) -> None:
    """Until it answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            asked = site.client()
            asked.request("GET", "/healthz")
            if asked.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("The web server did not start.")


def cookies(count: int, role: str = "operator", name: str = "") -> list[str]:
    """The cookies of so many people, each signed in with a session of their own."""
    User = get_user_model()  # noqa: N806 - a class
    users = User.objects.bulk_create(
        [User(username=f"{name or role} {n}", password="!") for n in range(count)]
    )
    Grant.objects.bulk_create([Grant(user=user, role=role) for user in users])
    found = []
    for user in users:
        session = SessionStore()
        session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session.create()
        found.append(f"{settings.SESSION_COOKIE_NAME}={session.session_key}")
    return found
