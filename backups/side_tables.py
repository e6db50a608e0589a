"""Copies of tables, from wherever they are, into a schema of their own in the live database: all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from backups.row_places import Shape, TableName, rows_of, shape_of, steady
from dbadmin.failures import Told
from dbadmin.identifiers import fitting


class NotCopied(Told):
    """The tables are not in the side schema; a sentence that says why. Nothing else changed."""


@dataclass(frozen=True)
class Copied:
    """One table as it is in the side schema."""

    schema: str
    name: str
    side: str
    rows: int


def side_names(tables: Sequence[TableName]) -> dict[TableName, str]:
    """What each is called in the side schema: its own name, unless two of different schemas share it."""
    names = [table.name for table in tables]
    return {table: fitting(table.name if names.count(table.name) == 1 else str(table)) for table in tables}


def fill(
    source: psycopg.Connection[Any],
    live: psycopg.Connection[Any],
    schema: str,
    tables: Sequence[TableName],
    comment: str,
    tell: Callable[[TableName, int], None] = lambda table, rows: None,
) -> list[Copied]:
    """Make the schema and copy the tables into it, in one transaction: whatever happens, nothing half is left."""
    steady(source)
    steady(live)
    with live.transaction():
        live.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        live.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), sql.Literal(comment))
        )
        return [
            _copy(source, live, table, TableName(schema, name), tell)
            for table, name in side_names(tables).items()
        ]


def _copy(
    source: psycopg.Connection[Any],
    live: psycopg.Connection[Any],
    table: TableName,
    side: TableName,
    tell: Callable[[TableName, int], None],
) -> Copied:
    shape = shape_of(source, table)
    if shape is None:
        raise NotCopied(f"There is no table {table} where it is to be copied from.")
    live.execute(_create(source, live, side, shape))
    try:
        rows = _stream(source, live, table, side, shape, tell)
    except (psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter) as error:
        raise NotCopied(
            f"{table} holds text that {live.info.dbname} cannot take or that nobody can show and compare: "
            f"{error.diag.message_primary}. Restore the backup as a new database, and copy from there."
        ) from error
    if shape.key:
        live.execute(
            sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(
                side.quoted, sql.SQL(", ").join(map(sql.Identifier, shape.key))
            )
        )
    live.execute(sql.SQL("ANALYZE {}").format(side.quoted))
    return Copied(table.schema, table.name, side.name, rows)


def _create(
    source: psycopg.Connection[Any], live: psycopg.Connection[Any], side: TableName, shape: Shape
) -> sql.Composed:
    """Plain columns; of a domain its base type, and text where the live database has not got the type as it was."""
    parts = [
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(_known(source, live, column.base_type)))
        for column in shape.columns
    ]
    return sql.SQL("CREATE TABLE {} ({})").format(side.quoted, sql.SQL(", ").join(parts))


#: What a type is made of: labels and attributes of it and of the types in it. Null where there is no such type.
_MADE_OF = """
    with recursive parts as (
        select pg_catalog.to_regtype(%s)::oid as type
        union
        select each.type from parts join pg_catalog.pg_type t on t.oid = parts.type
        cross join lateral (
            select t.typbasetype
            union all select t.typelem where t.typcategory = 'A'
            union all select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid
            union all select a.atttypid from pg_catalog.pg_attribute a
                      where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) each (type)
        where each.type <> 0),
    told as (
        select pg_catalog.format_type(type, null) as name,
               array(select enumlabel::text from pg_catalog.pg_enum
                     where enumtypid = type order by enumsortorder) as labels,
               array(select array[a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod)]
                     from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.typrelid = a.attrelid
                     where t.oid = type and a.attnum > 0 and not a.attisdropped order by a.attnum) as attributes
        from parts where type is not null)
    select pg_catalog.array_agg(told::text order by name) from told"""


def _known(source: psycopg.Connection[Any], live: psycopg.Connection[Any], name: str) -> str:
    """Its parameters are cut off only for the question."""
    bare = [name.partition("(")[0]]
    here, there = (each.execute(_MADE_OF, bare).fetchone() for each in (live, source))
    return name if here is not None and here[0] and here == there else "text"


def _stream(
    source: psycopg.Connection[Any],
    live: psycopg.Connection[Any],
    table: TableName,
    side: TableName,
    shape: Shape,
    tell: Callable[[TableName, int], None],
) -> int:
    """The values as COPY text, block by block."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in shape.columns)
    read = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(names, rows_of(table, shape))
    write = sql.SQL("COPY {} ({}) FROM STDIN").format(side.quoted, names)
    rows = 0
    with (
        source.cursor() as reading,
        live.cursor() as writing,
        reading.copy(read) as out,
        writing.copy(write) as into,
    ):
        for block in out:
            into.write(block)
            rows += 1
            if rows % 5000 == 0:
                tell(table, rows)
    tell(table, rows)
    return rows


def drop_statements(live_tables: Sequence[str], schema: str) -> list[sql.Composed]:
    """Drop what we made there and no more: the schema stays when somebody else put something into it."""
    drops = [sql.SQL("DROP TABLE {}").format(sql.Identifier(schema, name)) for name in live_tables]
    return [*drops, sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema))]


TABLES_OF = """
    select c.relname as name from pg_catalog.pg_class c
    where c.relnamespace = pg_catalog.to_regnamespace(%s) and c.relkind = 'r' order by 1"""
COMMENT_OF = "select pg_catalog.obj_description(pg_catalog.to_regnamespace(%s), 'pg_namespace')"
#: What somebody else put there or hung on what we made: (names of our tables; schema). Not what belongs to a table
#: of ours by itself: its row type, its primary key, its defaults and its columns that must not be null.
OTHERS = """
    with ours as (
        select c.oid from pg_catalog.pg_class c
        where c.relnamespace = pg_catalog.to_regnamespace(%(schema)s) and c.relname = any(%(tables)s)
          and c.relkind = 'r')
    select i.type || ' ' || i.identity as what
    from pg_catalog.pg_depend d, pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
    where d.refclassid = 'pg_catalog.pg_namespace'::regclass
      and d.refobjid = pg_catalog.to_regnamespace(%(schema)s)
      and not (d.classid = 'pg_catalog.pg_class'::regclass and d.objid in (select oid from ours))
    union
    select i.type || ' ' || i.identity
    from pg_catalog.pg_depend d, pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
    where d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid in (select oid from ours)
      and d.deptype in ('n', 'a')
      and d.classid not in ('pg_catalog.pg_type'::regclass, 'pg_catalog.pg_attrdef'::regclass)
      and not (d.classid = 'pg_catalog.pg_class'::regclass and d.objid in (select oid from ours))
      and not exists (select from pg_catalog.pg_constraint c
                      where d.classid = 'pg_catalog.pg_constraint'::regclass and c.oid = d.objid
                        and c.conrelid in (select oid from ours) and c.contype in ('p', 'n'))
    order by 1"""
