"""Rows and tables of the control database held, so that a worker stands still at a known place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection as control


def session() -> psycopg.Connection[Any]:
    """With the control database of the test; a superuser's."""
    return psycopg.connect(**control.get_connection_params())


@contextmanager
def held(statement: str, *values: Any) -> Iterator[None]:
    """Whatever this locks stays locked meanwhile."""
    with session() as other:
        other.execute(statement, values)
        yield


def waiting(*likes: str) -> Callable[[], Any]:
    """The process of a session that waits for a lock with one of such queries; None: nobody does."""
    found = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like any(%s)"

    def look() -> Any:
        with session() as other:
            row = other.execute(found, [list(likes)]).fetchone()
            return row and row[0]

    return look
