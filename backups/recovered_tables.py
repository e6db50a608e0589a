"""What a recovered cluster holds: its tables, and the rows of a table page by page; read only and bounded.

The way in is a superuser's, and the database is somebody else's: values become text by their types' own output, never
by a cast, and are compared by the operators of their indexes, for both may be functions of whoever had the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from backups.physical.models import RecoveredCluster
from backups.row_places import Shape, TableName, look, rows_of, shape_of
from dbadmin.connections import named_rows, why, with_database
from dbadmin.deadlines import deadline

#: Rows of a page and cells of it: of a wide table fewer rows are shown. How much of a value is.
ROWS, CELLS, LONGEST = 50, 1_000, 200
#: Tables of a page.
TABLES = 100
#: Seconds for all that a page asks.
PATIENCE = 6.0

_COUNT = """
    select count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where {wanted}"""
_WANTED = """c.relkind in ('r', 'p', 'm') and c.relpersistence <> 't' and not c.relispartition
      and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
      and pg_catalog.strpos(pg_catalog.lower(n.nspname || '.' || c.relname), pg_catalog.lower(%(part)s)) > 0"""
#: Sizes are asked for the tables of the page alone. A partitioned table has those of its partitions.
_TABLES = """
    select found.schema, found.name, case found.kind when 'p' then 'partitioned table' when 'm' then
           'materialized view' else 'table' end as kind, sums.about_rows, sums.size_bytes,
           case when found.persistence = 'u' then 'Unlogged: its rows are in no WAL, so it is empty here.'
                else '' end as note
    from (select n.nspname as schema, c.relname as name, c.oid, c.relkind as kind, c.relpersistence as persistence
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where {wanted} order by 1, 2 limit %(limit)s offset %(offset)s) found
    cross join lateral (
        select case when pg_catalog.min(part.reltuples) >= 0 then pg_catalog.sum(part.reltuples)::bigint end
               as about_rows, pg_catalog.sum(pg_catalog.pg_total_relation_size(part.oid))::bigint as size_bytes
        from (select found.oid where found.kind <> 'p'
              union all select t.relid from pg_catalog.pg_partition_tree(found.oid) t
                        where found.kind = 'p' and t.isleaf and t.relid <> found.oid) leaf (oid)
        join pg_catalog.pg_class part on part.oid = leaf.oid) sums
    order by 1, 2"""


class NotShown(Exception):
    """There is nothing to show; a sentence that says why and what to do."""


@dataclass(frozen=True)
class Cell:
    """A value: None is null, and what is long is cut."""

    text: str | None
    is_whole: bool = True


@dataclass(frozen=True)
class Row:
    """A row as it is shown."""

    cells: Sequence[Cell]


@dataclass
class Rows:
    """A page of a table. later: the key after which the next one begins; most: how many rows it may have."""

    shape: Shape
    key: Sequence[str]
    most: int
    rows: list[Row] = field(default_factory=list)
    later: str = ""

    @property
    def is_cut(self) -> bool:
        """Are there more, and no way to them but a condition?"""
        return not self.key and len(self.rows) == self.most


@contextmanager
def reading(row: RecoveredCluster, database: str) -> Iterator[psycopg.Connection[Any]]:
    """A read-only session that ends with the page; raises NotShown."""
    dsn = with_database(row.dsn, database)
    try:
        with look(dsn) as connection, deadline(connection, PATIENCE):
            yield connection
    except psycopg.errors.QueryCanceled as error:
        raise NotShown("It took too long and was given up. Name a column that begins an index.") from error
    except psycopg.errors.LockNotAvailable as error:
        says = "Somebody holds a lock on it there. Try again when that session has ended."
        raise NotShown(says) from error
    except UnicodeError as error:
        raise NotShown("It holds bytes that are no text. Read it with psql on its host.") from error
    except psycopg.Error as error:
        raise NotShown(why(error, dsn)) from error


def count_tables(connection: psycopg.Connection[Any], part: str) -> int:
    """Of those whose name, with its schema, has this part."""
    row = connection.execute(_COUNT.format(wanted=_WANTED).encode(), {"part": part or "."}).fetchone()
    return int(row[0]) if row else 0


def tables(connection: psycopg.Connection[Any], part: str, offset: int) -> list[Any]:
    """Some of them by name: schema, name, kind, about_rows (None: never counted), size_bytes, note."""
    told = {"part": part or ".", "limit": TABLES, "offset": offset}
    return named_rows(connection.execute(_TABLES.format(wanted=_WANTED).encode(), told))


def rows(
    connection: psycopg.Connection[Any],
    table: TableName,
    shape: Shape,
    where: tuple[str, str] | None,
    after: str,
) -> Rows:
    """The rows in the order of their key. where: a column and what it is; after: a key as a page before told it."""
    found = Rows(shape, _key(shape), max(5, min(ROWS, CELLS // len(shape.columns))))
    conditions = [_is(shape, *where)] if where else []
    if after and found.key:
        conditions.append(_after(shape, found.key, _parts(after, len(found.key))))
    names = [column.name for column in shape.columns]
    statement = sql.SQL("SELECT {} FROM {} AS t{}{} LIMIT {}").format(
        sql.SQL(", ").join([*map(_cut, names), *map(_text, found.key)]),
        rows_of(table, shape),
        sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
        sql.SQL(" ORDER BY ") + sql.SQL(", ").join(map(_of, found.key)) if found.key else sql.SQL(""),
        sql.Literal(found.most + 1 if found.key else found.most),
    )
    lines = connection.execute(statement).fetchall()
    found.rows = [Row([_cell(text) for text in line[: len(names)]]) for line in lines[: found.most]]
    if len(lines) > found.most:
        found.later = json.dumps(lines[found.most - 1][len(names) :])
    return found


def shape_or_none(connection: psycopg.Connection[Any], table: TableName) -> Shape | None:
    """What the table looks like, if it is one whose rows are kept here."""
    is_kept = "select from pg_catalog.pg_class where oid = pg_catalog.to_regclass(%s) and relkind in ('r', 'p', 'm')"
    if connection.execute(is_kept, [table.regclass]).fetchone() is None:
        return None
    return shape_of(connection, table)


def _key(shape: Shape) -> Sequence[str]:
    """Its key, where we know how each part of it is ordered."""
    ordered = all(shape.column(name).equals.endswith(".=)") for name in shape.key)
    return shape.key if ordered else []


def _of(name: str) -> sql.Composable:
    return sql.Identifier("t", name)


def _text(name: str) -> sql.Composable:
    return sql.SQL("pg_catalog.format('%s', {})").format(_of(name))


def _cut(name: str) -> sql.Composable:
    """IS NULL would take a row of nulls for null."""
    return sql.SQL("CASE WHEN pg_catalog.num_nulls({}) = 0 THEN pg_catalog.left({}, {}) END").format(
        _of(name), _text(name), sql.Literal(LONGEST + 1)
    )


def _cell(text: str | None) -> Cell:
    return Cell(text) if text is None or len(text) <= LONGEST else Cell(f"{text[:LONGEST]}…", is_whole=False)


def _is(shape: Shape, name: str, value: str) -> sql.Composed:
    """A literal without a type is taken as the column's: as a varchar(3) it would be cut, as a domain be checked."""
    return sql.SQL("{} {} {}").format(_of(name), sql.SQL(shape.column(name).equals), sql.Literal(value))


def _parts(after: str, number: int) -> list[str]:
    try:
        parts = json.loads(after)
    except ValueError:
        parts = None
    if (
        not isinstance(parts, list)
        or len(parts) != number
        or not all(isinstance(each, str) for each in parts)
    ):
        raise NotShown("The address names no row to go on from. Begin with the first rows.")
    return parts


def _after(shape: Shape, key: Sequence[str], parts: Sequence[str]) -> sql.Composed:
    """Behind a key: at or behind in its first part, so that an index leads there, then part by part."""

    def compared(place: int, sign: str) -> sql.Composed:
        by = shape.column(key[place]).equals.removesuffix("=)") + f"{sign})"
        return sql.SQL("{} {} {}").format(_of(key[place]), sql.SQL(by), sql.Literal(parts[place]))

    ways = [
        sql.SQL("({})").format(
            sql.SQL(" AND ").join([*(compared(n, "=") for n in range(place)), compared(place, ">")])
        )
        for place in range(len(key))
    ]
    return sql.SQL("{} AND ({})").format(compared(0, ">="), sql.SQL(" OR ").join(ways))
