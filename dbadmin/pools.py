"""Connection pools of the servers: who waits for a connection is told at once why there will be none."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from dbadmin import patience
from dbadmin.deadlines import deadline

if TYPE_CHECKING:
    from dbadmin.models import Server

Role = Literal["monitor", "operate", "pgbouncer"]

#: The forms of moments and spans that the driver can read, whatever a database has for its users.
LEGIBLE = {"DateStyle": "ISO", "IntervalStyle": "postgres"}
#: Where our own questions find what they do not name with its schema. Whoever may create in another schema could offer
#: a function or operator that fits a question better than the server's own, and have it run with our rights.
OWN_PATH = "pg_catalog, pg_temp"
#: Session settings of every read: nothing of ours waits long, holds long or writes.
LIMITS = {
    "statement_timeout": "2s",
    "lock_timeout": "200ms",
    "idle_in_transaction_session_timeout": "10s",
    "default_transaction_read_only": "on",
    "jit": "off",
    # The server's parallel workers are for its own work, and our few thousand rows shall not touch its disk.
    "max_parallel_workers_per_gather": "0",
    "work_mem": "16MB",
    "search_path": OWN_PATH,
    **LEGIBLE,
}
#: How long a connection that answered is believed to be well, seconds.
WELL = 0.5
#: How long a server is waited for, seconds.
WAIT = 3.0


def limit(connection: psycopg.Connection[Any]) -> None:
    """Put the limits of a read on a new connection; PgBouncer's console knows none of them."""
    if connection.info.dbname == "pgbouncer":
        return
    connection.execute(
        "select " + ", ".join("pg_catalog.set_config(%s, %s, false)" for _ in LIMITS),
        [text for pair in LIMITS.items() for text in pair],
    )


def choose_path(connection: psycopg.Connection[Any]) -> None:
    """Let names without a schema be the server's own; by a statement, since PgBouncer refuses it as an option."""
    connection.execute("select pg_catalog.set_config('search_path', %s, false)", [OWN_PATH])


def answers(connection: psycopg.Connection[Any]) -> None:
    """A pooled connection is used again only when its server answers at once; a hung one is given up.

    One that was found well a moment ago is believed, unless the server said something meanwhile: a page asks several
    questions one after the other.
    """
    if isinstance(connection, Told) and time.monotonic() < connection.well_until and is_quiet(connection):
        return
    with deadline(connection, patience.left(1.0)):
        if connection.info.dbname == "pgbouncer":  # its console answers no empty question
            connection.execute("SHOW VERSION")
        else:
            ConnectionPool.check_connection(connection)
    if isinstance(connection, Told):
        connection.well_until = time.monotonic() + WELL


def is_quiet(connection: psycopg.Connection[Any]) -> bool:
    """Has the server said nothing since its last answer? What it says unasked is mostly that it ended the session."""
    heard = select.poll()
    heard.register(connection.fileno(), select.POLLIN)
    return not heard.poll(0)


class NoConnection(psycopg.OperationalError):
    """A server took no connection; the text is what the driver said."""


class NoAnswer(NoConnection, PoolTimeout):
    """A server did not say anything in time."""


class Told(psycopg.Connection[Any]):
    """A connection whose pool learns why it could not be opened."""

    well_until = 0.0

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Told:
        """As ever; the reason is the pool's."""
        tell: Callable[[Exception], None] = kwargs.pop("tell")
        try:
            return super().connect(conninfo, **kwargs)
        except psycopg.Error as error:
            tell(error)
            raise


#: How every session with a server is opened. Text of a database in SQL_ASCII would come as bytes without an encoding.
TERMS: dict[str, Any] = {
    "autocommit": True,
    "client_encoding": "utf8",
    "connect_timeout": 3,
    "prepare_threshold": None,
}


class ServerPool(ConnectionPool[Told]):
    """At most three connections, none kept when idle for long."""

    def __init__(self, dsn: str) -> None:
        super().__init__(
            dsn,
            connection_class=Told,
            min_size=0,
            max_size=3,
            open=False,
            timeout=WAIT,
            max_idle=60,
            max_lifetime=1800,
            max_waiting=100,
            reconnect_timeout=0,  # who wants a connection asks again; nobody else knocks
            num_workers=1,
            configure=limit,
            check=self.answers,
            kwargs={
                **TERMS,
                "tell": self.refused,
                "application_name": "dbadmin",
                "fallback_application_name": "dbadmin",
            },
        )

    def getconn(self, timeout: float | None = None) -> Told:
        """Wait as long as the caller has patience, or until it is known that there will be no connection."""
        wanted = WAIT if timeout is None else timeout
        with patience.spending():
            try:
                return super().getconn(patience.left(wanted))
            except PoolTimeout:
                raise NoAnswer(f"no answer within {patience.whole(wanted):g} s") from None

    def answers(self, connection: psycopg.Connection[Any]) -> None:
        """Raise when a connection is dead. Then the idle ones go too: what ended it, mostly a restart, ended them all,
        and the pool would wait a second and more before it tries each further one."""
        try:
            answers(connection)
        except psycopg.Error:
            with self._lock:
                idle = list(self._pool)
                self._pool.clear()
                self._nconns -= len(idle)
            for other in idle:
                other.close()
            raise

    def refused(self, error: Exception) -> None:
        """Tell all who wait why they wait in vain; the pool itself would let them wait until their time is over."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for client in waiting:
            client.fail(NoConnection(str(error)))


class Pools:
    """Pools by (server, role, database), made when first asked for, forgotten after a fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[tuple[str, str, str], tuple[str, ServerPool]] = {}

    def forget(self) -> None:
        """After a fork: the parent's sockets are not ours to close."""
        self.__init__()  # type: ignore[misc]

    def get(self, server: Server, role: Role, database: str | None) -> ServerPool:
        """The pool for this server, role and database; a new one when its DSN changed."""
        dsn, key = server.dsn(role, database), (str(server.key), role, database or "")
        with self.lock:
            known, pool = self.pools.get(key, ("", None))
            if pool is not None and known == dsn:
                return pool
            new = ServerPool(dsn)
            self.pools[key] = (dsn, new)
        if pool is not None:
            pool.close(timeout=0)
        new.open(wait=False)
        return new

    def close(self, server_key: str) -> None:
        """Nothing of this process stays connected to a server that is no longer looked after."""
        with self.lock:
            keys = [key for key in self.pools if key[0] == server_key]
            pools = [self.pools.pop(key)[1] for key in keys]
        for pool in pools:
            pool.close(timeout=0)


POOLS = Pools()
os.register_at_fork(after_in_child=POOLS.forget)
