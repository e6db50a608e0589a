"""Which sampler reads which server: session locks on the control database, shared out evenly."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from django.db import connection as control

logger = logging.getLogger(__name__)

#: The space of our locks among all advisory locks of the control database.
SERVERS, PRESENCE = 0x64626131, 0x64626132


def open_control() -> psycopg.Connection[Any]:
    """A connection of our own to the control database; its locks end with it."""
    parts = control.get_connection_params()
    wanted = {"dbname", "user", "password", "host", "port"}
    return psycopg.connect(
        **{name: value for name, value in parts.items() if name in wanted and value},
        autocommit=True,
        connect_timeout=3,
        application_name="dbadmin sampler",
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=20000,
    )


class Leases:
    """The servers that this process may read.

    When the connection is lost, so are the locks. While the control database is away nobody else can take them:
    we go on reading, ask for them again when it is back, and give back only what another took meanwhile.
    """

    def __init__(self) -> None:
        self.connection: psycopg.Connection[Any] | None = None
        self.held: set[int] = set()

    def renew(self, wanted: Iterable[int], give_back: Callable[[int], None]) -> set[int]:
        """Hold a fair share of the wanted servers; give_back stops the reading of one before it is released.

        Raises psycopg.Error when the control database is away; what was held is asked for again the next time.
        """
        try:
            return self.balance(set(wanted), give_back)
        except psycopg.Error:
            self.close()
            raise

    def balance(self, wanted: set[int], give_back: Callable[[int], None]) -> set[int]:
        """Release what is too much, take what is free."""
        connection = self.open(give_back)
        share = math.ceil(len(wanted) / self.samplers(connection))
        for server_id in sorted(self.held - wanted):
            self.release(connection, server_id, give_back)
        for server_id in sorted(self.held, reverse=True)[: max(0, len(self.held) - share)]:
            self.release(connection, server_id, give_back)
        for server_id in sorted(wanted - self.held):
            if len(self.held) >= share:
                break
            if self.take(connection, server_id):
                self.held.add(server_id)
        return set(self.held)

    def open(self, give_back: Callable[[int], None]) -> psycopg.Connection[Any]:
        """The connection, opened when there is none; it announces us to the other samplers."""
        if self.connection is None or self.connection.closed:
            connection = open_control()
            self.one(connection, "select pg_catalog.pg_advisory_lock_shared(%s, %s)", PRESENCE, 0)
            for server_id in sorted(self.held):
                if not self.take(connection, server_id):
                    self.held.discard(server_id)
                    give_back(server_id)
            self.connection = connection
        return self.connection

    def take(self, connection: psycopg.Connection[Any], server_id: int) -> bool:
        """Take the lease of a server if nobody has it."""
        return bool(
            self.one(connection, "select pg_catalog.pg_try_advisory_lock(%s, %s)", SERVERS, server_id)
        )

    @staticmethod
    def one(connection: psycopg.Connection[Any], query: str, *params: int) -> Any:
        """The single value of a statement."""
        row = connection.execute(query.encode(), params).fetchone()
        return row[0] if row else None

    def samplers(self, connection: psycopg.Connection[Any]) -> int:
        """How many samplers are there, ourselves included."""
        query = (
            "select count(*) from pg_catalog.pg_locks where locktype = 'advisory' and classid::int8 = %s"
            " and objsubid = 2 and granted and database = (select oid from pg_catalog.pg_database"
            " where datname = current_database())"
        )
        return max(1, int(self.one(connection, query, PRESENCE)))

    def release(
        self, connection: psycopg.Connection[Any], server_id: int, give_back: Callable[[int], None]
    ) -> None:
        """Stop reading a server, then let others have it."""
        give_back(server_id)
        self.held.discard(server_id)
        self.one(connection, "select pg_catalog.pg_advisory_unlock(%s, %s)", SERVERS, server_id)

    def drop(self, give_back: Callable[[int], None]) -> None:
        """Give all back."""
        for server_id in sorted(self.held):
            give_back(server_id)
        self.held.clear()
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
