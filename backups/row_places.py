"""Where rows are: any database that a DSN leads to. What is asked of a table there before its rows are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dbadmin.connections import limit, named_rows, open_dsn

#: A value must read the same on both sides, whatever the defaults of role and database are.
STEADY = {
    "client_encoding": "UTF8",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "search_path": "",
    # Rows that a policy hides would count as missing: say so instead.
    "row_security": "off",
}

_COLUMNS = """
    select a.attname as name, a.attgenerated <> '' as generated, a.attidentity = 'a' as identity_always,
           pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
           pg_catalog.format_type(coalesce(nullif(t.typbasetype, 0), a.atttypid),
                                  case when t.typbasetype = 0 then a.atttypmod else t.typtypmod end) as base_type,
           -- By its schema, for the search path is empty: citext would be compared as text, hstore not at all.
           coalesce((select pg_catalog.format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
                     from pg_catalog.pg_opclass c
                     join pg_catalog.pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
                     join pg_catalog.pg_amop p on p.amopfamily = c.opcfamily and p.amopstrategy = 3
                          and p.amoplefttype = c.opcintype and p.amoprighttype = c.opcintype
                     join pg_catalog.pg_operator o on o.oid = p.amopopr
                     join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
                     where c.opcdefault and c.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid)),
                    'OPERATOR(pg_catalog.=)') as equals
    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
    where a.attrelid = pg_catalog.to_regclass(%s) and a.attnum > 0 and not a.attisdropped
    order by a.attnum"""

_KEY = """
    select array(select a.attname::text
                 from pg_catalog.unnest(i.indkey::int2[]) with ordinality k (attnum, place)
                 join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                 where k.place <= i.indnkeyatts order by k.place) as columns
    from pg_catalog.pg_index i
    where i.indrelid = pg_catalog.to_regclass(%s) and i.indisunique and i.indisvalid and i.indimmediate
      and i.indpred is null and i.indexprs is null
      and not exists (select from pg_catalog.unnest(i.indkey::int2[]) with ordinality k (attnum, place)
                      join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                      where k.place <= i.indnkeyatts and not a.attnotnull)
    order by i.indisprimary desc, i.indnkeyatts, i.indexrelid limit 1"""


_KIND = "select relkind = 'p' from pg_catalog.pg_class where oid = pg_catalog.to_regclass(%s)"


def look(dsn: str) -> psycopg.Connection[Any]:
    """A short, read-only session on rows, for a page; raises psycopg.Error."""
    connection = open_dsn(dsn)
    limit(connection)
    steady(connection)
    return connection


@dataclass(frozen=True)
class TableName:
    """A table by its two names."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def regclass(self) -> str:
        return self.quoted.as_string(None)


@dataclass(frozen=True)
class Shape:
    """The columns of a table, and which of them tell its rows apart; no key where nothing does."""

    columns: Sequence[Any]
    key: Sequence[str]
    has_partitions: bool = False

    def __contains__(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)

    def column(self, name: str) -> Any:
        return next(column for column in self.columns if column.name == name)


def steady(connection: psycopg.Connection[Any]) -> None:
    """Let values read the same everywhere."""
    for name, value in STEADY.items():
        connection.execute("select pg_catalog.set_config(%s, %s, false)", [name, value])


def as_usual(connection: psycopg.Connection[Any]) -> None:
    """Before rows are written: triggers find tables, dates and times as they do for everybody in this database."""
    for name in STEADY.keys() - {"client_encoding", "row_security"}:
        connection.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))


def shape_of(connection: psycopg.Connection[Any], table: TableName) -> Shape | None:
    """What a table looks like; None when it is not there. The session must be steady: then types are qualified."""
    columns = named_rows(connection.execute(_COLUMNS, [table.regclass]))
    if not columns:
        return None
    found = connection.execute(_KEY, [table.regclass]).fetchone()
    kind = connection.execute(_KIND, [table.regclass]).fetchone()
    return Shape(columns, found[0] if found else [], kind == (True,))


#: A column as it stands in a statement.
Expression = Callable[[str], sql.Composable]


def of(alias: str) -> Expression:
    """The column of this table of a statement."""
    return lambda name: sql.Identifier(alias, name)


def meet(shape: Shape, key: Sequence[str], one: Expression, other: Expression) -> sql.Composed:
    """The condition that two rows have the same key, as the columns of this shape understand it."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(one(name), sql.SQL(shape.column(name).equals), other(name)) for name in key
    )


def rows_of(table: TableName, shape: Shape) -> sql.Composed:
    """What to read from: a partitioned table with its partitions, any other without the tables that inherit from it."""
    return sql.SQL("{}" if shape.has_partitions else "ONLY {}").format(table.quoted)
