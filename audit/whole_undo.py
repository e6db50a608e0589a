"""Rows that were kept whole, as they are taken back: which columns they had is looked up, each value must be exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from psycopg.sql import SQL, Composable, Literal

from audit import walk, whole_rows
from audit.changes import BEFORE, exact
from audit.registry import Installed, KeptColumn, Shape, Watched
from audit.search import Change, Filter
from audit.tables import Rows, describe

#: All else is in JSON as a type writes it itself: as a text, a number or a truth. Arrays lose their bounds, a zero of
#: these its sign, json its layout, and null of jsonb may be either null.
FLOATS = {"float4", "float8"}
NEIGHBOURS = """
select max(since) filter (where since <= %(at)s) as since, min(since) filter (where since > %(at)s) as until,
       (pg_catalog.array_agg(id order by since, id) filter (where since > %(at)s))[1] as next
from dbadmin_audit.shape where watched_id = %(table)s
"""
CUT = r"\.\.\. \(cut: \d+ bytes, MD5 [0-9a-f]{32}\)$"
IMAGE = SQL(
    "select r.side::text as side, array(select jsonb_object_keys(r.image)) as names, array[{}]::text[] as texts,"
    " array[{}]::bool[] as exact from dbadmin_audit.loose r where r.statement_id = {} and r.n = {} and r.at = {}"
)
#: Definitions that are looked at.
MANY = 100


class NotExact(Exception):
    """A row cannot be written back; the message says why."""


def typed(rows: Rows, shape: Shape, change: Change) -> Change:
    """The same change with the columns that its table had, and values as their types write them."""
    kept = shape.kept
    query = IMAGE.format(
        SQL(", ").join([text(column) for column in kept]), SQL(", ").join([is_exact(column) for column in kept]),
        Literal(change.statement_id), Literal(change.n), Literal(change.at),
    )  # fmt: skip
    sides: dict[bool, dict[str, str | None]] = {}
    for row in rows(exact(query)):
        if set(row.names) != {column.name for column in kept}:
            raise NotExact("the row has other columns than the table had by what is known.")
        if lost := [f"{c.name} ({c.type})" for c, is_so in zip(kept, row.exact, strict=True) if not is_so]:
            raise NotExact(f"JSON does not hold the value of {', '.join(lost)} exactly.")
        sides[row.side in BEFORE] = dict(zip([column.name for column in kept], row.texts, strict=True))
    return replace(change, shape=shape, old=sides.get(True), new=sides.get(False))


def shape_of(rows: Rows, state: Installed, table: Watched, change: Change) -> Shape:
    """The columns that the table had at a statement, the same for all of its rows: those of the next version, or of
    today, if it was not altered in between.

    That it was not is known only where alterations are recorded: the one that made the row be kept whole must be there.
    """
    near = rows(NEIGHBOURS, {"table": table.id, "at": change.at})[0]
    today = describe(rows, table.schema, table.name)
    if today is None or today.kind == "p":
        raise NotExact("rows of a partition that left it cannot be told from its own.")
    if not alterations(rows, state, table, near, before=change.statement_id):
        raise NotExact("no ALTER TABLE is recorded that tells which columns it had.")
    if alterations(rows, state, table, near, after=change.statement_id):
        raise NotExact("it was altered once more before its capture was renewed.")
    found = state.shapes.get(near.next) or Shape(
        0, table.id, today.signature,
        [KeptColumn(c.attnum, c.name, c.type, "", c.long_text, c.kept_type or "text") for c in today.columns],
        today.key,
    )  # fmt: skip
    rules = {column.name: column.rule for shape in table.shapes for column in shape.columns if column.rule}
    chosen = (table.choices or {}).get("rules", {})
    return replace(
        found,
        columns=[
            replace(c, rule=c.rule or chosen.get(str(c.attnum), "") or rules.get(c.name, ""))
            for c in found.columns
        ],
    )


def alterations(rows: Rows, state: Installed, table: Watched, near: Any, **where: int) -> bool:
    """Is an ALTER TABLE recorded, on this side of a statement, between the versions of columns before and after it?"""
    wanted = Filter(table=str(table), operation="A", since=near.since, until=near.until)
    found = walk.find(rows, state, wanted, limit=MANY, seconds=None, **where).statements
    return any(one.watched_id == table.id and (one.note or "").startswith("ALTER TABLE") for one in found)


def value(column: KeptColumn) -> Composable:
    """What JSON has of a column."""
    return SQL("r.image -> {}").format(Literal(column.name))


def text(column: KeptColumn) -> Composable:
    """The value as its type writes it; types of users were written by themselves, and digests are texts."""
    if column.kept_type == "jsonb" and not column.rule:
        return SQL("({})::text").format(value(column))
    found = SQL("r.image ->> {}").format(Literal(column.name))
    if column.rule or column.kept_type in {"text", "json"} or column.kept_type.startswith("_"):
        return found
    return SQL("({})::{}::text").format(found, whole_rows.type_of(column))


def is_exact(column: KeptColumn) -> Composable:
    """Can the value be read back to the same?"""
    if column.rule:
        return SQL("true")
    kind = SQL("jsonb_typeof({})").format(value(column))
    match column.kept_type:
        case "json":
            return SQL("false")
        case "jsonb":
            return SQL("{} <> 'null'").format(kind)
        case "money":
            return SQL("{} = 'null'").format(kind)
    # A value that was too long for JSON ends with its length and digest.
    plain = SQL("{} not in ('array', 'object') and coalesce(right(r.image ->> {}, 80), '') !~ {}").format(
        kind, Literal(column.name), Literal(CUT)
    )
    return SQL("{} and {} <> '0'").format(plain, value(column)) if column.kept_type in FLOATS else plain
