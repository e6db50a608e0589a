"""A partition that makes nobody wait: an empty table like its parent, then attached."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from dbadmin.operations import Refused
from dbadmin.steps import Sql, Step, Transaction
from maintenance.partitioned_index import Attach
from maintenance.ranges import Range, at_midnight
from maintenance.relations import ATTEMPTS, SHORT_LOCK

if TYPE_CHECKING:
    from dbadmin.models import Server
    from dbadmin.work import Work

DIVIDED = """
select detail.partstrat as strategy, detail.partnatts as keys, key.attname as key,
    pg_catalog.format_type(key.atttypid, null) as type,
    space.nspname as schema, table_.relname as table, owner.rolname as owner, current_user as role,
    pg_catalog.has_schema_privilege(space.oid, 'create') as may_create,
    pg_catalog.current_setting('server_version_num')::int / 10000 as major,
    (select reset_val from pg_catalog.pg_settings where name = 'TimeZone') as zone,
    default_space.nspname as default_schema, fallback.relname as default_name,
    (select coalesce(sum(pg_catalog.pg_relation_size(part.relid)), 0)::int8
     from pg_catalog.pg_partition_tree(nullif(detail.partdefid, 0)) part) as default_bytes,
    (select pg_catalog.string_agg(distinct pg_catalog.format('%%I.%%I', there.nspname, other.relname), ', ')
     from pg_catalog.pg_constraint rule
     join pg_catalog.pg_class other on other.oid = rule.confrelid and not other.relispartition
     join pg_catalog.pg_namespace there on there.oid = other.relnamespace
     where rule.conrelid = detail.partrelid and rule.contype = 'f') as referenced
from pg_catalog.pg_partitioned_table detail
join pg_catalog.pg_class table_ on table_.oid = detail.partrelid
join pg_catalog.pg_namespace space on space.oid = table_.relnamespace
join pg_catalog.pg_roles owner on owner.oid = table_.relowner
left join pg_catalog.pg_attribute key on key.attrelid = detail.partrelid and key.attnum = detail.partattrs[0]
    and key.attnum > 0
left join pg_catalog.pg_class fallback on fallback.oid = detail.partdefid and detail.partdefid <> 0
left join pg_catalog.pg_namespace default_space on default_space.oid = fallback.relnamespace
where detail.partrelid = %s
"""
#: An end that is open, infinite, or beyond what a calendar here knows is null.
RANGES = """
select part.relname as name, part.relkind as kind, part.relpersistence as persistence, part.reloptions as options,
    tablespace.spcname as tablespace, method.amname as method, pg_catalog.now() at time zone %(zone)s as now,
    case when said.starts between '0001-01-01' and '9000-01-01' then said.starts end as starts,
    case when said.ends between '0001-01-01' and '9000-01-01' then said.ends end as ends,
    (select pg_catalog.jsonb_agg(jsonb_build_array(one.role, one.privileges, one.is_grantable)
        order by one.role, one.is_grantable)
     from (select taker.rolname as role, given.is_grantable,
             pg_catalog.string_agg(given.privilege_type, ', ' order by given.privilege_type) as privileges
           from pg_catalog.aclexplode(part.relacl) given
           left join pg_catalog.pg_roles taker on taker.oid = given.grantee
           where given.grantee <> part.relowner
           group by taker.rolname, given.is_grantable) one) as grants
from pg_catalog.pg_inherits link
join pg_catalog.pg_class part on part.oid = link.inhrelid
left join pg_catalog.pg_tablespace tablespace on tablespace.oid = part.reltablespace
left join pg_catalog.pg_am method on method.oid = part.relam
cross join lateral (select pg_catalog.pg_get_expr(part.relpartbound, 0) as bound) told
cross join lateral (select
    case when %(zoned)s then substring(told.bound from 'FROM \\(''([^'']+)''')::timestamptz at time zone %(zone)s
        else substring(told.bound from 'FROM \\(''([^'']+)''')::timestamp end as starts,
    case when %(zoned)s then substring(told.bound from ' TO \\(''([^'']+)''')::timestamptz at time zone %(zone)s
        else substring(told.bound from ' TO \\(''([^'']+)''')::timestamp end as ends) said
where link.inhparent = %(oid)s and told.bound <> 'DEFAULT'
order by said.ends, part.relname
"""
ZONED = "timestamp with time zone"
TYPES = {"date", "timestamp without time zone", ZONED}


@dataclass(frozen=True)
class Partitioned:
    """A table divided by time: its key, its ranges, and what the last partition is like."""

    server: Server
    database: str
    divided: Any
    ranges: Sequence[Range]
    last: Any
    now: dt.datetime
    zone: str

    @property
    def parent(self) -> sql.Identifier:
        """The table's name, quoted."""
        return sql.Identifier(self.divided.schema, self.divided.table)

    @property
    def default(self) -> str:
        """The default partition's name, "" when there is none."""
        name = self.divided.default_name
        return f"{self.divided.default_schema}.{name}" if name else ""

    @property
    def default_bytes(self) -> int:
        """How large that is."""
        return int(self.divided.default_bytes or 0)

    def literal(self, moment: dt.datetime) -> str:
        """An end as the key's type reads it, with its zone where that matters."""
        if self.divided.type == "date":
            return f"{moment:%Y-%m-%d}"
        text = moment.isoformat(" ")
        if self.divided.type != ZONED:
            return text
        return f"{text}+00" if self.zone == "UTC" else f"{text} {self.zone}"


def look_at(server: Server, found: Any, name: str, database: str | None) -> Partitioned:
    """Everything about a partitioned table; raises Refused where its next partition cannot be told."""
    divided = server.row(DIVIDED, [found.oid], database)
    refuse_strange(divided, name)
    zoned = divided.type == ZONED
    for zone in dict.fromkeys([divided.zone, "UTC"]):
        rows = server.rows(RANGES, {"oid": found.oid, "zoned": zoned, "zone": zone}, database)
        known = [Range(row.starts, row.ends, row.name) for row in rows]
        if at_midnight(known) or not zoned:
            break
    if any(row.kind == "p" for row in rows):
        raise Refused(
            f"The partitions of {name} have partitions of their own: create the next one by hand, with all below it.",
            "table",
        )
    last = next((row for row in reversed(rows) if row.kind == "r" and row.starts and row.ends), None)
    now = rows[0].now if rows else dt.datetime.now(dt.UTC).replace(tzinfo=None)
    return Partitioned(server, database or "", divided, known, last, now, zone)


def refuse_strange(divided: Any, name: str) -> None:
    """What is divided otherwise than by one column of dates or times."""
    otherwise = {
        "h": f"{name} is divided by hash: every row has a place in one of the partitions there are.",
        "l": f"{name} is divided by a list of values: which value comes next, nobody can tell. Create it by hand.",
    }.get(divided.strategy, "")
    if not otherwise and divided.keys > 1:
        otherwise = f"{name} is divided by {divided.keys} columns: create the next partition by hand."
    if not otherwise and divided.key is None:
        otherwise = f"{name} is divided by an expression: create the next partition by hand."
    if not otherwise and divided.type not in TYPES:
        otherwise = f"{name} is divided by {divided.key}, which is {divided.type} and no time: create the next by hand."
    if otherwise:
        raise Refused(otherwise, "table")
    if not divided.may_create:
        remedy = sql.SQL("GRANT CREATE ON SCHEMA {} TO {};").format(
            sql.Identifier(divided.schema), sql.Identifier(divided.role)
        )
        raise Refused(
            f"The role {divided.role} may create nothing in the schema {divided.schema}."
            f" Remedy: {remedy.as_string(None)}"
        )


def within(found: Partitioned, starts: dt.datetime, ends: dt.datetime) -> sql.Composed:
    """The condition that a row belongs to a range."""
    return sql.SQL("({key} >= {low} and {key} < {high})").format(
        key=sql.Identifier(found.divided.key),
        low=sql.Literal(found.literal(starts)),
        high=sql.Literal(found.literal(ends)),
    )


def strays(found: Partitioned, pieces: Sequence[tuple[dt.datetime, dt.datetime]]) -> int:
    """How many rows of these ranges lie in the default partition."""
    query = sql.SQL("select count(*) from {} where {}").format(
        sql.Identifier(found.divided.default_schema, found.divided.default_name),
        sql.SQL(" or ").join(within(found, *piece) for piece in pieces),
    )
    try:
        return int(found.server.value(query, None, found.database or None))
    except psycopg.errors.QueryCanceled as error:
        raise Refused(
            f"Whether the default partition {found.default} holds rows of the new ones could not be seen in time:"
            f" it is large. An index on {found.divided.key} there makes it quick.",
            "table",
        ) from error


@dataclass(frozen=True)
class NewTable(Transaction):
    """An empty table that is no partition yet, known before it can exist."""

    schema: str = ""
    table: str = ""

    def run(self, work: Work) -> None:
        """Remember it, then make it."""
        one = {"schema": self.schema, "table": self.table, "database": self.database or None}
        work.remember(tables=[*work.facts.get("tables", []), one])
        super().run(work)


def steps(found: Partitioned, name: str, starts: str, ends: str) -> list[Step]:
    """Make the table as the last partition is, then attach it."""
    table = sql.Identifier(found.divided.schema, name)
    making = [Sql(create(found, table)), *(Sql(grant) for grant in grants(found, table))]
    if found.divided.owner != found.divided.role:
        owner = sql.SQL("ALTER TABLE {} OWNER TO {}").format(table, sql.Identifier(found.divided.owner))
        making.append(Sql(owner))
    attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
        found.parent, table, sql.Literal(starts), sql.Literal(ends)
    )
    return [
        NewTable(making, database=found.database, schema=found.divided.schema, table=name),
        Sql(attach, database=found.database, says=waiting(found), settings=SHORT_LOCK, attempts=ATTEMPTS),
    ]


def waiting(found: Partitioned) -> str:
    """A foreign key of the new partition needs a trigger on the table that it refers to."""
    if not found.divided.referenced:
        return ""
    return f"Who writes to {found.divided.referenced} waits meanwhile, {SHORT_LOCK['lock_timeout']} at most each time"


def last(step: Step, sentence: str) -> Step:
    """The last attachment, which says what was done."""
    if not isinstance(step, Sql):
        raise TypeError("the last step attaches")
    return Attach(
        step.statement,
        database=step.database,
        says=step.says,
        settings=step.settings,
        attempts=step.attempts,
        says_at_end=sentence,
    )


def create(found: Partitioned, table: sql.Identifier) -> sql.Composed:
    """CREATE TABLE (LIKE the parent), stored as the last partition is; indexes, keys and triggers come by attaching."""
    like = [
        "DEFAULTS",
        "CONSTRAINTS",
        "GENERATED",
        "STORAGE",
        *(["COMPRESSION"] if found.divided.major >= 14 else []),
    ]
    parts = [
        sql.SQL("CREATE {}TABLE {} (LIKE {} {})").format(
            sql.SQL("UNLOGGED " if found.last and found.last.persistence == "u" else ""),
            table,
            found.parent,
            sql.SQL(" ".join(f"INCLUDING {word}" for word in like)),
        )
    ]
    if found.last and found.last.method not in (None, "heap"):
        parts.append(sql.SQL("USING {}").format(sql.Identifier(found.last.method)))
    if found.last and found.last.options:
        options = [option.partition("=") for option in found.last.options]
        told = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.SQL(key), sql.Literal(value)) for key, _, value in options
        )
        parts.append(sql.SQL("WITH ({})").format(told))
    if found.last and found.last.tablespace:
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(found.last.tablespace)))
    return sql.SQL(" ").join(parts)


def grants(found: Partitioned, table: sql.Identifier) -> list[sql.Composed]:
    """The last partition may be read by some directly: they may read the next one too."""
    return [
        sql.SQL("GRANT {} ON {} TO {}{}").format(
            sql.SQL(privileges),
            table,
            sql.Identifier(role) if role else sql.SQL("PUBLIC"),
            sql.SQL(" WITH GRANT OPTION" if grantable else ""),
        )
        for role, privileges, grantable in (found.last.grants if found.last else None) or []
    ]


def remove_unattached(work: Work) -> None:
    """After a run that did not end well: the tables that are no partition and hold nothing go."""
    for one in work.facts.get("tables", []):
        name = sql.Identifier(one["schema"], one["table"])
        full = f"{one['schema']}.{one['table']}"
        with work.connect(one["database"]) as connection, connection.transaction():
            connection.execute("select pg_catalog.set_config('lock_timeout', '5s', true)")
            row = connection.execute(
                "select relispartition from pg_catalog.pg_class where oid = to_regclass(%s)",
                [name.as_string(None)],
            ).fetchone()
            if row is None or row[0]:
                continue
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))
            (is_filled,) = connection.execute(
                sql.SQL("select exists (select from {})").format(name)
            ).fetchone() or (1,)
            if is_filled:
                work.log(f"The table {full} is no partition yet, but somebody filled it: it stays.")
                continue
            connection.execute(sql.SQL("DROP TABLE {}").format(name))
        work.log(f"Dropped the table {full}, which was not attached yet.")
