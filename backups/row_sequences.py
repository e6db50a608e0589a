"""The sequences that number a table's columns: moved behind the values that a copy brought, never back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from backups.row_places import TableName
from dbadmin.connections import named_rows

#: Those of identity columns, those that a column owns and those that its default asks; a partition may have them from
#: the table that it belongs to.
SEQUENCES = """
    with tables as (
        select pg_catalog.to_regclass(%(table)s)::oid as oid
        union select relid from pg_catalog.pg_partition_ancestors(pg_catalog.to_regclass(%(table)s))),
    givers as (
        select d.objid as sequence, d.refobjid as relation, d.refobjsubid as place from pg_catalog.pg_depend d
        where d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass
          and d.deptype in ('a', 'i')
        union
        select d.refobjid, f.adrelid, f.adnum from pg_catalog.pg_depend d
        join pg_catalog.pg_attrdef f on d.classid = 'pg_catalog.pg_attrdef'::regclass and d.objid = f.oid
        where d.refclassid = 'pg_catalog.pg_class'::regclass)
    select distinct n.nspname as schema, c.relname as name, a.attname as column,
           s.seqincrement as step, s.seqmin as least, s.seqmax as most, s.seqcycle as cycles
    from givers g
    join tables t on t.oid = g.relation
    join pg_catalog.pg_sequence s on s.seqrelid = g.sequence
    join pg_catalog.pg_class c on c.oid = s.seqrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = g.relation and a.attnum = g.place
    join pg_catalog.pg_type y on y.oid = a.atttypid
    where y.typcategory = 'N'
    order by 1, 2, 3"""

#: So many numbers are asked for one by one, within a second; further ahead it is set.
MOST_CALLS = 100_000
#: By whole steps from where it stands: sequences that share one column's numbers stay out of each other's way.
_WAY = """
    with copied as (
        select {furthest}(l.{column})::numeric as value from {rows} where l.{column} between {least} and {most})
    select q.last_value as stood, steps::int8 + (not q.is_called)::int as calls,
           q.last_value + (steps * {step})::int8 as goal
    from {sequence} q, copied cross join lateral (
        select least(pg_catalog.ceil((value - q.last_value) / {step}),
                     pg_catalog.trunc(({end} - q.last_value)::numeric / {step})) as steps) ahead
    where {step} * (value - q.last_value) > 0 or value = q.last_value and not q.is_called"""
#: Whoever asks it for numbers meanwhile gets others, and none is set back.
_ASK = "select {furthest}(pg_catalog.nextval({name})) as stands from pg_catalog.generate_series(1, {calls})"
#: It stays as it is, and nobody gets a number of it until the transaction ends.
_HOLD = "alter sequence {sequence} {cycle}"
_SET = "select pg_catalog.setval({name}, {goal}) as stands"


def move_behind(
    connection: psycopg.Connection[Any], live: TableName, columns: Sequence[str], rows: sql.Composed
) -> list[str]:
    """Let them go on behind the values of these rows, so that no insert meets one; what was moved, as sentences.

    columns: those that were copied; rows: what stands after FROM, the live table as l. Other sessions see it at once.
    """
    told: list[str] = []
    for each in named_rows(connection.execute(SEQUENCES, {"table": live.regclass})):
        if each.column not in columns:
            continue
        sequence = TableName(each.schema, each.name)
        words = {
            "furthest": sql.SQL("max" if each.step > 0 else "min"), "column": sql.Identifier(each.column), "rows": rows,
            "least": each.least, "most": each.most, "step": each.step,
            "end": each.most if each.step > 0 else each.least,
            "sequence": sequence.quoted, "name": sequence.regclass,
            "cycle": sql.SQL("cycle" if each.cycles else "no cycle"),
        }  # fmt: skip
        if moved := _move(connection, words):
            told.append(
                f"The sequence {sequence} was moved from {moved[0]} to {moved[1]}, behind the copied values of "
                f"{each.column}."
            )
    return told


def _move(connection: psycopg.Connection[Any], words: dict[str, Any]) -> tuple[int, int] | None:
    """Where it stood and where it stands; None where it had not to be moved."""

    def ask(question: LiteralString, **more: int) -> Any:
        return next(iter(named_rows(connection.execute(sql.SQL(question).format(**words, **more)))), None)

    way = ask(_WAY)
    if way is None:
        return None
    if way.calls <= MOST_CALLS:
        return way.stood, ask(_ASK, calls=way.calls).stands
    connection.execute(sql.SQL(_HOLD).format(**words))
    held = ask(_WAY)  # where it stands now that nobody moves it
    return (way.stood, ask(_SET, goal=held.goal).stands) if held else None
