"""Rows that were kept whole, as JSON: their table had been altered, and its capture was not renewed yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit.long_values import of_json
from audit.registry import KeptColumn, Shape, Watched
from audit.tables import Rows

#: They lie in the table of all watched ones: whose they are, the line of the statement tells.
OF_TABLE = SQL(
    "exists (select from dbadmin_audit.statement s"
    " where s.id = {a}.statement_id and s.at = {a}.at and s.watched_id = {table})"
)


def are_there(rows: Rows) -> bool:
    """Are there any at all? Mostly not: then nobody need look for one of them."""
    return bool(rows("select exists (select from dbadmin_audit.loose) as found")[0].found)


def names_of_key(table: Watched | None, row: dict[str, Any]) -> list[str]:
    """The key of the newest version of the columns that this row has whole."""
    for shape in table.shapes[::-1] if table else []:
        if shape.key and all(name in row for name in shape.key):
            return shape.key
    return []


def keys(table: Watched) -> Iterator[list[KeptColumn]]:
    """The keys that the table had, each once."""
    known = set()
    for shape in table.shapes[::-1]:
        columns = shape.key_columns
        names = tuple(column.name for column in columns)
        if names and len(names) == len(shape.key) and names not in known:
            known.add(names)
            yield columns


def key_condition(table: Watched, values: Sequence[str | None], alias: str = "r") -> Composable | None:
    """The condition that finds a key in whole rows of a table; None when none of its keys has as many columns."""
    ways = [
        SQL(" and ").join(
            SQL("{}.image -> {} = to_jsonb({}::{})").format(
                Identifier(alias), Literal(column.name), Literal(value), type_of(column)
            )
            for column, value in zip(columns, values, strict=True)
        )
        for columns in keys(table)
        if len(columns) == len(values)
    ]
    if not ways:
        return None
    of_table = OF_TABLE.format(a=Identifier(alias), table=Literal(table.id))
    return SQL("({}) and {}").format(SQL(" or ").join(ways), of_table)


def type_of(column: KeptColumn) -> Composable:
    """The type that a key's column has in the log."""
    return Identifier("pg_catalog", column.kept_type)


def life(condition: Composable, bounds: Sequence[Composable], limit: int) -> Composable:
    """The lines of one row's life that were kept whole, newest first, each with its other side."""
    return SQL(
        "select r.statement_id, r.n, r.at, r.side::text as side, {mine}, o.side::text as other_side,"
        " o.other_texts, o.other_lengths"
        " from (select * from dbadmin_audit.loose r where {where} order by statement_id desc, n desc limit {limit}) r"
        " left join lateral (select o.side, {theirs} from dbadmin_audit.loose o"
        "   where o.statement_id = r.statement_id and (o.n >> 8) = (r.n >> 8) and o.n = r.n and o.at = r.at"
        "   and o.side <> r.side) o on true"
    ).format(
        mine=of_json("r"), theirs=of_json("o", "other_"),
        where=SQL(" and ").join([condition, *bounds]), limit=Literal(limit),
    )  # fmt: skip


def numbers(
    rows: Rows,
    tables: Sequence[Watched],
    values: Sequence[str | None],
    bounds: Sequence[Composable],
    down: bool,
    limit: int,
) -> list[Composable]:
    """For each table: the statements that touched one row, in the order of the walk. shape 0 stands for none."""
    found = [key_condition(table, values) for table in tables] if are_there(rows) else []
    return [
        SQL(
            "(select 0 as shape, r.statement_id, r.at from dbadmin_audit.loose r where {}"
            " order by r.statement_id {} limit {})"
        ).format(SQL(" and ").join([condition, *bounds]), SQL("desc" if down else "asc"), Literal(limit))
        for condition in found
        if condition is not None
    ]


def next_keys(table: Watched, newest: Shape, after: Sequence[str | None], most: int) -> Composable:
    """The next keys among whole rows, sorted as the newest version's types are."""
    columns = newest.key_columns
    values = [SQL("(r.image ->> {})::{}").format(Literal(each.name), type_of(each)) for each in columns]
    beyond: Composable = SQL("")
    if after:
        known = [
            SQL("{}::{}").format(Literal(value), type_of(each))
            for value, each in zip(after, columns, strict=True)
        ]
        beyond = SQL(" where ({}) > ({})").format(SQL(", ").join(values), SQL(", ").join(known))
    # Of one table first: in another one the same name is another type.
    return SQL(
        "(select distinct {values}, array[{texts}] as keys, row({values}) as sort"
        " from (select * from dbadmin_audit.loose r where {of_table} and r.image ?& {names} offset 0) r{beyond}"
        " order by {values} limit {most})"
    ).format(
        values=SQL(", ").join(values),
        texts=SQL(", ").join([SQL("{}::text").format(value) for value in values]),
        of_table=OF_TABLE.format(a=Identifier("r"), table=Literal(table.id)),
        names=Literal([each.name for each in columns]),
        beyond=beyond,
        most=Literal(most),
    )
