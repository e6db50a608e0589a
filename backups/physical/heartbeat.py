"""One row that is written every few seconds, so that a recovery can be proven by what it finds there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dbadmin.connections import Session

SCHEMA = "dbadmin_heartbeat"
STATEMENTS = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    (
        f"CREATE TABLE IF NOT EXISTS {SCHEMA}.beat (id smallint PRIMARY KEY CHECK (id = 1),"
        " number bigint NOT NULL, at timestamptz NOT NULL) WITH (fillfactor = 20)"
    ),
)
_BEAT = f"""
    insert into {SCHEMA}.beat as known (id, number, at) values (1, 1, clock_timestamp())
    on conflict (id) do update set number = known.number + 1, at = clock_timestamp()
    returning number, at"""  # noqa: S608 - our own constant
READ = f"select number, at from {SCHEMA}.beat"  # noqa: S608 - our own constant


@dataclass(frozen=True)
class Beat:
    """What the row says: its number, and the source's clock when it was written."""

    number: int
    at: datetime


def write(session: Session) -> Beat:
    """The next beat; the session is read only unless told otherwise."""
    connection = session.connection
    connection.execute("begin read write")
    try:
        row = next(iter(connection.execute(_BEAT.encode())))
        connection.execute("commit")
    except BaseException:
        if not connection.closed:
            connection.execute("rollback")
        raise
    return Beat(*row)
