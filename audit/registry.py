"""What capture has installed in a database: watched tables, the columns they had, and what is still to be
installed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import SQL, Composable, Identifier

from audit.capture import VERSION
from audit.log_tables import SCHEMA, before_name, pairs_table, rows_table
from audit.tables import Rows


@dataclass(frozen=True)
class KeptColumn:
    """A column as the log holds it."""

    attnum: int
    name: str
    type: str
    rule: str
    long_text: bool
    kept_type: str = "text"

    @property
    def kept_name(self) -> str:
        """Its name in the log."""
        return f"c{self.attnum}"


@dataclass(frozen=True)
class Shape:
    """One version of a watched table's columns. has_pairs: updates of one row lie in a table of their own."""

    id: int
    watched_id: int
    signature: str
    columns: list[KeptColumn]
    key: list[str]
    has_pairs: bool = False

    @property
    def kept(self) -> list[KeptColumn]:
        """The columns whose values are in the log."""
        return [column for column in self.columns if column.rule != "excluded"]

    @property
    def key_columns(self) -> list[KeptColumn]:
        """The key, in its order."""
        by_name = {column.name: column for column in self.kept}
        return [by_name[name] for name in self.key if name in by_name]


@dataclass
class Watched:
    """A watched table, now or once."""

    id: int
    relid: int
    schema: str
    name: str
    since: Any
    until: Any
    choices: dict[str, Any]
    shapes: list[Shape] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Installed:
    """The state of capture in one database."""

    version: int
    watched: dict[int, Watched]
    shapes: dict[int, Shape]
    server_time: Any = None

    def table(self, schema: str, name: str) -> Watched | None:
        """A table by its name: the one watched now, else the one watched last."""
        found = [w for w in self.watched.values() if (w.schema, w.name) == (schema, name)]
        return max(found, key=lambda w: (w.until is None, w.id), default=None)

    def active(self) -> list[Watched]:
        """Tables that are watched now."""
        return [w for w in self.watched.values() if w.until is None]


NOTHING = Installed(0, {}, {})


def installed_version(rows: Rows) -> int:
    """The version of the installed objects; 0: none."""
    found = rows(
        "select substring(obj_description(n.oid, 'pg_namespace') from 'version (\\d+)')::int as version"
        " from pg_catalog.pg_namespace n where n.nspname = %s",
        [SCHEMA],
    )
    return (found[0].version or 0) if found else 0


def installed(rows: Rows) -> Installed:
    """Read what is installed."""
    version = installed_version(rows)
    if not version:
        return NOTHING
    watched = {
        row.id: Watched(row.id, row.relid, row.schema_name, row.table_name, row.since, row.until, row.choices)
        for row in rows(f"select *, relid::bigint as relid from {SCHEMA}.watched order by id")  # noqa: S608
    }
    shapes: dict[int, Shape] = {}
    for row in rows(
        "select id, watched_id, signature, columns, key_columns,"
        " to_regclass('dbadmin_audit.pairs_' || id) is not null as has_pairs from dbadmin_audit.shape order by id"
    ):
        columns = [KeptColumn(**column) for column in row.columns]
        shape = Shape(row.id, row.watched_id, row.signature, columns, list(row.key_columns), row.has_pairs)
        shapes[shape.id] = shape
        watched[row.watched_id].shapes.append(shape)
    return Installed(version, watched, shapes)


def images_of(shape: Shape) -> Composable:
    """All rows before and after of a version of columns, as a table to select from: at, statement_id, n, side, c1 …"""
    if not shape.has_pairs:
        return rows_table(shape.id)
    names: list[Composable] = [Identifier(column.kept_name) for column in shape.kept]
    before: list[Composable] = [
        SQL("{} as {}").format(Identifier(before_name(column.kept_name)), Identifier(column.kept_name))
        for column in shape.kept
    ]

    def side(fixed: str, columns: list[Composable], table: Identifier) -> Composable:
        return SQL("select {} from {}").format(
            SQL(", ").join([SQL("at, statement_id"), SQL(fixed), *columns]), table
        )

    return SQL("({})").format(
        SQL(" union all ").join(
            [
                side("n, side", names, rows_table(shape.id)),
                side("1 as n, '-'::\"char\" as side", before, pairs_table(shape.id)),
                side("1 as n, '+'::\"char\" as side", names, pairs_table(shape.id)),
            ]
        )
    )


def is_current(state: Installed) -> bool:
    """Are the objects of this dbadmin's version?"""
    return state.version == VERSION


OUTDATED = """
select w.id from dbadmin_audit.watched w
join pg_catalog.pg_proc p on p.pronamespace = 'dbadmin_audit'::regnamespace and p.proname = 'capture_' || w.id
where w.until is null and coalesce(substring(p.prosrc from 'audit capture (\\d+)')::int, 1) < %s order by 1
"""


def outdated(rows: Rows, state: Installed) -> list[Watched]:
    """Watched tables whose capture function is of an older version."""
    return [state.watched[row.id] for row in rows(OUTDATED, [VERSION])] if state.version else []


#: Watched tables that a dump and a restore gave another number: their triggers came along, and their names. A former
#: partition has the triggers of its parent, and another name.
RESTORED = """
select w.id, r.oid::bigint as relid from dbadmin_audit.watched w
join pg_catalog.pg_proc p on p.pronamespace = 'dbadmin_audit'::regnamespace and p.proname = 'capture_' || w.id
join pg_catalog.pg_class r on not r.relispartition
    and (r.relnamespace::regnamespace::text, r.relname) = (quote_ident(w.schema_name), w.table_name)
    and exists (select from pg_catalog.pg_trigger t where t.tgrelid = r.oid and t.tgfoid = p.oid)
where w.until is null and not exists (select from pg_catalog.pg_class c where c.oid = w.relid) order by 1, 2
"""


def restored(rows: Rows, state: Installed) -> dict[int, Watched]:
    """The number of today -> the watched table, of those that came with a restore and were not renewed since."""
    return {row.relid: state.watched[row.id] for row in rows(RESTORED)} if state.version else {}


#: The watched tables whose functions a relation's triggers call: that says for certain which one it is. Names change,
#: and in a copy that was restored the numbers do.
HELD = """
select distinct t.tgrelid::bigint as relid, substring(p.proname from '\\d+$')::int as id from pg_catalog.pg_trigger t
join pg_catalog.pg_proc p on p.oid = t.tgfoid
join pg_catalog.pg_namespace n on n.oid = p.pronamespace and n.nspname = 'dbadmin_audit'
where t.tgrelid = any(%s::oid[]) and p.proname ~ '^capture_\\d+$' order by 1, 2
"""
NAMED = """
select n.nspname as schema, c.relname as name from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = %s
"""


#: Relation -> the numbers of the watched tables that it writes for; a former partition writes for its parent.
Held = dict[int, list[int]]


def held(rows: Rows, relids: list[int]) -> Held:
    """Of these relations, asked once for all; those without our triggers are not in it."""
    found: Held = {}
    for row in rows(HELD, [relids]):
        found.setdefault(row.relid, []).append(row.id)
    return found


def name_now(rows: Rows, known: Watched) -> tuple[str, str] | None:
    """Schema and name of a watched table as it is called now; None when it is gone."""
    if known.id not in held(rows, [known.relid]).get(known.relid, []):
        return None
    found = rows(NAMED, [known.relid])
    return (found[0].schema, found[0].name) if found else None


def known_as(
    rows: Rows, state: Installed, relid: int, schema: str, name: str, writes: Held | None = None
) -> Watched | None:
    """A table's line in the registry, whatever it was called: by its triggers, else by its name.

    writes: what held() told of many tables.
    """
    if not state.version:
        return None
    for number in (held(rows, [relid]) if writes is None else writes).get(relid, []):
        line = state.watched.get(number)
        if line and (line.relid == relid or name_now(rows, line) is None):
            return line
    named = state.table(schema, name)
    lives_on = named is not None and named.relid != relid and name_now(rows, named) is not None
    return None if lives_on else named


NEXT = """
select coalesce((select max(id) from dbadmin_audit.watched), 0) + 1 as watched,
       coalesce((select max(id) from dbadmin_audit.shape), 0) + 1 as shape
"""


def next_numbers(rows: Rows, state: Installed) -> tuple[int, int]:
    """The numbers that the next watched table and the next shape get."""
    if not state.version:
        return 1, 1
    row = rows(NEXT)[0]
    return row.watched, row.shape
