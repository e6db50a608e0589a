"""The rows of the log: those of a statement, one of them, and the life of a row."""

from __future__ import annotations

from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import long_values, whole_rows
from audit.chains import NEAR, chained
from audit.log_tables import SCHEMA
from audit.long_values import columns_of, told, told_apart, with_length
from audit.registry import Installed, Shape, Watched, images_of
from audit.search import (
    COLUMNS,
    EXACT,
    BadFilter,
    Change,
    bad_value,
    bound_parts,
    key_condition,
    key_name,
    key_values,
)
from audit.tables import Rows

#: Sides that stand before a change: of an update, of an update that changed keys, of a delete.
BEFORE = "-ox"


def exact(query: Composable) -> Composable:
    """The query with values rendered exactly. The settings are made first, in one scan that the rest waits
    for."""
    return SQL(
        "with exact as materialized (select {}) select q.* from exact cross join lateral ({}) q"
    ).format(SQL(EXACT), query)


def image(
    shape: Shape, values: list[str | None] | None, lengths: list[int | None] | None
) -> dict[str, str | None] | None:
    """Column -> text; lengths: those of long ones, as columns_of tells them."""
    if values is None or lengths is None:
        return None
    texts = [with_length(value, octets) for value, octets in zip(values, lengths, strict=True)]
    return dict(zip([column.name for column in shape.kept], texts, strict=True))


def statement_changes(
    rows: Rows, state: Installed, statement: Any, first: int = 1, limit: int = 50, whole: bool = False
) -> list[Change]:
    """The rows of a statement, from the n-th on. whole: long values, too, as they are."""
    shape = state.shapes.get(statement.shape_id)
    if statement.operation in "TA":
        return []
    if shape is None:
        images = whole_images(rows, [statement.id], first, limit).get(statement.id, [])
        return paired(statement, None, images, state.watched.get(statement.watched_id))
    query = SQL(
        "select r.n, r.side::text as side, {columns} from {table} r where r.statement_id = {id}"
        " and (r.n >> 8) between ({first} >> 8) and ({last} >> 8) and r.n between {first} and {last}"
        " and r.at = {at} order by r.n, r.side"
    ).format(
        columns=columns_of(shape, "r", whole), table=images_of(shape), id=Literal(statement.id),
        first=Literal(first), last=Literal(first + limit - 1), at=Literal(statement.at),
    )  # fmt: skip
    images = [(row.n, row.side, image(shape, row.texts, row.lengths)) for row in rows(exact(query))]
    found = paired(statement, shape, images)
    told_apart(rows, found)
    return found


def whole_images(
    rows: Rows, ids: list[int], first: int = 1, limit: int = 1
) -> dict[int, list[tuple[int, str, Any]]]:
    """The rows of statements on tables that had just been altered: those were kept whole."""
    query = SQL(
        "select statement_id, n, side::text as side, {} from dbadmin_audit.loose r"
        " where statement_id = any({}) and n between {} and {} order by 1, 2, 3"
    ).format(
        long_values.of_json("r"), Literal(ids), Literal(first), Literal(first + limit - 1)
    )  # fmt: skip
    found: dict[int, list[tuple[int, str, Any]]] = {}
    for row in rows(exact(query)):
        found.setdefault(row.statement_id, []).append(
            (row.n, row.side, told(row.texts or {}, row.lengths or {}))
        )
    return found


def paired(
    statement: Any, shape: Shape | None, images: list[tuple[int, str, Any]], table: Watched | None = None
) -> list[Change]:
    """Before and after of the same place in the statement are one change.

    When a trigger of the application kept some of the new rows back, places no longer fit: then
        nothing is paired.
    """
    found: dict[int, Change] = {}
    for n, side, values in images:
        change = found.setdefault(n, Change(statement.id, n, shape, None, None, statement.at, statement))
        if side in BEFORE:
            change.old = values
        else:
            change.new = values
        if shape is None:
            change.key_names = whole_rows.names_of_key(table, values)
    return list(found.values())


def change(rows: Rows, state: Installed, statement: Any, n: int) -> Change | None:
    """One change by its place in the statement."""
    return next(iter(statement_changes(rows, state, statement, n, 1)), None)


def life(
    rows: Rows, state: Installed, table: Watched, key: str, before: int | None = None, limit: int = 50
) -> list[Change]:
    """What happened to one row, newest first, over all versions of its table's columns."""
    values, most = key_values(key), max(limit, NEAR)
    found: list[Change] = []
    asked = False
    for shape in table.shapes:
        condition = key_condition(shape, values)
        if condition is None:
            continue
        asked = True
        try:
            found += shape_life(rows, shape, condition, before, most)
        except Exception as error:
            raise bad_value(error) from error
    if not asked:
        raise BadFilter(f"The key of {table} is {key_name(table)}.", "key")
    found += whole_life(rows, table, values, before, most)
    found.sort(key=lambda change: (change.statement_id, change.n), reverse=True)
    return chained(with_statements(rows, found[:most][::-1]))[::-1][:limit]


def shape_life(
    rows: Rows, shape: Shape, condition: Composable, before: int | None, limit: int
) -> list[Change]:
    """The part of a life under one version of the columns."""
    bounds = bound_parts("r.statement_id", before, None)
    query = SQL(
        "select r.statement_id, r.n, r.at, r.side::text as side, {mine}, o.side::text as"
        " other_side, o.other_texts, o.other_lengths"
        " from (select * from {table} r where {where} order by r.statement_id desc, r.n desc limit {limit}) r"
        " left join lateral (select o.side, {theirs} from {table} o where o.statement_id ="
        " r.statement_id"
        "   and (o.n >> 8) = (r.n >> 8) and o.n = r.n and o.at = r.at and o.side <> r.side) o on true"
    ).format(
        mine=columns_of(shape, "r"), theirs=columns_of(shape, "o", prefix="other_"), table=images_of(shape),
        where=SQL(" and ").join([condition, *bounds]), limit=Literal(limit),
    )  # fmt: skip
    found = {}
    for row in rows(exact(query)):
        mine, other = image(shape, row.texts, row.lengths), image(shape, row.other_texts, row.other_lengths)
        old, new = (mine, other) if row.side in BEFORE else (other, mine)
        found[row.statement_id, row.n] = Change(row.statement_id, row.n, shape, old, new, row.at)
    told_apart(rows, list(found.values()))
    return list(found.values())


def whole_life(
    rows: Rows, table: Watched, values: list[str | None], before: int | None, limit: int
) -> list[Change]:
    """The part of a life that was kept whole."""
    condition = whole_rows.key_condition(table, values) if whole_rows.are_there(rows) else None
    if condition is None:
        return []
    found = {}
    query = exact(whole_rows.life(condition, bound_parts("r.statement_id", before, None), limit))
    for row in rows(query):
        mine = told(row.texts, row.lengths or {})
        other = told(row.other_texts, row.other_lengths or {}) if row.other_texts is not None else None
        old, new = (mine, other) if row.side in BEFORE else (other, mine)
        names = whole_rows.names_of_key(table, row.texts)
        found[row.statement_id, row.n] = Change(
            row.statement_id, row.n, None, old, new, row.at, key_names=names
        )
    return list(found.values())


def with_statements(rows: Rows, changes: list[Change]) -> list[Change]:
    """The statements of changes, fetched together."""
    ids = sorted({change.statement_id for change in changes})
    if not ids:
        return changes
    query = SQL("select {} from {}.statement where id = any({})").format(
        COLUMNS, Identifier(SCHEMA), Literal(ids)
    )
    statements = {row.id: row for row in rows(query)}
    for one in changes:
        one.statement = statements.get(one.statement_id)
    return changes
