"""What the tests of readings share."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from dbadmin.connections import Session, limit
from dbadmin.probes import PROBES, Reading
from tests.fixtures.runtime import until


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
        told = "select pg_stat_get_tuples_inserted(%s::regclass)"
        until(lambda: (target.value(told, [table]) or 0) >= rows)

    return wait


@pytest.fixture
def analyzed(target: Session, make: Callable[[str], None]) -> Callable[[str, str], None]:
    """Runs a vacuum with analyze and waits until the statistics show it: analyzed("vacuum analyze t", "t")."""

    def run(statement: str, table: str) -> None:
        make(statement)
        told = "select pg_stat_get_mod_since_analyze(%s::regclass)"
        until(lambda: target.value(told, [table]) == 0)

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
