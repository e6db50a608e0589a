"""A scratch database with a watched table, and the log read back."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from audit import changes, inside, search
from audit.operations.watch_table import WatchTable
from audit.registry import Installed, installed
from dbadmin.connections import Session
from dbadmin.steps import Step


@dataclass
class Watcher:
    """Watches tables as the worker would, and reads what was recorded."""

    server: Any
    session: Session

    def run(self, steps: list[Step] | Any) -> None:
        """Do a plan's steps on this session's connection."""
        for step in steps:
            statements = getattr(step, "statements", [step])
            with self.session.connection.transaction():
                for each in statements:
                    self.session.connection.execute(each.statement, each.params)

    def params(self, table: str, **params: Any) -> dict[str, Any]:
        schema, _, name = table.rpartition(".")
        return {"schema": schema or "public", "table": name, **params}

    def watch(self, table: str, **params: Any) -> None:
        self.run(WatchTable(self.server, self.params(table, **params)).plan())

    def watch_named(self, schema: str, table: str) -> None:
        """A table whose name may hold dots."""
        self.run(WatchTable(self.server, {"schema": schema, "table": table}).plan())

    @property
    def state(self) -> Installed:
        return installed(self.session.rows)

    def statements(self, **wanted: Any) -> list[Any]:
        """Oldest first."""
        page = inside.find(self.session.rows, self.state, search.Filter(**wanted), limit=1_000_000)
        return page.statements[::-1]

    def changes(self, **wanted: Any) -> list[search.Change]:
        """All rows of all statements, oldest first."""
        state = self.state
        return [
            change
            for statement in self.statements(**wanted)
            for change in changes.statement_changes(self.session.rows, state, statement, 1, 1_000_000)
        ]

    def told(self, **wanted: Any) -> list[tuple[str, Any, Any]]:
        """(kind, before, after) of all rows."""
        return [(change.kind, change.old, change.new) for change in self.changes(**wanted)]


@pytest.fixture
def audit(server: Any, target: Session) -> Watcher:
    return Watcher(server, target)


@pytest.fixture
def execute(target: Session) -> Callable[..., psycopg.Cursor]:
    return target.connection.execute


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def letters(audit: Watcher, **wanted: Any) -> str:
    """Operations in order, with their rows: "I2 U1"."""
    parts = []
    for statement in audit.statements(**wanted):
        rows = statement.images or 0
        rows = (rows + 1) // 2 if statement.operation == "U" else rows
        parts.append(f"{statement.operation}{rows}")
    return " ".join(parts)


@pytest.fixture
def items(audit: Watcher, execute: Any) -> Watcher:
    """A watched table of two columns."""
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    return audit


@contextmanager
def inserted_by_others(postgres: Any, target: Session) -> Iterator[list[int]]:
    """Three sessions insert into items, row by row, as long as it lasts; then the list holds how many each did."""
    stop, counts = threading.Event(), list[int]()

    def work(start: int) -> None:
        with postgres.connect(target.database) as connection:
            number = start
            while not stop.is_set():
                connection.execute("insert into items values (%s, 'x')", [number])
                number += 1
            counts.append(number - start)

    threads = [threading.Thread(target=work, args=[n * 1_000_000]) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()
