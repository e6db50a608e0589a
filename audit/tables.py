"""What a table looks like to capture: its columns, how each is kept, its key, its partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

#: How rows are read: a statement and its parameters -> rows with named columns.
Rows = Callable[..., Sequence[Any]]

RELATION = """
select c.oid::bigint as relid, n.nspname as schema_name, c.relname as table_name, c.relkind::text as kind,
       c.relpersistence::text as persistence, c.relispartition as is_partition,
       dbadmin_sig.signature,
       exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attgenerated = 'v') as has_virtual
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (select md5(string_agg(a.attnum || ' ' || a.attname || E'\\n', '' order by a.attnum)
        || string_agg(a.attnum || ' ' || a.atttypid, ',' order by a.attnum) filter (where not
            a.attisdropped)) as signature
    from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0) dbadmin_sig
where n.nspname = %s and c.relname = %s
"""

# Types of the system are kept as they are. All others are kept as text: a column of ours with a user's type
# would
# stand in the way of that user's DROP TYPE, and text of a type is exact.
# A virtual column (PostgreSQL 18) is computed when it is read, and is null to every trigger: it is left out.
COLUMNS = """
select a.attnum, a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
       case when t.typnamespace = 'pg_catalog'::regnamespace and t.typtype in ('b', 'r', 'm')
                 and t.typname !~ '^_?reg' and t.typname not like '%%pg\\_%%'
            then t.typname end as kept_type,
       t.typname in ('text', 'varchar', 'bpchar') or t.typnamespace <> 'pg_catalog'::regnamespace as
           long_text,
       t.typtype = 'e' as is_enum,
       (with recursive base as (
            select t.oid, t.typtype, t.typbasetype, t.typnamespace
            union all
            select b.oid, b.typtype, b.typbasetype, b.typnamespace
            from base d join pg_catalog.pg_type b on b.oid = d.typbasetype where d.typtype = 'd')
        select typnamespace <> 'pg_catalog'::regnamespace from base where typtype <> 'd') as is_users,
       exists (select from pg_catalog.pg_opclass o join pg_catalog.pg_am m on m.oid = o.opcmethod
               where m.amname = 'btree' and o.opcdefault and (o.opcintype = t.oid or exists (
                   -- Sorted as what it is already: varchar as text, cidr as inet.
                   select from pg_catalog.pg_cast c
                   where c.castsource = t.oid and c.casttarget = o.opcintype and c.castmethod = 'b'
                     and c.castcontext = 'i' and t.typnamespace = 'pg_catalog'::regnamespace))) as sortable
from pg_catalog.pg_attribute a
join pg_catalog.pg_type t on t.oid = a.atttypid
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
order by a.attnum
"""

# The primary key; without one, the index chosen as replica identity; without one, a unique index over NOT
# NULL columns.
KEY = """
select array(select a.attname from unnest(i.indkey::smallint[]) with ordinality as k(attnum, place)
             join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
             order by k.place)::text[] as columns
from pg_catalog.pg_index i
where i.indrelid = %s and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
  and not exists (select from unnest(i.indkey::smallint[]) k(attnum)
                  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                  where not a.attnotnull)
order by i.indisprimary desc, i.indisreplident desc, i.indnatts, i.indexrelid
limit 1
"""

PARTITIONS = """
select c.oid::bigint as relid, n.nspname as schema_name, c.relname as table_name, c.relkind::text as kind
from pg_catalog.pg_partition_tree(%s::regclass) p
join pg_catalog.pg_class c on c.oid = p.relid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where p.level > 0 and c.relkind <> 'f'
order by n.nspname, c.relname
"""

#: Foreign tables below these, by partitions or by INHERITS.
FOREIGN = """
with recursive below (top, relid) as (
    select inhparent, inhrelid from pg_catalog.pg_inherits where inhparent = any(%s::oid[])
    union select b.top, i.inhrelid from below b join pg_catalog.pg_inherits i on i.inhparent = b.relid
)
select b.top::bigint as top, n.nspname || '.' || c.relname as name
from below b join pg_catalog.pg_class c on c.oid = b.relid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'f'
order by b.top, 2
"""


#: Types whose values are never large.
FIXED = frozenset(
    {
        "bool",
        "int2",
        "int4",
        "int8",
        "oid",
        "float4",
        "float8",
        "numeric",
        "money",
        "uuid",
        "char",
        "name",
        "date",
    }
    | {
        "time",
        "timetz",
        "timestamp",
        "timestamptz",
        "interval",
        "inet",
        "cidr",
        "macaddr",
        "macaddr8",
        "point",
        "box",
    }
)


UNSENT = frozenset({"xml", "aclitem", "gtsvector"})


@dataclass(frozen=True)
class Column:
    """A column.

    kept_type: the system type it is kept as, "" for text; is_users: its type, under any domains, is none of the
    system's; rule: "", "excluded", "hashed" or "masked".
    """

    attnum: int
    name: str
    type: str
    kept_type: str
    long_text: bool
    sortable: bool
    is_enum: bool = False
    is_users: bool = False
    rule: str = ""

    @property
    def kept_name(self) -> str:
        """Its name in the log: the column's number, which no rename changes."""
        return f"c{self.attnum}"

    @property
    def is_open_ended(self) -> bool:
        """Can a value be of any size?"""
        return self.kept_type not in FIXED

    @property
    def is_sent_otherwise(self) -> bool:
        """Does what PostgreSQL sends of it not say all of it? XML loses its first line; some types send nothing."""
        return self.kept_type.removeprefix("_") in UNSENT

    @property
    def is_kept(self) -> bool:
        """Does the log hold anything of it?"""
        return self.rule != "excluded"


@dataclass(frozen=True)
class Described:
    """A table, as far as capture needs to know it.

    parents: those of itself and its partitions that hold no rows; foreign: the foreign tables below it;
    has_virtual: not all of its columns are among `columns`.
    """

    relid: int
    schema: str
    name: str
    kind: str
    is_partition: bool
    persistence: str
    signature: str
    columns: list[Column]
    key: list[str]
    partitions: list[tuple[str, str]] = field(default_factory=list)
    parents: list[tuple[str, str]] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    has_virtual: bool = False

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def kept(self) -> list[Column]:
        """The columns that the log holds."""
        return [column for column in self.columns if column.is_kept]

    def column(self, name: str) -> Column | None:
        """By its name."""
        return next((column for column in self.columns if column.name == name), None)


def describe(rows: Rows, schema: str, name: str, rules: dict[str, str] | None = None) -> Described | None:
    """Read a table's description; rules: column name -> excluded, hashed or masked. None: there is no such
    table."""
    found = rows(RELATION, [schema, name])
    if not found:
        return None
    table = found[0]
    columns = [
        Column(
            c.attnum,
            c.name,
            c.type,
            c.kept_type or "",
            c.long_text,
            c.sortable,
            c.is_enum,
            c.is_users,
            (rules or {}).get(c.name, ""),
        )
        for c in rows(COLUMNS, [table.relid])
    ]
    key = rows(KEY, [table.relid])
    below = rows(PARTITIONS, [table.relid]) if table.kind == "p" else []
    return Described(
        relid=table.relid,
        schema=table.schema_name,
        name=table.table_name,
        kind=table.kind,
        is_partition=table.is_partition,
        persistence=table.persistence,
        signature=table.signature or "",
        columns=columns,
        key=list(key[0].columns) if key else [],
        partitions=[(each.schema_name, each.table_name) for each in below],
        parents=[(each.schema_name, each.table_name) for each in (table, *below) if each.kind == "p"],
        foreign=[each.name for each in rows(FOREIGN, [[table.relid]])],
        has_virtual=table.has_virtual,
    )


#: Names that usually hold what no log should: offered as rules, never applied unasked.
SECRET_NAMES = (
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "ssn",
    "card_number",
    "cvv",
    "otp",
)


def suggested_rules(table: Described) -> dict[str, str]:
    """Columns whose names speak of secrets -> the rule that we suggest."""
    return {
        column.name: "masked"
        for column in table.columns
        if column.name not in table.key and any(word in column.name.lower() for word in SECRET_NAMES)
    }
