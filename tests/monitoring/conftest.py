"""What the tests of readings share."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from dbadmin.connections import Session, limit
from dbadmin.probes import PROBES, Reading


@pytest.fixture
def read(target: Session) -> Callable[..., Reading]:
    """Ask a probe as the superuser, under the limits of a reading: read("tables")."""
    limit(target.connection)

    def ask(name: str, **params: object) -> Reading:
        return PROBES[name].read(target, **params)

    return ask


@pytest.fixture
def make(postgres, database: str) -> Callable[[str], None]:
    """Change the scratch database: make("create table ...")."""

    def run(statements: str) -> None:
        with postgres.connect(database) as connection:
            connection.execute(statements)

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
