"""The statements that take changes back, newest first, each only where the row is still as the change left it."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from audit.capture import text_of
from audit.registry import Watched
from audit.search import Change
from audit.tables import Rows

#: Rows that one undo takes back at most.
MOST = 1000
COLUMNS = """
select a.attname as name, a.attgenerated <> '' as is_generated,
       (with recursive base as (
            select t.oid, t.typtype, t.typbasetype, t.typnamespace
            union all
            select b.oid, b.typtype, b.typbasetype, b.typnamespace
            from base d join pg_catalog.pg_type b on b.oid = d.typbasetype where d.typtype = 'd')
        select typnamespace <> 'pg_catalog'::regnamespace from base where typtype <> 'd') as is_users
from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
"""


class CannotUndo(Exception):
    """A change cannot be taken back; the message says why."""


@dataclass(frozen=True)
class Reversal:
    """One statement, the question whether it still fits, and what it takes back."""

    statement: Composed
    fits: Composed
    what: str


def name_of(table: Watched) -> Composable:
    """The table, quoted."""
    return Identifier(table.schema, table.name)


@dataclass(frozen=True)
class Columns:
    """A table's columns today: those that can be written, and those of a type that users made."""

    writable: set[str]
    users: set[str]


def columns_today(rows: Rows, table: Watched) -> Columns:
    """They may be others than those that the log recorded."""
    found = rows(COLUMNS, [Identifier(table.schema, table.name).as_string(None)])
    if not found:
        raise CannotUndo(f"{table} is not there any more.")
    return Columns(
        {row.name for row in found if not row.is_generated}, {row.name for row in found if row.is_users}
    )


def reversal(table: Watched, change: Change, columns: Columns) -> Reversal:
    """The statement that takes one change back."""
    if change.shape is None:
        raise CannotUndo(
            f"{table} had just been altered when this was written: the log has its rows as JSON, which is not exact"
            " enough to write them back. Take it back by hand."
        )
    if not change.shape.key:
        raise CannotUndo(f"{table} has no key in the log: its rows cannot be told apart.")
    hidden = {column.name for column in change.shape.columns if column.rule}
    key = ", ".join(str(value) for value in change.key.values())
    if change.kind == "insert":
        return remove(table, change, key, columns)
    if change.kind == "delete":
        return put_back(table, change, key, columns, hidden)
    return set_back(table, change, key, columns, hidden)


def is_still(change: Change, names: list[str], values: dict[str, str | None], columns: Columns) -> Composable:
    """The condition that finds the row by its key, as the change left it. As texts: not every type has an equality."""
    key = [SQL("{} = {}").format(Identifier(name), Literal(value)) for name, value in change.key.items()]
    same = [
        SQL("{} IS NOT DISTINCT FROM {}").format(
            text_of(Identifier(name), name in columns.users), Literal(values[name])
        )
        for name in names
        if name not in change.key
    ]
    return SQL(" AND ").join([*key, *same])


def remove(table: Watched, change: Change, key: str, columns: Columns) -> Reversal:
    """An inserted row goes, if nobody changed it since."""
    new = change.new or {}
    hidden = {column.name for column in change.shape.columns if column.rule} if change.shape else set()
    where = is_still(change, [name for name in new if name not in hidden], new, columns)
    return Reversal(
        SQL("DELETE FROM {} WHERE {}").format(name_of(table), where),
        SQL("SELECT count(*) = 1 AS fits FROM {} WHERE {}").format(name_of(table), where),
        f"the insert of {key}",
    )


def put_back(table: Watched, change: Change, key: str, columns: Columns, hidden: set[str]) -> Reversal:
    """A deleted row comes back, if its key is free."""
    kept = columns.writable - hidden
    old = {name: value for name, value in (change.old or {}).items() if name in kept}
    statement = SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
        name_of(table), SQL(", ").join(map(Identifier, old)), SQL(", ").join(map(Literal, old.values()))
    )
    where = is_still(change, [], {}, columns)
    return Reversal(
        statement,
        SQL("SELECT count(*) = 0 AS fits FROM {} WHERE {}").format(name_of(table), where),
        f"the delete of {key}",
    )


def set_back(table: Watched, change: Change, key: str, columns: Columns, hidden: set[str]) -> Reversal:
    """Changed columns get their old values, if they still have the new ones."""
    old, new = change.old or {}, change.new or {}
    lost = [name for name in change.changed if name in hidden]
    if lost:
        raise CannotUndo(f"{', '.join(lost)} of {table} {key}: the log does not keep the value.")
    names = [name for name in change.changed if name in columns.writable]
    sets = [SQL("{} = {}").format(Identifier(name), Literal(old[name])) for name in names]
    if not sets:
        raise CannotUndo(f"The update of {table} {key} changed nothing that can be written.")
    where = is_still(change, names, new, columns)
    return Reversal(
        SQL("UPDATE {} SET {} WHERE {}").format(name_of(table), SQL(", ").join(sets), where),
        SQL("SELECT count(*) = 1 AS fits FROM {} WHERE {}").format(name_of(table), where),
        f"the update of {key}",
    )


def reversals(rows: Rows, tables: dict[int, Watched], changes: list[Change]) -> list[Reversal]:
    """All of them, newest first."""
    columns: dict[int, Columns] = {}
    found = []
    for change in sorted(changes, key=lambda one: (one.statement_id, one.n), reverse=True):
        number: int = change.statement.watched_id
        if number not in columns:
            columns[number] = columns_today(rows, tables[number])
        found.append(reversal(tables[number], change, columns[number]))
    return found


def conflicts(rows: Rows, found: list[Reversal]) -> list[str]:
    """What does not fit any more, before anything is done. Only the newest change of a row can be judged ahead."""
    seen: set[str] = set()
    misfits = []
    for one in found:
        row = one.what.rpartition(" of ")[2]
        if row in seen:
            continue
        seen.add(row)
        if not rows(one.fits)[0].fits:
            misfits.append(one.what)
    return misfits


def statement_text(found: list[Reversal]) -> str:
    """For the preview."""
    return ";\n".join(one.statement.as_string(None) for one in found)
