"""Connections to the servers we look after: few, short, read only unless an operation asks, never kept over a fork."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, LiteralString, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import Composable

from dbadmin.deadlines import deadline
from dbadmin.pools import POOLS as POOLS
from dbadmin.pools import TERMS
from dbadmin.pools import Role as Role
from dbadmin.pools import choose_path as choose_path
from dbadmin.pools import limit as limit

if TYPE_CHECKING:
    from dbadmin.models import Server

Purpose = Literal["monitor_dsn", "operate_dsn", "pgbouncer_dsn", "redis_url"]

#: What the one connection is called that the sampler keeps to each server.
READER = "dbadmin reader"
#: The least PostgreSQL that we read; older ones are refused when a server is added.
LEAST_VERSION = 130000


@lru_cache(512)
def row_class(names: tuple[str, ...]) -> type[Any]:
    """A named tuple for rows of these columns; odd or repeated names become _0, _1 …"""
    return namedtuple("Row", names, rename=True)


def named_rows(cursor: psycopg.Cursor[Any]) -> list[Any]:
    """All rows of a cursor as named tuples; none when the statement gives none."""
    if cursor.description is None:
        return []
    make = row_class(tuple(column.name for column in cursor.description))._make
    return [make(row) for row in cursor.fetchall()]


@dataclass
class Session:
    """One open connection to a server, with what a reader must know of it."""

    connection: psycopg.Connection[Any]
    server: Server | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """150018 for 15.18; 0 for PgBouncer."""
        return 0 if self.is_pgbouncer else self.connection.info.server_version

    @property
    def major(self) -> int:
        """15 for 15.18."""
        return self.version // 10000

    @property
    def is_pgbouncer(self) -> bool:
        """Its console speaks the protocol, but no SQL."""
        return self.connection.info.dbname == "pgbouncer"

    @property
    def database(self) -> str:
        """The database of the connection."""
        return self.connection.info.dbname

    @property
    def in_recovery(self) -> bool:
        """Is it a standby? Asked anew: a standby may be promoted under us."""
        return bool(self.value("select pg_catalog.pg_is_in_recovery()"))

    def rows(
        self, query: str | Composable, params: Sequence[Any] | dict[str, Any] | None = None
    ) -> list[Any]:
        """All rows as named tuples."""
        return named_rows(self.connection.execute(cast(LiteralString, query), params))

    def row(self, query: str | Composable, params: Sequence[Any] | dict[str, Any] | None = None) -> Any:
        """The first row, or None."""
        return next(iter(self.rows(query, params)), None)

    def value(self, query: str | Composable, params: Sequence[Any] | dict[str, Any] | None = None) -> Any:
        """The first column of the first row, or None."""
        row = self.row(query, params)
        return row[0] if row is not None else None


def with_database(dsn: str, database: str | None) -> str:
    """The same DSN for another database."""
    return make_conninfo(dsn, dbname=database) if database else dsn


def safe_dsn(dsn: str) -> str:
    """What may be shown of a DSN, by an allow-list: user, host, port, database, TLS mode."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "(not a valid DSN)"
    user = f"{parts['user']}@" if parts.get("user") else ""
    where = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
    mode = f"?sslmode={parts['sslmode']}" if parts.get("sslmode") else ""
    return f"postgresql://{user}{where}{mode}"


def without_secrets(text: str, dsn: str) -> str:
    """An error text with the DSN's password taken out, wherever a library put it."""
    try:
        password = conninfo_to_dict(dsn).get("password")
    except psycopg.ProgrammingError:
        return "The DSN cannot be read."
    if not password:
        return text
    # A short one is also a part of common words: "connection is ***ad" tells it, and nothing else.
    exact = re.escape(str(password))
    return re.sub(exact if len(str(password)) > 5 else rf"(?<!\w){exact}(?!\w)", "***", text)


@contextmanager
def session(
    server: Server, role: Role = "monitor", database: str | None = None, seconds: float = 6.0
) -> Iterator[Session]:
    """A pooled, read-only, time-limited session; raises psycopg.Error when the server cannot be reached.

    seconds: how long it may be used in all. The limits of its statements are the server's promise; this one holds
    when the server is stopped in the middle of an answer, too. A request's patience bounds the wait for it.
    """
    with POOLS.get(server, role, database).connection() as connection, deadline(connection, seconds):
        yield Session(connection, server)


def connect(
    server: Server,
    role: Role = "operate",
    database: str | None = None,
    read_only: bool = False,
    application_name: str = "dbadmin",
) -> psycopg.Connection[Any]:
    """A dedicated connection in autocommit mode: for runs, and (read only) for the sampler."""
    connection = open_dsn(server.dsn(role, database), application_name)
    (limit if read_only else choose_path)(connection)
    return connection


def open_dsn(
    dsn: str, application_name: str = "dbadmin", kind: type[psycopg.Connection[Any]] = psycopg.Connection
) -> psycopg.Connection[Any]:
    """Connect within three seconds, in autocommit mode, with keepalives that notice a dead host."""
    try:
        return kind.connect(
            dsn,
            **TERMS,
            application_name=application_name,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=20000,
        )
    except UnicodeError as error:  # what Python says of a host name that no resolver could know
        raise psycopg.OperationalError(
            f"failed to resolve host '{conninfo_to_dict(dsn).get('host', '')}': {error}"
        ) from error


#: What looks the same from here: a server that hangs, and a way that is closed.
SILENT = (
    "The server has not answered within {0} s: it hangs, or its host or port cannot be reached"
    " (firewall, routing, wrong port)."
)
#: What libpq says -> what we say; {0} is the matched part.
CAUSES = (
    (
        r'password authentication failed for user "([^"]*)"',
        "The password of {0} is wrong, or the server has no such role.",
    ),
    (r'role "([^"]*)" does not exist', "There is no role {0} on the server."),
    (r'database "([^"]*)" does not exist', "There is no database {0} on the server."),
    (r"no password supplied", "The server wants a password and the DSN has none."),
    (
        r'could not translate host name "([^"]*)"',
        "The host name {0} is not known to this machine's resolver.",
    ),
    (r"failed to resolve host '([^']*)'", "The host name {0} is not known to this machine's resolver."),
    (r"(?i)no pg_hba\.conf entry for (.*)", "pg_hba.conf of the server lets nobody in for {0}."),
    (r'invalid port number: "([^"]*)"', "{0} is no port: ports are numbers from 1 to 65535."),
    (r"server does not support SSL", "The server speaks no TLS; the DSN asks for it (sslmode)."),
    (r"certificate verify failed", "The server's TLS certificate cannot be verified; check sslrootcert."),
    (
        r'too many connections for (database|role) "([^"]*)"',
        "The {0} {1} takes no more connections (its CONNECTION LIMIT).",
    ),
    (
        r"too many (?:clients|connections)|remaining connection slots",
        "The server has no connection left (max_connections).",
    ),
    (
        r"the database system is (starting up|shutting down|in recovery mode)",
        "The server is {0}; try again soon.",
    ),
    (r"Connection refused", "Nothing listens at this host and port: connection refused."),
    (r"no answer within ([\d.]+) s", SILENT),
    (r"timeout expired|timed out", SILENT.format(3)),
    (r"requests waiting", "Too many readers wait for this server; try again in a moment."),
    (
        r"the connection is closed",
        "It was closed in the middle: the server did not answer in time, or ended the session.",
    ),
    (r"No route to host|Network is unreachable", "There is no route to the host."),
)


def why(error: Exception, dsn: str) -> str:
    """Why a connection failed, as a sentence without secrets."""
    text = str(error).strip()
    for pattern, sentence in CAUSES:
        found = re.search(pattern, text)
        if found:
            return sentence.format(*found.groups())
    text = without_secrets(text, dsn)
    return text.partition("\n")[0] or type(error).__name__
