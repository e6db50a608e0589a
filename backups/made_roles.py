"""Roles that a restore makes because its backup names them; they go again when what needed them does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from dbadmin.failures import sentence

if TYPE_CHECKING:
    from dbadmin.runner import Work

_NUMBERS = "select rolname, oid from pg_catalog.pg_roles where rolname = any(%s)"


def make(
    work: Work, connection: psycopg.Connection[Any], names: Sequence[str], statements: Sequence[sql.Composed]
) -> None:
    """Create them, all or none, and remember which they are: a stranger of the same name has another number."""
    with connection.transaction():
        for statement in statements:
            connection.execute(statement)
            work.log(statement.as_string(None))
        work.remember(roles=dict(connection.execute(_NUMBERS, [list(names)]).fetchall()))


def drop(work: Work) -> None:
    """Take away those of this run that nothing uses; what takes another away is told, when that is free."""
    made = work.facts.get("roles")
    if not made:
        return
    with work.connect() as connection:
        for name, number in connection.execute(_NUMBERS, [list(made)]).fetchall():
            if number == made[name]:
                _drop(work, connection, name)


def _drop(work: Work, connection: psycopg.Connection[Any], name: str) -> None:
    statement = sql.SQL("DROP ROLE {}").format(sql.Identifier(name))
    try:
        connection.execute(statement)
        work.log(f"Dropped the role {name}, which this run had made.")
    except psycopg.Error as error:
        if connection.closed:
            raise
        work.stands(
            f"The role {name}, which this run had made, stays: {sentence(error, work.server)} When nothing uses it any "
            f"more: {statement.as_string(None)};"
        )
