"""The statements that take changes back, newest first, each only where the row is still as the change left it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from audit import changes, whole_undo
from audit.capture import text_of
from audit.chains import chained
from audit.registry import Installed, Shape, Watched
from audit.search import Change, key_text
from audit.tables import Rows
from audit.undo_order import ForeignKey, Taking, by_themselves, foreign_keys, in_order, values

#: Rows that are taken back one by one at most; more are taken back in sets.
MOST = 1000
COLUMNS = """
select a.attrelid::int8 as relid, a.attname as name, a.attnum, a.attgenerated <> '' as is_generated,
       format_type(a.atttypid, a.atttypmod) as said, n.nspname as schema, t.typname as type,
       coalesce((
           select pg_catalog.format('operator(%%I.%%s)', s.nspname, o.oprname)
           from pg_catalog.pg_index i
           cross join lateral unnest(i.indkey::int2[], i.indclass::oid[]) k (num, class)
           join pg_catalog.pg_opclass c on c.oid = k.class and c.opcmethod = 403
           join pg_catalog.pg_amop p on p.amopfamily = c.opcfamily and p.amopstrategy = 3
               and p.amoplefttype = c.opcintype and p.amoprighttype = c.opcintype
           join pg_catalog.pg_operator o on o.oid = p.amopopr
           join pg_catalog.pg_namespace s on s.oid = o.oprnamespace
           where i.indrelid = a.attrelid and i.indisunique and k.num = a.attnum
           order by i.indisprimary desc, i.indexrelid limit 1
       ), 'operator(pg_catalog.=)') as equals,
       exists (select from pg_catalog.pg_cast c where c.castsource in ('text'::regtype, 'varchar'::regtype)
           and c.casttarget in (t.oid, t.typbasetype) and c.castmethod = 'f'
           and t.typnamespace <> 'pg_catalog'::regnamespace) as has_cast,
       (with recursive base as (
            select t.oid, t.typtype, t.typbasetype, t.typnamespace
            union all
            select b.oid, b.typtype, b.typbasetype, b.typnamespace
            from base d join pg_catalog.pg_type b on b.oid = d.typbasetype where d.typtype = 'd')
        select typnamespace <> 'pg_catalog'::regnamespace from base where typtype <> 'd') as is_users
from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
"""


class CannotUndo(Exception):
    """A change cannot be taken back; the message says why."""


@dataclass(frozen=True)
class Reversal:
    """One statement, the question whether it still fits, and what it takes back."""

    statement: Composed
    fits: Composed
    change: Change
    table: Watched
    #: Tables whose rows would not stay as they are, each with the question whether there are such rows.
    guards: tuple[tuple[str, Composable], ...] = ()
    #: First: what is being written that refers to the row has to be seen by the statement.
    lock: Composed | None = None

    @property
    def statements(self) -> list[Composed]:
        """All that is run."""
        return [*([self.lock] if self.lock else []), self.statement]

    @property
    def what(self) -> str:
        """The change that it takes back: the update of public.items 3."""
        return f"the {self.change.kind} of {self.table} {key_of(self.change)}"

    @property
    def rows(self) -> set[tuple[int, tuple[str | None, ...]]]:
        """The row by the keys that it had before and after the change."""
        names = self.change.key
        sides = [side for side in (self.change.old, self.change.new) if side is not None]
        return {(self.table.id, tuple(side.get(name) for name in names)) for side in sides}


@dataclass(frozen=True)
class Misfits:
    """What cannot be taken back. told: the changes whose row is another by now; kept: what can."""

    told: list[Reversal]
    kept: list[Reversal]


def key_of(change: Change) -> str:
    """The row's key, for the eye."""
    return ", ".join(str(value) for value in change.key.values())


def name_of(table: Watched) -> Composable:
    """The table, quoted."""
    return Identifier(table.schema, table.name)


@dataclass(frozen=True)
class Type:
    """The type of a column. said: with its length and the like; has_cast: a function would make it of a text; equals:
    the operator by which an index tells values apart, with its schema, so that nobody else's runs in its place."""

    said: str
    schema: str
    name: str
    has_cast: bool
    equals: str

    @property
    def equality(self) -> Composable:
        """The operator."""
        return SQL(self.equals)


@dataclass(frozen=True)
class Columns:
    """A table's columns today: their numbers, those that can be written, those of a type that users made, all types."""

    relid: int
    numbers: dict[str, int]
    writable: set[str]
    users: set[str]
    types: dict[str, Type]


def columns_today(rows: Rows, table: Watched) -> Columns:
    """They may be others than those that the log recorded."""
    found = rows(COLUMNS, [Identifier(table.schema, table.name).as_string(None)])
    if not found:
        raise CannotUndo(f"{table} is not there any more.")
    if found[0].relid != table.relid:
        raise CannotUndo(
            f"{table} is another table by now than the one whose changes were recorded. Watch it again, and look"
            " at what would be taken back."
        )
    return Columns(
        found[0].relid,
        {row.name: row.attnum for row in found},
        {row.name for row in found if not row.is_generated},
        {row.name for row in found if row.is_users},
        {row.name: Type(row.said, row.schema, row.type, row.has_cast, row.equals) for row in found},
    )


def with_columns(
    rows: Rows, state: Installed, table: Watched, change: Change, shapes: dict[int, Shape]
) -> Change:
    """What was kept whole gets the columns that it had; shapes: those found so far, by statement."""
    if change.shape is not None:
        return change
    try:
        if change.statement_id not in shapes:
            shapes[change.statement_id] = whole_undo.shape_of(rows, state, table, change)
        return whole_undo.typed(rows, shapes[change.statement_id], change)
    except whole_undo.NotExact as reason:
        raise CannotUndo(
            f"{table} had just been altered when this was written, and its rows were kept as JSON: {reason} Take it"
            " back by hand."
        ) from reason


def reversal(table: Watched, change: Change, columns: Columns) -> Reversal:
    """The statement that takes one change back."""
    if change.shape is None or not change.shape.key:
        raise CannotUndo(f"{table} has no key in the log: its rows cannot be told apart.")
    hidden = {column.name for column in change.shape.columns if column.rule}
    gone = columns_gone(table, change.shape, columns)
    if lost := sorted(gone & {*change.key, *(needed(change) - hidden)}):
        raise CannotUndo(
            f"{', '.join(lost)} of {table} is not there any more, or has another name: the {change.kind} of"
            f" {key_of(change)} cannot be taken back as it was."
        )
    if change.kind == "insert":
        return remove(table, change, columns, hidden | gone)
    if change.kind == "delete":
        return put_back(table, change, columns, hidden)
    return set_back(table, change, columns, hidden, gone)


def columns_gone(table: Watched, shape: Shape, columns: Columns) -> set[str]:
    """Columns that the log has and the table has not. Names are trusted where their order is what it was."""
    recorded = sorted(shape.columns, key=lambda column: column.attnum)
    there = [column.name for column in recorded if column.name in columns.numbers]
    if there != sorted(there, key=lambda name: columns.numbers[name]):
        raise CannotUndo(
            f"Columns of {table} have each other's names by now, or were made anew: what the log has of them would"
            " come into others. Take it back by hand."
        )
    return {column.name for column in recorded} - set(there)


def needed(change: Change) -> set[str]:
    """The columns whose values go back into the table."""
    if change.kind == "insert":
        return set()
    return {
        name for name in change.changed if change.kind == "update" or (change.old or {}).get(name) is not None
    }


def is_still(change: Change, names: list[str], values: dict[str, str | None], columns: Columns) -> Composable:
    """The condition that finds the row by its key, as the change left it. As texts: not every type has an equality."""
    key = [
        SQL("{} {} {}").format(Identifier(name), columns.types[name].equality, Literal(value))
        for name, value in change.key.items()
    ]
    same = [
        SQL("{} IS NOT DISTINCT FROM {}").format(
            text_of(Identifier(name), name in columns.users), Literal(values[name])
        )
        for name in names
        if name not in change.key
    ]
    return SQL(" AND ").join([*key, *same])


def remove(table: Watched, change: Change, columns: Columns, unknown: set[str]) -> Reversal:
    """An inserted row goes, if nobody changed it since."""
    new = change.new or {}
    where = is_still(change, [name for name in new if name not in unknown], new, columns)
    return Reversal(
        SQL("DELETE FROM {} WHERE {}").format(name_of(table), where),
        SQL("SELECT count(*) = 1 AS fits FROM {} WHERE {}").format(name_of(table), where),
        change,
        table,
    )


def put_back(table: Watched, change: Change, columns: Columns, hidden: set[str]) -> Reversal:
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
        change,
        table,
    )


def set_back(table: Watched, change: Change, columns: Columns, hidden: set[str], gone: set[str]) -> Reversal:
    """Changed columns get their old values, if they still have the new ones."""
    old, new, key = change.old or {}, change.new or {}, key_of(change)
    lost = [name for name in change.changed if name in hidden]
    if lost:
        raise CannotUndo(f"{', '.join(lost)} of {table} {key}: the log does not keep the value.")
    names = [name for name in change.changed if name in columns.writable]
    sets = [SQL("{} = {}").format(Identifier(name), Literal(old[name])) for name in names]
    if not sets:
        raise CannotUndo(f"The update of {table} {key} changed nothing that can be written.")
    # Rows whose keys change places bear the same key for a moment: told apart by all that they hold.
    told = (
        [name for name in new if name not in hidden | gone]
        if change.key.keys() & set(change.changed)
        else names
    )
    where = is_still(change, told, new, columns)
    return Reversal(
        SQL("UPDATE {} SET {} WHERE {}").format(name_of(table), SQL(", ").join(sets), where),
        SQL("SELECT count(*) = 1 AS fits FROM {} WHERE {}").format(name_of(table), where),
        change,
        table,
    )


def reversals(rows: Rows, state: Installed, wanted: list[Change]) -> list[Reversal]:
    """All of them, newest first but for what foreign keys ask."""
    tables = state.watched
    newest = sorted(wanted, key=lambda one: (one.statement_id, one.n), reverse=True)
    columns = {
        number: columns_today(rows, tables[number]) for number in {one.statement.watched_id for one in newest}
    }
    keys = foreign_keys(rows, [each.relid for each in columns.values()])
    found, shapes = [], dict[int, Shape]()
    for one in newest:
        table = tables[one.statement.watched_id]
        found.append(reversal(table, with_columns(rows, state, table, one, shapes), columns[table.id]))
    found = as_it_happened(found)
    takings = [Taking(columns[one.table.id].relid, one.change.new, one.change.old, one.rows) for one in found]
    follow = by_themselves(takings, keys)
    found = [
        guarded(one, taking, keys, takings, columns[one.table.id])
        for one, taking in zip(found, takings, strict=True)
    ]
    return [found[place] for place in in_order(takings, keys, follow)]


def as_it_happened(found: list[Reversal]) -> list[Reversal]:
    """Given in the order of the log, newest first: in that in which each row changed. What a trigger of the
    application's wrote to a row once more stands in the log before the statement that fired it."""
    places: dict[Any, list[int]] = {}
    for place, one in enumerate(found):  # where its key changed, it is one row by both
        same = sorted({place}.union(*(places.get(row, ()) for row in one.rows)))
        places |= {row: same for each in same for row in found[each].rows}
    ordered = list(found)
    for same in {id(each): each for each in places.values()}.values():
        by_change = {id(found[place].change): found[place] for place in same}
        changes_of_it = chained([found[place].change for place in same[::-1]])[::-1]
        for place, change in zip(same, changes_of_it, strict=True):
            ordered[place] = by_change[id(change)]
    return ordered


def guarded(
    one: Reversal, taking: Taking, keys: list[ForeignKey], all_of_them: list[Taking], columns: Columns
) -> Reversal:
    """A row is not deleted where rows of others that refer to it would go, or be emptied, with it."""
    if taking.back is not None:
        return one
    statement, fits, guards = one.statement, one.fits, list(one.guards)
    for key in keys:
        if key.parent == taking.relid and key.takes_along and taking.gone is not None:
            referring = key.referring(taking.gone)
            here = values(taking.gone, key.referenced)
            ours = sum(
                other.relid == key.child and other.leaves(key.columns) == here for other in all_of_them
            )
            beyond = SQL("(SELECT count(*) {}) > {}").format(referring, Literal(ours))
            statement += SQL(" AND NOT EXISTS (SELECT {})").format(referring)
            fits += SQL(" AND NOT {}").format(beyond)
            guards.append((f"{key.schema}.{key.name}", SQL("SELECT {} AS is_so").format(beyond)))
    if not guards:
        return one
    row = is_still(one.change, [], {}, columns)
    lock = SQL("SELECT FROM {} WHERE {} FOR UPDATE").format(name_of(one.table), row)
    return replace(one, statement=statement, fits=fits, guards=tuple(guards), lock=lock)


def conflicts(rows: Rows, found: list[Reversal]) -> Misfits:
    """What does not fit any more, before anything is done. Only the newest change of a row can be judged ahead; where
    that does not fit, the older ones of the same row stay too."""
    misfits, judged, lost = Misfits([], []), set[Any](), set[Any]()
    for one in found:
        if not one.rows & judged and not rows(one.fits)[0].fits:
            misfits.told.append(one)
            lost |= one.rows
        if one.rows & lost:
            lost |= one.rows
        else:
            misfits.kept.append(one)
        judged |= one.rows
    return misfits


def later(rows: Rows, state: Installed, one: Reversal) -> str:
    """Who changed the row after this change, or what else is in the way."""
    last = changes.life(rows, state, one.table, key_text(one.change.key), limit=1)
    place = (one.change.statement_id, one.change.n)
    if last and (last[0].statement_id, last[0].n) != place:
        by = last[0].statement
        return f"changed again by {by.person} at {by.at:%Y-%m-%d %H:%M:%S} UTC, statement {by.id}"
    for table, question in one.guards:
        if rows(question)[0].is_so:
            return f"rows of {table} refer to it, which would not stay as they are"
    return "its row is another, by no change that the log has"


def statement_text(found: Sequence[Reversal]) -> str:
    """For the preview."""
    return ";\n".join(each.as_string(None) for one in found for each in one.statements)
