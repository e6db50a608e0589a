"""Subscriptions of restored databases: they follow nobody, and let the database be dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from backups import preflight, swap
from backups.manifest import Manifest
from dbadmin.readiness import Check
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from backups.restoring import Restoring
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


def without_slots(job: Restoring) -> list[Step]:
    """What a restored database that stays needs: its original alone may use the slots of their subscriptions."""
    names = job.manifest.contents.names_of(KIND)
    listed = "\n".join(f"{without_slot(name).as_string(None)};" for name in names)
    says = f"-- The slots belong to the original; the publisher is not asked\n{listed}"
    return [Call(lambda work: _let_go(work, job), says)] if names else []


def _let_go(work: Work, job: Restoring) -> None:
    with work.connect(job.scratch, job.dsn) as connection:
        for name, slot in let_go(connection):
            if slot:
                work.log(
                    f"The subscription {name} is disabled here and has no slot: {slot} at its publisher belongs to the "
                    "original. Where that is gone, this lets it follow, without what was sent since the backup: "
                    f"{with_slot(name, slot)}"
                )


def drop_statement(name: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


def drop_database(work: Work, name: str) -> None:
    """Drop a database, which PostgreSQL refuses for one that subscribes; what it had at a publisher stays there."""
    with work.connect(preflight.other_database(work.server, [name])) as connection:
        if connection.execute(_OF, [name]).fetchone():
            swap.allow(connection, name, True)  # one that was put aside is closed
            with work.connect(name) as inside:
                for subscription, _ in let_go(inside):
                    inside.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(subscription)))
        connection.execute(drop_statement(name))
