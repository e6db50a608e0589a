"""Subscriptions of restored databases: they follow nobody, and let the database be dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from backups import preflight, swap
from backups.manifest import Manifest
from dbadmin.models import Server
from dbadmin.readiness import Check

if TYPE_CHECKING:
    from dbadmin.runner import Work

#: What an archive calls them.
KIND = "SUBSCRIPTION"
_OF = """
    select s.subname, s.subslotname
    from pg_catalog.pg_subscription s join pg_catalog.pg_database d on d.oid = s.subdbid
    where d.datname = %s order by 1"""

#: Event triggers may forbid it; who may not say this is no superuser, and restored none.
_IN_SILENCE = """
    select pg_catalog.set_config('session_replication_role', 'replica', false)
    from pg_catalog.pg_roles where rolname = current_user and rolsuper"""


def checks(manifest: Manifest) -> Iterator[Check]:
    """What becomes of them in a database that stays."""
    if names := manifest.contents.names_of(KIND):
        yield Check(
            "warning",
            "Subscriptions",
            f"{preflight.some(names)} comes back disabled and without its slot, which belongs to the original. The log "
            "of the run says what lets it follow where the original is gone.",
        )


def without_slot(name: str) -> sql.Composed:
    """What takes its slot from a subscription; the publisher is not asked and keeps the slot."""
    return sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(sql.Identifier(name))


def with_slot(name: str, slot: str) -> str:
    """What lets it follow again, as text."""
    given = sql.SQL("ALTER SUBSCRIPTION {0} SET (slot_name = {1}); ALTER SUBSCRIPTION {0} ENABLE;")
    return given.format(sql.Identifier(name), sql.Literal(slot)).as_string(None)


def let_go(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Take its slot from each subscription of this database: they come from pg_restore disabled. Names and slots."""
    connection.execute(_IN_SILENCE)
    connection.execute("set default_transaction_read_only = off")  # which the database may have for its users
    found = connection.execute(_OF, [connection.info.dbname]).fetchall()
    for name, slot in found:
        if slot:
            connection.execute(without_slot(name))
    return found


def texts(names: Sequence[str]) -> str:
    """What a restored database that stays needs, to be read before: its original alone may use their slots."""
    listed = "".join(f"{without_slot(name).as_string(None)};\n" for name in names)
    return f"-- The slots belong to the original; the publisher is not asked\n{listed}" if names else ""


def with_slots(server: Server, database: str) -> list[str]:
    """Which subscriptions of a database, open or closed, have a slot at their publisher."""
    return [row.subname for row in server.rows(_OF, [database]) if row.subslotname]


def take_slots(work: Work, connection: psycopg.Connection[Any], database: str, dsn: str = "") -> None:
    """Take the slots from a restored database that stays, and say what lets its subscriptions follow.

    connection: to another database; dsn: what leads into this one, "" for the server's.
    """
    if not connection.execute(_OF, [database]).fetchone():
        return
    with _inside(work, connection, database, dsn) as inside:
        for name, slot in let_go(inside):
            if slot:
                work.log(
                    f"The subscription {name} is disabled here and has no slot: {slot} at its publisher belongs to the "
                    "original. Where that is gone, this lets it follow, without what was sent since the backup: "
                    f"{with_slot(name, slot)}"
                )


@contextmanager
def _inside(
    work: Work, connection: psycopg.Connection[Any], database: str, dsn: str = ""
) -> Iterator[psycopg.Connection[Any]]:
    """A session in a database that may be closed, as one that was put aside is; it is closed again afterwards."""
    was_open = swap.is_open(connection, database)
    swap.allow(connection, database, True)
    try:
        with work.connect(database, dsn) as inside:
            yield inside
    finally:
        swap.allow(connection, database, was_open)


def drop_statement(name: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


def drop_database(work: Work, name: str) -> None:
    """Drop a database, which PostgreSQL refuses for one that subscribes; what it had at a publisher stays there."""
    with work.connect(preflight.other_database(work.server, [name])) as connection:
        if connection.execute(_OF, [name]).fetchone():
            with _inside(work, connection, name) as inside:
                for subscription, _ in let_go(inside):
                    inside.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(subscription)))
        connection.execute(drop_statement(name))
