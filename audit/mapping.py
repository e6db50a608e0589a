"""The map of where a table, a person and an operation are found in the log: filled behind its end, so that no writer
pays for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit.indexing import Done
from audit.log_tables import SCHEMA, is_there
from audit.prepared import BLOCK
from audit.sealing import place_of
from audit.search import PERSON
from audit.tables import Rows

#: Neighbours in number that share one line, id >> 16; those that share one bit: see BLOCK.
STRETCH = 16
BITS = 1 << STRETCH - BLOCK
#: Statements of one batch: each is a transaction of its own.
MOST = 200_000
TABLE, PERSONS, OPERATION = "t", "p", "o"
THROUGH = "select through from dbadmin_audit.mapped"
# A number that nobody has taken yet is none of these.
GIVEN = "select case when is_called then last_value else last_value - 1 end from dbadmin_audit.statement_id"
BEFORE = "select system_identifier, through, marks from dbadmin_audit.mapped"
LAST = """
select max(id) as id, count(*) as found from (
    select id from dbadmin_audit.statement where id > %s and id <= %s order by id limit %s) s
"""
KEEP = """
insert into dbadmin_audit.mapped (system_identifier, through, marks) values (%s, %s, %s::bigint[])
on conflict (only_one) do update
set system_identifier = excluded.system_identifier, through = excluded.through, marks = excluded.marks
"""
#: What the map has of statements: a line for each table, operation and person (name: as a person reads it) and stretch.
LINES = SQL(
    "select v.kind, v.value, min(v.name) as name, s.block >> {inside} as number,"
    " bit_or(set_bit(0::bit({bits}), (s.block & {last})::int, 1)) as blocks from ("
    " select distinct s.id >> {block} as block, s.watched_id, s.operation, {person} as person from {source} s"
    " where {where}) s cross join lateral (values"
    ' ({table}::"char", s.watched_id::bigint, s.watched_id::text),'
    " ({operation}, ascii(s.operation::text), s.operation::text), ({persons}, {digest}, s.person))"
    " v (kind, value, name) group by 1, 2, 4"
)
ADD = SQL(
    "insert into {schema}.stretch as k (kind, value, number, blocks)"
    " select kind, value, number, blocks from ({lines}) due"
    " on conflict (kind, value, number) do update set blocks = k.blocks | excluded.blocks"
)
#: A transaction, and the last number that was given to a statement before it began.
Mark = tuple[int, int]


def is_ready(rows: Rows) -> bool:
    """Is there a map?"""
    return is_there(rows, "mapped")


def through(rows: Rows) -> int:
    """All statements up to this number are in the map."""
    found = rows(THROUGH) if is_ready(rows) else []
    return found[0].through if found else 0


def digest(person: Composable) -> Composable:
    """A person as the map has them."""
    return SQL("('x' || left(md5({}), 16))::bit(64)::bigint").format(person)


def lines(source: Identifier, where: Composable) -> Composable:
    """The lines of these statements; where: of s."""
    return LINES.format(
        source=source, where=where, inside=Literal(STRETCH - BLOCK), bits=SQL(str(BITS)), last=Literal(BITS - 1),
        block=Literal(BLOCK), table=Literal(TABLE), operation=Literal(OPERATION), persons=Literal(PERSONS),
        person=SQL(PERSON), digest=digest(Identifier("s", "person")),
    )  # fmt: skip


def add(connection: psycopg.Connection[Any], source: Identifier, where: Composable) -> None:
    """Put statements into the map; those that are there stay."""
    connection.execute(ADD.format(schema=Identifier(SCHEMA), lines=lines(source, where)))


def make_mark(connection: psycopg.Connection[Any]) -> Mark:
    """What begins after it takes higher numbers: a transaction has its own number before one of its statements has."""
    (given,) = connection.execute(GIVEN).fetchone() or (0,)
    (transaction,) = connection.execute("select pg_current_xact_id()::text::bigint").fetchone() or (0,)
    return transaction, given


def settled(marks: Sequence[Mark], horizon: int) -> tuple[int, list[Mark]]:
    """Up to which number nothing can come any more, and the marks that tell it the next time.

    What may still come is of transactions from the horizon on. They began after each mark below it.
    """
    past = [mark for mark in marks if mark[0] < horizon]
    return (past[-1][1] if past else 0), [*past[-1:], *(mark for mark in marks if mark[0] >= horizon)]


def map_next(connection: psycopg.Connection[Any]) -> Done:
    """Add the next statements to the map, all or nothing."""
    with connection.transaction():
        newest = make_mark(connection)
    with connection.transaction():
        connection.execute("lock table dbadmin_audit.mapped in share row exclusive mode")
        place = place_of(connection)
        identifier, done, kept = connection.execute(BEFORE).fetchone() or ("", 0, [])
        # A server that was made anew counts transactions anew.
        marks = [(one[0], one[1]) for one in kept] if identifier == place.system_identifier else []
        if not marks or marks[-1][1] < newest[1]:
            marks.append(newest)
        bound, marks = settled(marks, place.horizon)
        top, found = connection.execute(LAST, [done, bound, MOST]).fetchone() or (None, 0)
        if found:
            where = SQL("s.id > {} and s.id <= {}").format(Literal(done), Literal(top))
            add(connection, Identifier(SCHEMA, "statement"), where)
        end = top if found == MOST else max(done, bound)
        connection.execute(KEEP, [place.system_identifier, end, [list(mark) for mark in marks]])
        return Done(found, found == MOST)
