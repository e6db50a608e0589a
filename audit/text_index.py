"""Indexes over the texts of whole months: a month that is over gets no rows any more, so no writer pays for them."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Identifier

from audit.log_tables import SCHEMA, before_name, month
from audit.registry import Installed, Shape
from audit.tables import Rows

EXTENSION = """
select (select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
        where e.extname = 'pg_trgm') as schema_name,
       exists (select from pg_catalog.pg_available_extensions where name = 'pg_trgm') as is_available
"""
# Closed months' partitions without their index. Types whose text depends on no setting stand as they are.
LEAVES = """
select c.relname as name, c.relpages::bigint * current_setting('block_size')::bigint as size_bytes
from pg_catalog.pg_class c
where c.relnamespace = 'dbadmin_audit'::regnamespace and c.relispartition and c.relkind = 'r'
  and not exists (select from pg_catalog.pg_class x join pg_catalog.pg_index i on i.indexrelid = x.oid and i.indisvalid
                  where x.relnamespace = c.relnamespace and x.relname = c.relname || '_text')
order by c.relname desc
"""
PLAIN_TYPES = """
select t.typname as name from pg_catalog.pg_type t join pg_catalog.pg_proc p on p.oid = t.typoutput
where t.typnamespace = 'pg_catalog'::regnamespace and p.provolatile = 'i' and t.typtype = 'b' and t.typelem = 0
  and t.typname not in ('bytea', 'float4', 'float8', 'interval', 'time', 'timetz', 'money', 'xml')
"""
MONTH = re.compile(r"^(statement|loose|(?:rows|pairs)_(\d+))_(\d{4})_(\d{2})$")
#: Columns that one index takes in; a table with more is searched row by row.
MOST_COLUMNS = 200
#: The text of a statement itself, and which have any.
NOTE = (
    SQL("coalesce(note, '') || E'\\n' || coalesce(query, '')"),
    SQL("(note IS NOT NULL OR query IS NOT NULL)"),
)
#: The text of a row that was kept whole.
LOOSE = SQL("{}.values_text(image)").format(Identifier(SCHEMA))


@dataclass(frozen=True)
class Extension:
    """pg_trgm: the schema it lies in, or whether it could be created."""

    schema: str
    is_available: bool


def extension(rows: Rows) -> Extension:
    """Is it there?"""
    row = rows(EXTENSION)[0]
    return Extension(row.schema_name or "", row.is_available)


def closed_leaves(rows: Rows, today: dt.date) -> list[str]:
    """Partitions of months that are over, which lack their index, newest first; without any row they need none."""
    first = today.replace(day=1)
    found = []
    for row in rows(LEAVES):
        known = MONTH.match(row.name)
        if known and month(dt.date(int(known[3]), int(known[4]), 1), 1) <= first:
            query = SQL("select exists (select from {}) as found").format(Identifier(SCHEMA, row.name))
            if rows(query)[0].found:
                found.append(row.name)
    return sorted(found, key=lambda name: name[-7:], reverse=True)


def expression(state: Installed, leaf: str, plain: set[str]) -> tuple[Composable, Composable] | None:
    """What is indexed of a partition, and of which of its rows; None: nothing can be."""
    known = MONTH.match(leaf)
    if known is None:
        return None
    if leaf.startswith("statement"):
        text, which = NOTE
        return text, SQL(" WHERE ") + which
    if leaf.startswith("loose"):
        return LOOSE, SQL("")
    shape = state.shapes.get(int(known[2]))
    if shape is None or not shape.kept or len(shape.kept) > MOST_COLUMNS:
        return None
    return row_text(shape, plain, has_before=leaf.startswith("pairs")), SQL("")


def row_text(shape: Shape, plain: set[str], has_before: bool) -> Composable:
    """The values of a row, one on each line; has_before: those before the update stand beside them."""
    parts: list[Composable] = []
    named = [(column, column.kept_name) for column in shape.kept]
    if has_before:
        named += [(column, before_name(column.kept_name)) for column in shape.kept]
    for column, kept_name in named:
        name = Identifier(kept_name)
        if column.kept_type in plain:
            text: Composable = SQL("{}::text").format(name)
        else:
            text = SQL("{}.exact_text({})").format(Identifier(SCHEMA), name)
        parts.append(SQL("coalesce({}, '')").format(text))
    return SQL(" || E'\\n' || ").join(parts)


def create_index(leaf: str, text: Composable, condition: Composable, schema: str) -> Composable:
    """The index of one partition. No writer comes here any more, so the lock that it takes holds nobody up."""
    return SQL("CREATE INDEX {} ON {} USING gin (({}) {}.gin_trgm_ops){}").format(
        Identifier(f"{leaf}_text"), Identifier(SCHEMA, leaf), text, Identifier(schema), condition
    )


def drop_broken(leaf: str) -> Composable:
    """An index of this name that is not valid, if there is one."""
    return SQL("DROP INDEX IF EXISTS {}").format(Identifier(SCHEMA, f"{leaf}_text"))
