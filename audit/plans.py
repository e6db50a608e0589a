"""The steps that install capture, watch a table, renew its capture, and stop watching."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import capture, log_tables, triggers
from audit.capture import OWNER, Choices
from audit.foundations import FOLDER, is_intact
from audit.log_tables import SCHEMA
from audit.registry import Installed, Shape, Watched, held, is_current
from audit.tables import Described, Rows
from dbadmin.steps import Sql, Step, Transaction

#: How long the triggers wait for the table; writers queue behind a waiting CREATE TRIGGER.
LOCK = {"lock_timeout": "3s"}
#: Months that are made ahead.
AHEAD = 2

ABILITIES = """
select r.rolsuper as superuser, r.rolsuper or r.rolcreaterole as may_create_role,
       exists (select from pg_catalog.pg_roles o where o.rolname = 'dbadmin_audit'
               and pg_catalog.pg_has_role(current_user, o.oid, 'MEMBER')) as is_member,
       has_database_privilege(current_database(), 'CREATE') as may_create_schema,
       now()::date as today, current_setting('server_version_num')::int as version
from pg_catalog.pg_roles r where r.rolname = current_user
"""


@lru_cache
def script(name: str) -> str:
    """A file of audit/sql."""
    return (FOLDER / name).read_text().strip()


def owned(rows: Rows) -> bool:
    """Can the log have an owner of its own?"""
    able = rows(ABILITIES)[0]
    return bool(able.may_create_role or able.is_member)


def as_owner(own: bool, statements: list[Sql]) -> list[Sql]:
    """The statements, run as the owner of the log."""
    if not own:
        return statements
    return [Sql(SQL("SET LOCAL ROLE {}").format(Identifier(OWNER))), *statements, Sql("RESET ROLE")]


def install_steps(rows: Rows, state: Installed, database: str) -> list[Step]:
    """What every watched table shares; nothing when it is there in this version, and as it was installed."""
    if is_current(state) and is_intact(rows):
        return []
    own = owned(rows)
    if state.version:
        return [shared_functions(rows, own, database)]
    today = rows(ABILITIES)[0].today
    role = [Sql(script("role.sql"), says="The log belongs to a role that nobody logs in as")] if own else []
    schema = SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(SCHEMA))
    if own:
        schema = SQL("{} AUTHORIZATION {}").format(schema, Identifier(OWNER))
    parts = [Sql(statement) for parent in ("statement", "loose") for statement in months(parent, today)]
    inside = [Sql(script("install.sql")), *parts, Sql(script("functions.sql"))]
    return [
        Transaction(
            [*role, Sql(schema), *as_owner(own, inside), *events(rows)],
            database=database,
            says="Install the audit log's shared objects",
        )
    ]


def shared_functions(rows: Rows, own: bool, database: str) -> Step:
    """Those of this version in place of older or other ones, without a lock that a writer could meet."""
    names = ["functions.sql", *(["search.sql"] if log_tables.is_there(rows, "summary") else [])]
    return Transaction(
        [*as_owner(own, [Sql(script(name)) for name in names]), *events(rows)],
        database=database,
        says=f"Renew the audit log's shared functions{beyond(rows)}",
    )


EVENTS_THERE = "select to_regprocedure('dbadmin_audit.on_ddl()') is not null as are_there"


def beyond(rows: Rows) -> str:
    """What somebody who is no superuser cannot renew, where a superuser made it."""
    if rows(ABILITIES)[0].superuser or not rows(EVENTS_THERE)[0].are_there:
        return ""
    return ", but not event triggers and their functions: a superuser has to run this for them"


#: What a writer paid for in older logs, and a map that is filled behind the log answers now. The one by operation stays
#: where it is: it finds emptied tables, and another for that would have to be made while writers wait.
DROPPED = """
select relname as name from pg_catalog.pg_class where relnamespace = 'dbadmin_audit'::regnamespace and relkind = 'I'
and relname in ('statement_table', 'statement_person') order by 1
"""


def dropped_indexes(rows: Rows, database: str) -> list[Step]:
    """The end of indexes over the log that are needed no more; writers wait for milliseconds."""
    names = [Identifier(SCHEMA, row.name) for row in rows(DROPPED)]
    if not names:
        return []
    drop = SQL("DROP INDEX {}").format(SQL(", ").join(names))
    statements = as_owner(owned(rows), [Sql(drop, settings=LOCK)])
    says = "Spare writers two indexes; index_log fills the map that serves searches instead"
    return [Transaction(statements, database=database, says=says)]


def events(rows: Rows) -> list[Sql]:
    """What sees changes of definitions, where that is allowed."""
    return [Sql(script("events.sql"))] if rows(ABILITIES)[0].superuser else []


def months(parent: str, today: dt.date) -> list[Composable]:
    """The partitions of this month and the next ones."""
    first = today.replace(day=1)
    return [log_tables.create_partition(parent, log_tables.month(first, ahead)) for ahead in range(AHEAD + 1)]


def shape_columns(table: Described) -> str:
    """The columns as the registry keeps them."""
    return json.dumps(
        [
            {"attnum": c.attnum, "name": c.name, "type": c.type, "rule": c.rule,
             "long_text": c.long_text or bool(c.rule),
             "kept_type": c.kept_type if c.kept_type and not c.rule else "text"}
            for c in table.columns
        ]
    )  # fmt: skip


def choices_json(table: Described, choices: Choices) -> str:
    """The choices as the registry keeps them; rules go by column number, which no rename changes."""
    rules = {str(c.attnum): c.rule for c in table.columns if c.rule}
    return json.dumps(asdict(choices) | {"rules": rules}, sort_keys=True)


def shape_statements(
    watched_id: int, shape_id: int, table: Described, choices: Choices, today: dt.date
) -> list[Sql]:
    """A new version of columns: its log table, its months, its line in the registry, the function that fills
    it."""
    insert = SQL(
        "INSERT INTO {}.shape (id, watched_id, signature, columns, key_columns) VALUES ({}, {}, {}, {}, {})"
    ).format(
        Identifier(SCHEMA), Literal(shape_id), Literal(watched_id), Literal(table.signature),
        Literal(shape_columns(table)), Literal(table.key),
    )  # fmt: skip
    return [
        *[Sql(statement) for statement in log_tables.create_rows_table(shape_id, table)],
        *[Sql(statement) for statement in months(f"rows_{shape_id}", today)],
        *pairs_statements(shape_id, table, today),
        Sql(insert),
        *function_statements(watched_id, shape_id, table, choices),
    ]


def pairs_statements(shape_id: int, table: Described, today: dt.date) -> list[Sql]:
    """The table of a shape's updates of one row, if it has one, and its months."""
    made = log_tables.create_pairs_table(shape_id, table)
    return [Sql(statement) for statement in [*made, *(months(f"pairs_{shape_id}", today) if made else [])]]


def missing_pairs(shape: Shape, table: Described, today: dt.date) -> list[Sql]:
    """The same for a shape that an older version made."""
    return [] if shape.has_pairs else pairs_statements(shape.id, table, today)


def function_statements(watched_id: int, shape_id: int, table: Described, choices: Choices) -> list[Sql]:
    """The capture functions, which nobody may attach to a table of theirs, and their print for the watch over
    gaps."""
    names = [triggers.function_name(watched_id, row) for row in (False, True)]
    return [
        *[Sql(each) for each in capture.create_functions(watched_id, shape_id, table, choices)],
        *[Sql(SQL("REVOKE ALL ON FUNCTION {}() FROM PUBLIC").format(name)) for name in names],
        Sql(
            SQL(
                "UPDATE {}.watched SET function_hash = (SELECT md5(string_agg(prosrc, '' ORDER BY proname))"
                " FROM pg_catalog.pg_proc WHERE oid IN ({}::regproc, {}::regproc)) WHERE id = {}"
            ).format(
                Identifier(SCHEMA), *[Literal(name.as_string(None)) for name in names], Literal(watched_id)
            )
        ),
    ]


def register(watched_id: int, table: Described, choices: Choices) -> Sql:
    """A table's line in the registry; it is watched when all of its triggers are there."""
    return Sql(
        SQL(
            "INSERT INTO {}.watched (id, relid, schema_name, table_name, choices, until)"
            " VALUES ({}, {}, {}, {}, {}, now())"
        ).format(
            Identifier(SCHEMA),
            Literal(watched_id),
            Literal(table.relid),
            Literal(table.schema),
            Literal(table.name),
            Literal(choices_json(table, choices)),
        )
    )


def relations(table: Described) -> list[tuple[str, str]]:
    """The table and all of its partitions."""
    return [(table.schema, table.name), *table.partitions]


def watch_steps(
    rows: Rows, watched_id: int, shape_id: int, table: Described, choices: Choices, database: str
) -> list[Step]:
    """Watch a table: log table, function and triggers, all or nothing."""
    today = rows(ABILITIES)[0].today
    inside = [
        *of_level(choices),
        register(watched_id, table, choices),
        *shape_statements(watched_id, shape_id, table, choices, today),
    ]
    former = (
        [(table.schema, table.name)] if held(rows, [table.relid]) else []
    )  # it was a partition of a watched table
    made = [
        *[Sql(each, settings=LOCK) for each in triggers.drop_triggers(former)],
        *trigger_statements(watched_id, table, relations(table), relations(table), choices.level),
    ]
    begun = SQL("UPDATE {}.watched SET until = NULL WHERE id = {}").format(
        Identifier(SCHEMA), Literal(watched_id)
    )
    return [
        Transaction(
            [*as_owner(owned(rows), inside), *made, *as_owner(owned(rows), [Sql(begun)])],
            database=database,
            reverse="The operation “Stop watching table”. The log stays.",
            says=f"Watch {table}: every change is recorded in the transaction that makes it",
        )
    ]


def renew_steps(
    rows: Rows, known: Watched, shape_id: int, table: Described, choices: Choices, database: str
) -> list[Step]:
    """A table that is watched, watched anew: with its columns of today, and the triggers that it lacks."""
    return [
        renewal(rows, known, shape_id, table, choices, database),
        *late_triggers(rows, known, table, choices.level, database),
    ]


def renewal(
    rows: Rows, known: Watched, shape_id: int, table: Described, choices: Choices, database: str
) -> Step:
    """The table was altered, or its choices were: a new version of its columns and a new function. Writers
    do not wait."""
    today = rows(ABILITIES)[0].today
    same = next(
        (s for s in known.shapes if s.signature == table.signature and rules_of(s) == rules(table)), None
    )
    inside = (
        [*missing_pairs(same, table, today), *function_statements(known.id, same.id, table, choices)]
        if same
        else shape_statements(known.id, shape_id, table, choices, today)
    )
    update = SQL(
        "UPDATE {}.watched SET relid = {}, schema_name = {}, table_name = {}, choices = {}, until ="
        " NULL WHERE id = {}"
    ).format(
        Identifier(SCHEMA), Literal(table.relid), Literal(table.schema), Literal(table.name),
        Literal(choices_json(table, choices)), Literal(known.id),
    )  # fmt: skip
    statements = as_owner(owned(rows), [*of_level(choices), *inside, Sql(update)])
    return Transaction(statements, database=database, says=f"Renew the capture of {table}")


def of_level(choices: Choices) -> list[Sql]:
    """What triggers for rows write to."""
    return [Sql(log_tables.create_fresh())] if choices.level == "row" else []


def upgrade_steps(
    rows: Rows, known: Watched, shape_id: int, table: Described, choices: Choices, database: str
) -> list[Step]:
    """The function of a watched table by this version; nothing else, if the table still looks as it did."""
    last = known.shapes[-1] if known.shapes else None
    if last is None or last.signature != table.signature or rules_of(last) != rules(table):
        return [renewal(rows, known, shape_id, table, choices, database)]
    today = rows(ABILITIES)[0].today
    inside = [*missing_pairs(last, table, today), *function_statements(known.id, last.id, table, choices)]
    statements = as_owner(owned(rows), inside)
    says = f"Renew the capture functions of {known}; nobody waits"
    return [Transaction(statements, database=database, says=says)]


def late_triggers(rows: Rows, known: Watched, table: Described, level: str, database: str) -> list[Step]:
    """The triggers that an older version did not make, or not of this level; their writers wait for them."""
    lacking = missing_triggers(rows, known.id, table, level)
    return [Transaction(lacking, database=database, says=f"Add to {known} what it lacks")] if lacking else []


def rules(table: Described) -> dict[str, str]:
    """Column -> rule."""
    return {column.name: column.rule for column in table.columns if column.rule}


def rules_of(shape: object) -> dict[str, str]:
    """The same of a shape in the registry."""
    return {column.name: column.rule for column in shape.columns if column.rule}  # type: ignore[attr-defined]


def trigger_statements(
    watched_id: int,
    table: Described,
    bare: list[tuple[str, str]],
    bare_for_replicas: list[tuple[str, str]],
    level: str,
) -> list[Sql]:
    """The triggers of these relations of a table: the usual ones, and those for what fires no usual one."""
    holders = [relation for relation in relations(table) if relation not in table.parents]
    made = [
        *triggers.create_triggers(watched_id, bare, level),
        *triggers.create_replica_triggers(watched_id, bare_for_replicas, holders),
    ]
    return [Sql(each, settings=LOCK) for each in made]


def missing_triggers(rows: Rows, watched_id: int, table: Described, level: str) -> list[Sql]:
    """Those that a watched table lacks: of partitions that came since, of an older version, of the level that was
    chosen now, or in whose place somebody put others."""

    def fitting(name: str) -> str:
        """The level of a trigger: what empties a table has no rows, replicated changes no statement."""
        return "row" if name == triggers.REPLICA else "statement" if "truncate" in name else level

    there = {
        relation: {name: known == fitting(name) for name, known in found.items()}
        for relation, found in triggers_there(rows).items()
    }

    def lacking(relation: tuple[str, str], names: Iterable[str]) -> bool:
        return not all(there.get(relation, {}).get(name) for name in names)

    usual, for_replicas = list(triggers.TRIGGERS.values()), [triggers.REPLICA_TRUNCATE, triggers.REPLICA]
    bare = [one for one in relations(table) if lacking(one, usual)]
    bare_for_replicas = [
        one for one in relations(table) if lacking(one, for_replicas[: 1 if one in table.parents else 2])
    ]
    others = [
        drop
        for named, names in ((bare, usual), (bare_for_replicas, for_replicas))
        for one in named
        for drop in triggers.drop_triggers([one], [name for name in names if name in there.get(one, {})])
    ]
    return [
        *[Sql(each, settings=LOCK) for each in others],
        *trigger_statements(watched_id, table, bare, bare_for_replicas, level),
    ]


#: All triggers of our names.
THERE = f"""
select n.nspname as schema_name, c.relname as table_name, t.tgname as name, {triggers.AS_MADE} as is_as_made,
       case when t.tgtype & 1 = 1 then 'row' else 'statement' end as level
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where starts_with(t.tgname::text, 'dbadmin_audit_')
"""  # noqa: S608 - a constant of ours


def triggers_there(rows: Rows) -> dict[tuple[str, str], dict[str, str]]:
    """Relation -> its triggers of our names, and the level of each; none of one that is not as it was made."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows(THERE):
        found.setdefault((row.schema_name, row.table_name), {})[row.name] = row.is_as_made and row.level
    return found


def unwatch_steps(
    rows: Rows, known: Watched, table: Described | None, database: str, reverse: str
) -> list[Step]:
    """Stop watching; the log and its registry stay."""
    drops = triggers.drop_triggers(relations(table)) if table else []
    ended = SQL("UPDATE {}.watched SET until = now() WHERE id = {}").format(
        Identifier(SCHEMA), Literal(known.id)
    )
    functions = [
        Sql(SQL("DROP FUNCTION IF EXISTS {}()").format(triggers.function_name(known.id, row)))
        for row in (False, True)
    ]
    return [
        Transaction(
            [
                *[Sql(drop, settings=LOCK) for drop in drops],
                *as_owner(owned(rows), [Sql(ended), *functions]),
            ],
            database=database,
            reverse=reverse,
            says=f"Stop watching {known}; what was recorded stays",
        )
    ]
