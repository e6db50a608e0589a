"""Databases whose tables are watched, for measurements of the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from audit.operations.watch_table import WatchTable
from dbadmin.models import Server
from tests.bench.frame import Bench
from tests.fixtures.servers import server_row


def cpu(connection: psycopg.Connection[Any]) -> float:
    """Seconds of processor that the session's backend has used."""
    return int(Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9


def fresh(bench: Bench, name: str) -> tuple[psycopg.Connection[Any], Server]:
    """A new database and its server row."""
    with bench.postgres.connect() as connection:
        connection.execute(f"drop database if exists {name} with (force)")
        connection.execute(f"create database {name}")
    Server.objects.filter(name=name.replace("_", "-")).delete()
    server = server_row(name.replace("_", "-"), bench.postgres, name)
    connection = bench.postgres.connect(name)
    connection.execute("set max_parallel_workers_per_gather = 0")
    return connection, server


def watch(
    connection: psycopg.Connection[Any], server: Server, tables: tuple[str, ...], level: str = "statement"
) -> None:
    """Watch tables as the operation does."""
    for table in tables:
        for step in WatchTable(server, {"schema": "public", "table": table, "level": level}).plan():
            with connection.transaction():
                for each in step.statements:  # type: ignore[attr-defined]
                    connection.execute(each.statement, each.params)
