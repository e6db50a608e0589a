"""What the tests of readings share."""

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from dbadmin.connections import Session, limit
from dbadmin.probes import PROBES, Reading


@pytest.fixture
def read(postgres, database: str) -> Iterator[Callable[..., Reading]]:
    """Ask a probe as the superuser, under the limits of a reading: read("tables")."""
    with postgres.connect(database) as connection:
        limit(connection)

        def ask(name: str, **params: object) -> Reading:
            return PROBES[name].read(Session(connection), **params)

        yield ask


@pytest.fixture
def make(postgres, database: str) -> Callable[[str], None]:
    """Change the scratch database: make("create table ...")."""

    def run(statements: str) -> None:
        with postgres.connect(database) as connection:
            connection.execute(statements)

    return run


@pytest.fixture
def counted(target: Session) -> Callable[[str, int], None]:
    """Waits until the statistics know of so many inserted rows: they arrive after the session ended."""

    def wait(table: str, rows: int) -> None:
        for _ in range(100):
            if (target.value("select pg_stat_get_tuples_inserted(%s::regclass)", [table]) or 0) >= rows:
                return
            time.sleep(0.05)
        raise AssertionError(f"The statistics do not know of {rows} rows in {table}.")

    return wait


@pytest.fixture
def analyzed(target: Session, make: Callable[[str], None]) -> Callable[[str, str], None]:
    """Runs a vacuum with analyze and waits until the statistics show it: analyzed("vacuum analyze t", "t")."""

    def run(statement: str, table: str) -> None:
        make(statement)
        for _ in range(100):
            if target.value("select pg_stat_get_mod_since_analyze(%s::regclass)", [table]) == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"The statistics do not show that {table} was analyzed.")

    return run


@pytest.fixture
def connection(postgres, database: str) -> Iterator[Callable[[], psycopg.Connection]]:
    """Opens sessions on the scratch database, with transactions: connection()."""
    opened: list[psycopg.Connection] = []

    def open_one() -> psycopg.Connection:
        opened.append(psycopg.connect(postgres.dsn_for(database), application_name="someone"))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
