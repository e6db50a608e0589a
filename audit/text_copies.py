"""Copying the texts of the month that is still written to. An index on its partitions would cost every writer; so what
is closed is copied, some neighbours to a line, into a table of its own that is indexed, unlogged, and emptied when the
month has its own indexes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import canonical, indexing, text_index
from audit.canonical import Range
from audit.indexing import Before, Done
from audit.log_tables import SCHEMA, pairs_table, rows_table
from audit.open_text import BLOCK
from audit.registry import Installed, Shape
from audit.sealing import place_of
from dbadmin.connections import named_rows

#: Unlogged: after a crash both tables are empty, and are filled anew. The text is compressed from 128 bytes on.
CREATE = """
CREATE UNLOGGED TABLE dbadmin_audit.open_text (
    block     bigint NOT NULL,
    shape_id  integer NOT NULL,
    text      text NOT NULL
) WITH (toast_tuple_target = 128);
CREATE INDEX open_text_text ON dbadmin_audit.open_text USING gin (text {schema}.gin_trgm_ops);
CREATE UNLOGGED TABLE dbadmin_audit.open_text_reached (
    only_one          boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    system_identifier text NOT NULL,
    from_id           bigint NOT NULL,
    high              bigint NOT NULL
);
REVOKE ALL ON dbadmin_audit.open_text, dbadmin_audit.open_text_reached FROM PUBLIC
"""
REACHED = "select system_identifier, from_id, high from dbadmin_audit.open_text_reached"
KEEP = """
insert into dbadmin_audit.open_text_reached (system_identifier, from_id, high) values (%s, %s, %s)
on conflict (only_one) do update set system_identifier = excluded.system_identifier, from_id = excluded.from_id,
    high = excluded.high
"""
STATEMENTS = SQL(
    "select shape_id, array_agg(id order by id) as ids, min(at) as first_at, max(at) as last_at"
    " from {schema}.statement s where {where} group by 1"
)
NOTES = SQL(
    "select id >> {block} as block, 0 as shape_id, string_agg(lower({text}), E'\\n') as text"
    " from {schema}.statement s where {where}{which} group by 1"
)
ROWS = SQL(
    "select statement_id >> {block} as block, {shape} as shape_id, string_agg(lower(line), E'\\n') as text from ("
    "{lines}) r group by 1, n >> {block}"
)
LINES = SQL(
    "select statement_id, {n} as n, {text} as line from {table} where {which} and at between {first} and {last}"
)


def create(schema: str) -> Composable:
    """The tables; schema: where pg_trgm lies."""
    return SQL(CREATE).format(schema=Identifier(schema))


def fill_next(connection: psycopg.Connection[Any], state: Installed, from_id: int) -> Done:
    """Copy the texts of the next closed transactions, all or nothing; what lies before `from_id` is not needed."""
    with connection.transaction():
        canonical.settle(connection)
        connection.execute("lock table dbadmin_audit.open_text_reached in share row exclusive mode")
        place = place_of(connection)
        identifier, begun, high = connection.execute(REACHED).fetchone() or ("", -1, 0)
        if begun < from_id or identifier != place.system_identifier or place.under_way < high:
            connection.execute("truncate dbadmin_audit.open_text, dbadmin_audit.open_text_reached")
            begun, high = from_id, 0
        before = Before(place.system_identifier, high, begun - 1)
        span, count, high = indexing.next_span(connection, before, place)
        if count:
            copy(connection, state, span)
        connection.execute(KEEP, [place.system_identifier, begun, max(high, before.high)])
        return Done(count, bool(count) and high < place.horizon)


def copy(connection: psycopg.Connection[Any], state: Installed, span: Range) -> None:
    """Put the texts of these transactions beside the log."""
    for found in texts(connection, state, span.where("s")):
        connection.execute(
            SQL("insert into {schema}.open_text {found}").format(schema=Identifier(SCHEMA), found=found)
        )


def texts(connection: psycopg.Connection[Any], state: Installed, where: Composable) -> Iterator[Composable]:
    """Notes and texts of statements, and the values of their rows by version of columns, as queries: block, shape_id,
    text. The caller made canonical.settle."""
    schema, block = Identifier(SCHEMA), Literal(BLOCK)
    text, which = text_index.NOTE
    yield NOTES.format(schema=schema, block=block, text=text, where=where, which=SQL(" AND ") + which)
    for row in named_rows(connection.execute(STATEMENTS.format(schema=schema, where=where))):
        lines = [
            LINES.format(
                n=n, text=line, table=table, which=canonical.numbered(row.ids), first=Literal(row.first_at),
                last=Literal(row.last_at),
            )
            for n, line, table in sources(state.shapes.get(row.shape_id))
        ]  # fmt: skip
        if lines:
            yield ROWS.format(block=block, shape=Literal(row.shape_id), lines=SQL(" union all ").join(lines))


def sources(shape: Shape | None) -> list[tuple[Composable, Composable, Composable]]:
    """Where rows lie: their place in the statement, their text, the table. None: rows that were kept whole."""
    if shape is None:
        return [(Identifier("n"), text_index.LOOSE, Identifier(SCHEMA, "loose"))]
    if not shape.kept:
        return []
    every = {column.kept_type for column in shape.kept}  # when settled, each stands as it is
    found: list[tuple[Composable, Composable, Composable]]
    found = [(Identifier("n"), text_index.row_text(shape, every, has_before=False), rows_table(shape.id))]
    if shape.has_pairs:
        found.append((SQL("1"), text_index.row_text(shape, every, has_before=True), pairs_table(shape.id)))
    return found
