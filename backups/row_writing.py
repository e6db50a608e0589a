"""What a copy of rows and its undo have in common: a transaction that does all or nothing, and how it writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql

from backups.row_places import steady
from dbadmin.failures import Told

#: What to do when the server refuses a row, by the kind of its error.
Advice = Mapping[type[psycopg.Error], str]
HELD = "Another row of the live table has that by now: copy that one back as well, or give it another value first."
#: The rows that are written, by key.
KEYS = sql.Identifier("pg_temp", "dbadmin_keys")
#: In the table of what was kept: is a row as it was before the copy, or as the copy left it?
MOMENT = sql.Identifier("dbadmin moment")
MOST_NAMED = 5


class NotWritten(Told):
    """Nothing was changed; a sentence says why."""


@contextmanager
def all_or_none(connection: psycopg.Connection[Any], failed: str, advice: Advice) -> Iterator[None]:
    """One transaction that waits for nobody for long; raises NotWritten where the server refuses a row.

    failed: what is told before the server's own words.
    """
    steady(connection)
    connection.execute("set lock_timeout = '2s'")
    try:
        with connection.transaction():
            yield
    except (
        errors.IntegrityError,
        errors.DataError,
        errors.RaiseException,
        errors.FeatureNotSupported,
    ) as error:
        helps = next((each for kind, each in advice.items() if isinstance(error, kind)), "")
        said = (f"{failed}: {error.diag.message_primary}.", error.diag.message_detail, helps)
        raise NotWritten(" ".join(filter(None, said))) from error


def write(
    connection: psycopg.Connection[Any], first: sql.Composed | None, second: sql.Composed | None
) -> tuple[int, int]:
    """How many rows each wrote. Where there are both, they are one statement: constraints that look at its end see
    the rows of both, and a value that the first frees is free for the second.

    second: ends with its condition.
    """
    if first is None or second is None:
        done = [connection.execute(each).rowcount if each is not None else 0 for each in (first, second)]
        return done[0], done[1]
    # The second counts the rows of the first, so it waits for the last of them.
    together = sql.SQL(
        "WITH first AS ({} RETURNING 1), second AS ({} AND (SELECT count(*) FROM first) >= 0 RETURNING 1)"
        " SELECT (SELECT count(*) FROM first), (SELECT count(*) FROM second)"
    ).format(first, second)
    ((one, two),) = connection.execute(together).fetchall()
    return one, two
