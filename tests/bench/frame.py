"""What a measurement gives back, and what it is given: one figure, and servers to measure on."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
from django.db import connection

from dbadmin.models import Run, Server
from tests.fixtures.servers import Postgres, server_row, start_postgres
from tests.running import control, scratch


@dataclass(frozen=True)
class Figure:
    """A measured number and the bar that it must not cross."""

    name: str
    value: float
    bar: float
    better: Literal["lower", "higher"] = "lower"

    @property
    def is_short(self) -> bool:
        """Whether it misses its bar."""
        return self.value > self.bar if self.better == "lower" else self.value < self.bar

    def line(self, area: str) -> str:
        """area.name  value  bar  ok, or short."""
        verdict = "short" if self.is_short else "ok"
        return f"{area + '.' + self.name:<50}  {self.value:>10.4g}  {self.bar:>8.4g}  {verdict}"


class Bench:
    """Servers to measure on; each is started when first asked for and ends with the process."""

    @functools.cached_property
    def postgres(self) -> Postgres:
        """A server to look after."""
        return start_postgres("bench", shared_buffers="256MB")

    @functools.cached_property
    def server(self) -> Server:
        """The kept row of that server, in its database postgres."""
        return server_row("bench", self.postgres)

    def sample(self, scale: float = 0.2) -> Server:
        """The learning platform, loaded at this scale, as a kept server."""
        from dbadmin.sample.load import load

        name = f"academy-{str(scale).replace('.', '-')}"
        known = Server.objects.filter(name=name).first()
        if known:
            return known
        with self.postgres.connect() as connection:
            connection.execute(f'create database "{name}"')
        load(self.postgres.dsn_for(name), scale, lambda _: None)
        return server_row(name, self.postgres, name)

    @property
    def redis_url(self) -> str:
        """The address of Redis."""
        return control()["redis_url"]

    @functools.cached_property
    def s3(self) -> dict[str, str]:
        """An S3 server: endpoint, key, secret, bucket."""
        return scratch().s3(str(Path(sys.executable).with_name("rclone")))


def processor_seconds(action: Callable[[], object], backend_pid: int, times: int = 20) -> float:
    """What an action takes of the processor, here and in its PostgreSQL session: the least of a few times.

    With everything on one machine and in memory that is its latency when nothing else runs; and unlike
    the clock it is the same beside other work.
    """
    other = Path(f"/proc/{backend_pid}/schedstat")
    action()
    taken = []
    for _ in range(times):
        here, there = time.process_time(), int(other.read_text().split()[0])
        action()
        taken.append(time.process_time() - here + (int(other.read_text().split()[0]) - there) / 1e9)
    return min(taken)


def ask_anew(statements: Iterable[str]) -> None:
    """Have our database answer statements as it does to who asks each once: it plans them every time.

    The floor under a page stays the same when the page gets better by keeping plans.
    """
    connection.ensure_connection()
    with psycopg.ClientCursor(connection.connection) as cursor:
        for statement in statements:
            cursor.execute(statement.encode())
            if cursor.description:
                cursor.fetchall()


def in_a_process(run: Run) -> tuple[Run, float]:
    """As a worker's child does it, alone: the run, which must have succeeded, and the peak of its memory."""
    code = (
        "import pathlib, sys, django; django.setup()\n"
        "from dbadmin.runner import execute\n"
        "execute(int(sys.argv[1]))\n"
        # Not ru_maxrss: a process begins with that of the one that started it.
        "print(int(pathlib.Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) / 1024)"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "dbadmin.settings"}
    argv = [sys.executable, "-c", code, str(run.pk)]
    done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    run.refresh_from_db()
    assert run.status == Run.Status.SUCCEEDED, run.message
    return run, float(done.stdout.split()[-1])
