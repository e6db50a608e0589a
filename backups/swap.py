"""Put one database in another's place: a fence, then both renames in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from dbadmin.failures import Told
from dbadmin.identifiers import fitting

#: How long clients may hold on after they were told to leave.
PATIENCE_SECONDS = 20
#: How long a rename waits for a lock on a database, which somebody in another one may hold: nobody can connect then.
PATIENCE_WITH_LOCKS = "set lock_timeout = '2s'"


#: Whom the role may not end: a superuser's sessions, and without pg_signal_backend everybody else's as well.
STAY = """
    select distinct a.usename as role
    from pg_catalog.pg_stat_activity a join pg_catalog.pg_roles r on r.oid = a.usesysid
    where a.datname = any(%s) and a.pid <> pg_catalog.pg_backend_pid()
      and pg_catalog.current_setting('is_superuser') = 'off'
      and (r.rolsuper or not (pg_catalog.pg_has_role(r.oid, 'usage')
                              or pg_catalog.pg_has_role('pg_signal_backend', 'usage')))
    order by 1"""

_KEY = "pg_catalog.hashtextextended(%s, 0)"
_OID = "select oid from pg_catalog.pg_database where datname = %s"
_NAME = "select datname from pg_catalog.pg_database where oid = %s"
_OPEN = "select datallowconn from pg_catalog.pg_database where datname = %s"


class SwapFailed(Told):
    """The databases have their old names; a sentence that says what was in the way."""


def beside(name: str, mark: str) -> str:
    """`shop` -> `shop__restore_20250301_094700_17`, cut so that it fits PostgreSQL's 63 bytes."""
    return fitting(name, f"__{mark}")


def allow(connection: psycopg.Connection[Any], name: str, allowed: bool) -> None:
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    connection.execute(statement.format(sql.Identifier(name), sql.SQL("true" if allowed else "false")))


def oid(connection: psycopg.Connection[Any], name: str) -> int | None:
    """Its number, which it keeps under any name; None: there is none of this name."""
    row = connection.execute(_OID, [name]).fetchone()
    return row[0] if row else None


def name(connection: psycopg.Connection[Any], oid: int | None) -> str | None:
    """What the database of this number is called now; None: there is none."""
    row = connection.execute(_NAME, [oid]).fetchone()
    return row[0] if row else None


def is_open(connection: psycopg.Connection[Any], name: str) -> bool:
    """Does it take connections? One that is not there is as good as closed."""
    row = connection.execute(_OPEN, [name]).fetchone()
    return bool(row and row[0])


@contextmanager
def alone(connection: psycopg.Connection[Any], live: str) -> Iterator[None]:
    """One at a time in the place of a database, from which dbadmin whatever: who looked at it behind the fence of
    another would take it for closed, and leave it so. Raises SwapFailed; all stand in the same database meanwhile."""
    key = [f"dbadmin puts a database in the place of {live}"]
    if connection.execute(f"select pg_catalog.pg_try_advisory_lock({_KEY})", key).fetchone() != (True,):
        raise SwapFailed(
            f"Somebody else swaps {live} just now. Wait for the end of that, and look what is there then."
        )
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(f"select pg_catalog.pg_advisory_unlock({_KEY})", key)


def empty(connection: psycopg.Connection[Any], names: Sequence[str], tick: Callable[[], None]) -> int:
    """End every session in these databases and wait until they are gone; nobody if there is one that may not be."""
    deadline, ended = time.monotonic() + PATIENCE_SECONDS, 0
    if stay := [name for (name,) in connection.execute(STAY, [list(names)])]:
        raise SwapFailed(
            f"{connection.info.user} may not end the sessions of {', '.join(stay)} in {' and '.join(names)}. Nobody "
            "was disconnected. End them and do it again, or let dbadmin operate as a superuser."
        )
    while True:
        # Who has no user is autovacuum: only a superuser may end it, and a rename does so by itself.
        rows = connection.execute(
            "select pid, pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
            " where datname = any(%s) and usesysid is not null and pid <> pg_catalog.pg_backend_pid()",
            [list(names)],
        ).fetchall()
        if not rows:
            return ended
        ended = max(ended, len(rows))
        if time.monotonic() > deadline:
            raise SwapFailed(
                f"{len(rows)} sessions did not leave {' and '.join(names)} in {PATIENCE_SECONDS} seconds."
            )
        tick()
        time.sleep(0.01)


def swap(
    connection: psycopg.Connection[Any], live: str, aside: str, incoming: str, tick: Callable[[], None]
) -> tuple[float, int]:
    """`live` becomes `aside`, `incoming` becomes `live`; says how long clients were shut out, and how many.

    The new `live` is open if the old one was. `aside` stays fenced: nobody writes to what may have to come back.
    """
    connection.execute(PATIENCE_WITH_LOCKS)
    started = time.monotonic()
    fenced = [live, incoming]
    were_open = [name for name in fenced if is_open(connection, name)]
    try:
        for name in fenced:
            allow(connection, name, False)
        ended = empty(connection, fenced, tick)
        with connection.transaction():
            rename(connection, live, aside)
            rename(connection, incoming, live)
            allow(connection, live, live in were_open)
    except BaseException:
        for name in were_open:
            _allow_again(connection, name)
        raise
    return time.monotonic() - started, ended


def move_in(connection: psycopg.Connection[Any], live: str, incoming: str, tick: Callable[[], None]) -> None:
    """`incoming` becomes `live`, whose name nobody has."""
    connection.execute(PATIENCE_WITH_LOCKS)
    allow(connection, incoming, False)  # who looks at every database is not to come back between
    empty(connection, [incoming], tick)
    with connection.transaction():
        rename(connection, incoming, live)
        allow(connection, live, True)


def rename(connection: psycopg.Connection[Any], old: str, new: str) -> None:
    """Nobody may be in it."""
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
    )


def _allow_again(connection: psycopg.Connection[Any], name: str) -> None:
    try:
        allow(connection, name, True)
    except psycopg.Error:
        # The connection is gone too; the clean-up of the run opens the database again.
        return


def texts(live: str, aside: str, incoming: str, was_open: bool) -> str:
    """The statements of a swap, to be read before it."""
    opens = (
        "ALTER DATABASE {live} ALLOW_CONNECTIONS true;" if was_open else "-- it was closed and stays closed"
    )
    names = {
        "live": sql.Identifier(live),
        "aside": sql.Identifier(aside),
        "incoming": sql.Identifier(incoming),
    }
    quoted = {key: name.as_string(None) for key, name in names.items()}
    return (
        "ALTER DATABASE {live} ALLOW_CONNECTIONS false;\n"
        "-- end its sessions and wait until they are gone\n"
        "BEGIN;\n"
        "ALTER DATABASE {live} RENAME TO {aside};\n"
        "ALTER DATABASE {incoming} RENAME TO {live};\n"
        f"{opens}\n"
        "COMMIT;"
    ).format(**quoted)


def move_texts(live: str, incoming: str) -> str:
    """The statements of a move where nobody has the name."""
    names = [sql.Identifier(name).as_string(None) for name in (incoming, live)]
    return "ALTER DATABASE {0} RENAME TO {1};\nALTER DATABASE {1} ALLOW_CONNECTIONS true;".format(*names)
