"""The SQL that watches a table: its typed log table, its capture function, its triggers."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from audit.tables import Column, Described

SCHEMA = "dbadmin_audit"
OWNER = "dbadmin_audit"
VERSION = 3
TRIGGERS = {
    operation: f"dbadmin_audit_{operation.lower()}"
    for operation in ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
}
TRANSITION = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows ",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ",
    "DELETE": "REFERENCING OLD TABLE AS old_rows ",
    "TRUNCATE": "",
}
#: They fire where the others do not: in sessions with session_replication_role = replica, and in what logical
#: replication applies, which fires no statement trigger at all.
REPLICA, REPLICA_TRUNCATE = "dbadmin_audit_replica", "dbadmin_audit_replica_truncate"


@dataclass(frozen=True)
class Choices:
    """What was chosen for one table.

    query_text: keep the statement's text; skip_unchanged: leave updates out that changed nothing;
        on_failure: "fail" lets the
    application's write fail when it cannot be recorded, "continue" lets it pass and records a gap;
    user_setting: the session setting that carries the application's user.
    """

    query_text: bool = False
    skip_unchanged: bool = True
    on_failure: str = "fail"
    user_setting: str = "app.current_user_id"


def rows_table(shape_id: int) -> Identifier:
    """The typed log table of one shape."""
    return Identifier(SCHEMA, f"rows_{shape_id}")


def kept_type(column: Column) -> Composable:
    """The type that a column is kept in."""
    return Identifier("pg_catalog", column.kept_type if column.kept_type and not column.rule else "text")


def create_rows_table(shape_id: int, table: Described) -> list[Composable]:
    """The typed log table of a shape, its catch-all partition and its two indexes."""
    name = rows_table(shape_id)
    columns = [SQL("{} {}").format(Identifier(c.kept_name), kept_type(c)) for c in table.kept]
    fixed = SQL(
        'at timestamptz NOT NULL, statement_id bigint NOT NULL, n integer NOT NULL, side "char" NOT NULL'
    )
    statements: list[Composable] = [
        SQL("CREATE TABLE {} ({}) PARTITION BY RANGE (at)").format(name, SQL(", ").join([fixed, *columns])),
        SQL("CREATE TABLE {} PARTITION OF {} DEFAULT").format(
            Identifier(SCHEMA, f"rows_{shape_id}_default"), name
        ),
        SQL("CREATE INDEX {} ON {} (statement_id, (n >> 8))").format(
            Identifier(f"rows_{shape_id}_statement"), name
        ),
    ]
    key = [key_index_part(column) for column in key_columns(table)]
    if key:
        parts = SQL(", ").join([*key, SQL("statement_id")])
        index = SQL("CREATE INDEX {} ON {} ({}) WHERE side <> '-'")
        statements.append(index.format(Identifier(f"rows_{shape_id}_key"), name, parts))
    return statements


def key_columns(table: Described) -> list[Column]:
    """The key's columns that an index can hold."""
    columns = [table.column(name) for name in table.key]
    return [c for c in columns if c is not None and c.is_kept and (c.sortable or not c.kept_type)]


def key_index_part(column: Column) -> Composable:
    """A long text could be more than an index entry takes, and would then fail the application's write: its
    start serves."""
    kept = Identifier(column.kept_name)
    return SQL('(left({}::text, 100) COLLATE "C")').format(kept) if column.long_text or column.rule else kept


def text_of(source: Composable, is_users: bool) -> Composable:
    """A value as the log keeps it.

    Of a type that users made by the type's own output: a cast of theirs would run as whoever asks, here as the log's
    owner. A composite is null only as a whole, which IS NOT NULL does not ask.
    """
    if not is_users:
        return SQL("{}::text").format(source)
    return SQL("CASE WHEN {0} IS DISTINCT FROM NULL THEN pg_catalog.concat({0}) END").format(source)


def as_text(column: Column, row: str) -> Composable:
    """A column's value as text."""
    return text_of(Identifier(row, column.name), column.is_users)


def value(column: Column, row: str) -> Composable:
    """The expression that reads a column from a transition table, under its rule."""
    if column.rule:
        text = as_text(column, row)
        return SQL("dbadmin_audit.digest({}, {}, salt, number)").format(Literal(column.rule), text)
    return Identifier(row, column.name) if column.kept_type else as_text(column, row)


def comparable(column: Column, row: str) -> Composable:
    """What two values of a key are compared by: the operators of a user's type could be reached by a cast of theirs."""
    return as_text(column, row) if column.is_users else Identifier(row, column.name)


#: The place of a row in its statement.
NUMBERED = SQL("row_number() OVER ()")


def images(
    table: Described,
    row: str,
    side: Composable,
    source: Composable,
    n: Composable = NUMBERED,
) -> Composable:
    """SELECT of one side of a statement: the rows before, or the rows after."""
    values = [value(column, row) for column in table.kept]
    head = SQL("SELECT moment, number, {}, {}").format(n, side)
    return SQL("{} FROM {}").format(SQL(", ").join([head, *values]), source)


OLD, NEW = SQL("old_rows o"), SQL("new_rows n")
#: What a row of the log is: before and after an update, deleted, or before an update that changed keys.
BEFORE, AFTER, DELETED, REKEYED = (SQL(f"'{side}'::\"char\"") for side in "-+xo")


def one_update(table: Described, choices: Choices) -> Composable:
    """An update of one row, the usual case: no numbering, and nothing at all when nothing changed."""
    both = SQL("old_rows o, new_rows n")
    if choices.skip_unchanged:
        both = SQL("old_rows o, new_rows n WHERE (o.*) *<> (n.*)")
    keys = [
        SQL("{} IS NOT DISTINCT FROM {}").format(comparable(column, "o"), comparable(column, "n"))
        for column in comparable_key(table)
    ]
    same = (
        SQL("CASE WHEN {} THEN {} ELSE {} END").format(SQL(" AND ").join(keys), BEFORE, REKEYED)
        if keys
        else BEFORE
    )
    before = images(table, "o", same, both, SQL("1"))
    return SQL("{}\n                UNION ALL {}").format(before, images(table, "n", AFTER, both, SQL("1")))


def many_updates(table: Described) -> Composable:
    """An update of many rows. Rows before it are found by key only if the keys as a whole changed: it costs
    the least."""
    keys = comparable_key(table)
    side: Composable = BEFORE
    if keys:
        sums = [key_sum(keys, "o", OLD), key_sum(keys, "n", NEW)]
        side = SQL("CASE WHEN {} THEN {} ELSE {} END").format(SQL(" = ").join(sums), BEFORE, REKEYED)
    before = images(table, "o", side, OLD)
    return SQL("{}\n                UNION ALL {}").format(before, images(table, "n", AFTER, NEW))


def comparable_key(table: Described) -> list[Column]:
    """The key, if all of its columns can be looked up."""
    keys = key_columns(table)
    return keys if len(keys) == len(table.key) else []


def key_sum(keys: list[Column], row: str, source: Composable) -> Composable:
    """A number that two sets of keys share only if they are the same set."""
    hashes = SQL(" # ").join([key_hash(column, row, place) for place, column in enumerate(keys)])
    return SQL("(SELECT sum({}) FROM {})").format(hashes, source)


def key_hash(column: Column, row: str, place: int) -> Composable:
    """A number for one column of a key; the place goes in, so that two columns do not cancel each other out."""
    source = Identifier(row, column.name)
    if column.kept_type in {"int2", "int4", "int8"}:
        return SQL("hashint8extended({}, {})").format(source, Literal(place))
    if column.kept_type == "uuid":
        return SQL("uuid_hash_extended({}, {})").format(source, Literal(place))
    return SQL("hashtextextended({}, {})").format(as_text(column, row), Literal(place))


def branches(insert: Composable, update: Composable, delete: Composable, into: Composable) -> Composable:
    """IF on the operation, one INSERT in each branch."""
    return SQL(
        "IF TG_OP = 'UPDATE' THEN\n            {update}\n"
        "        ELSIF TG_OP = 'INSERT' THEN\n            {into}\n            {insert};\n"
        "            GET DIAGNOSTICS written = ROW_COUNT;\n"
        "        ELSE\n            {into}\n            {delete};\n"
        "            GET DIAGNOSTICS written = ROW_COUNT;\n        END IF;"
    ).format(into=into, insert=insert, update=update, delete=delete)


def typed_branches(table: Described, choices: Choices, into: Composable) -> Composable:
    """What is written for a table that still looks as it did when the function was made."""
    update = SQL(
        "IF EXISTS (SELECT FROM old_rows OFFSET 1) THEN\n                {into}\n                {many};\n"
        "                GET DIAGNOSTICS written = ROW_COUNT;\n"
        "            ELSE\n                {into}\n                {one};\n"
        "                GET DIAGNOSTICS written = ROW_COUNT;\n"
        # A row that left for another partition, whose trigger kept it back.
        "                IF written = 0 AND EXISTS (SELECT FROM old_rows)\n"
        "                    AND NOT EXISTS (SELECT FROM new_rows) THEN\n"
        "                    {into}\n                    {many};\n"
        "                    GET DIAGNOSTICS written = ROW_COUNT;\n                END IF;\n"
        "            END IF;"
    ).format(into=into, many=many_updates(table), one=one_update(table, choices))
    return branches(images(table, "n", AFTER, NEW), update, images(table, "o", DELETED, OLD), into)


#: The row of a row trigger under the names of a statement's rows.
ONE_OLD, ONE_NEW = SQL("old_rows AS (SELECT OLD.*)"), SQL("new_rows AS (SELECT NEW.*)")


def row_branches(table: Described, choices: Choices, into: Composable) -> Composable:
    """The same for a trigger that fires for each row."""
    return SQL(
        "IF TG_OP = 'UPDATE' THEN\n            WITH {old}, {new}\n            {into}\n            {update};\n"
        "        ELSIF TG_OP = 'INSERT' THEN\n            WITH {new}\n            {into}\n            {insert};\n"
        "        ELSE\n            WITH {old}\n            {into}\n            {delete};\n        END IF;\n"
        "        GET DIAGNOSTICS written = ROW_COUNT;"
    ).format(
        old=ONE_OLD, new=ONE_NEW, into=into, update=one_update(table, choices),
        insert=images(table, "n", AFTER, NEW), delete=images(table, "o", DELETED, OLD),
    )  # fmt: skip


#: How rows are kept whole: those of a statement, and that of a row trigger.
LOOSE = """EXECUTE dbadmin_audit.loose_types(TG_RELID, TG_OP) INTO types;
        EXECUTE dbadmin_audit.loose_insert(TG_RELID, TG_OP, types) USING moment, number, {watched};
        GET DIAGNOSTICS written = ROW_COUNT;"""
LOOSE_ROW = (
    "IF TG_OP = 'UPDATE' THEN"
    + "".join(
        f"""{otherwise}
            EXECUTE '{source}' || dbadmin_audit.loose_types(TG_RELID, TG_OP) INTO types
                USING moment, number, {{watched}}, {rows};
            EXECUTE '{source}' || dbadmin_audit.loose_insert(TG_RELID, TG_OP, types)
                USING moment, number, {{watched}}, {rows};"""
        for otherwise, source, rows in (
            ("", "WITH old_rows AS (SELECT ($4).*), new_rows AS (SELECT ($5).*) ", "OLD, NEW"),
            ("\n        ELSIF TG_OP = 'INSERT' THEN", "WITH new_rows AS (SELECT ($4).*) ", "NEW"),
            ("\n        ELSE", "WITH old_rows AS (SELECT ($4).*) ", "OLD"),
        )
    )
    + "\n        END IF;\n        GET DIAGNOSTICS written = ROW_COUNT;"
)

#: A column may bear the name of a variable: ours is always written with its row.
BODY = """
-- dbadmin audit capture {version}
#variable_conflict use_variable
DECLARE
    moment timestamptz := clock_timestamp();
    number bigint := nextval('dbadmin_audit.statement_id');
    version integer := {shape};
    written bigint := 0;
    types oid[];{salt_declared}
BEGIN
    IF (current_setting('session_replication_role') = 'replica') <> {is_for_replicas} THEN
        RETURN NULL; -- Whatever made it fire, the other one records this.
    ELSIF TG_OP = 'TRUNCATE' THEN
        NULL;
    -- A partition that left the table may since have got columns of other types.
    ELSIF dbadmin_audit.signature({relid}::regclass) = {signature}
            AND (TG_RELID = {relid} OR pg_partition_root(TG_RELID) = {relid}::regclass) THEN{salt_read}
        {typed}
    ELSE
        version := 0;
        {loose}
    END IF;
    IF written = 0 AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    INSERT INTO dbadmin_audit.statement (id, at, xid, images, watched_id, shape_id, operation,
        session_role, set_role,
        app_user, client, application{query_column})
    VALUES (number, moment, pg_current_xact_id(), written, {watched}, version, left(TG_OP, 1)::"char",
        session_user,
        nullif(current_setting('role'), 'none'), nullif(current_setting({user_setting}, true), ''),
        inet_client_addr(), nullif(current_setting('application_name'), ''){query_value});
    RETURN NULL;{on_failure}
END
"""

CONTINUE = """
EXCEPTION WHEN OTHERS THEN
    BEGIN
        INSERT INTO dbadmin_audit.gap (watched_id, kind, text) VALUES ({watched}, 'not recorded', TG_OP
            || ': ' || SQLERRM);
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'dbadmin_audit could not record %: %', TG_OP, SQLERRM;
    END;
    RETURN NULL;"""


#: Only for tables that need it, as each costs: values kept as text must not follow the taste of the session.
EXACT = (
    " SET \"TimeZone\" = 'UTC' SET \"DateStyle\" = 'ISO, YMD' SET \"IntervalStyle\" = 'postgres'"
    " SET extra_float_digits = 1 SET bytea_output = 'hex'"
)


def create_functions(watched_id: int, shape_id: int, table: Described, choices: Choices) -> list[Composable]:
    """The capture functions of one table, for statements and for rows."""
    return [create_function(watched_id, shape_id, table, choices, row) for row in (False, True)]


def create_function(
    watched_id: int, shape_id: int, table: Described, choices: Choices, row: bool = False
) -> Composable:
    """A capture function of one table: it names columns only after it made sure that they are there.

    row: for the trigger that fires for each row; it records a statement for each.
    """
    names = [Identifier(column.kept_name) for column in table.kept]
    into = SQL("INSERT INTO {} ({})").format(
        rows_table(shape_id), SQL(", ").join([SQL("at, statement_id, n, side"), *names])
    )
    salted = any(column.rule in {"hashed", "masked"} for column in table.kept)
    body = SQL(BODY).format(
        version=Literal(VERSION),
        shape=Literal(shape_id),
        watched=Literal(watched_id),
        relid=Literal(str(table.relid)),
        signature=Literal(table.signature),
        salt_declared=SQL("\n    salt text;") if salted else SQL(""),
        salt_read=SQL("\n        SELECT s.salt INTO salt FROM dbadmin_audit.secret s;")
        if salted
        else SQL(""),
        is_for_replicas=SQL("true") if row else SQL("(TG_NAME = {})").format(Literal(REPLICA_TRUNCATE)),
        typed=(row_branches if row else typed_branches)(table, choices, into),
        loose=SQL(LOOSE_ROW if row else LOOSE).format(watched=Literal(watched_id)),
        query_column=SQL(", query") if choices.query_text else SQL(""),
        query_value=SQL(", left(current_query(), 4000)") if choices.query_text else SQL(""),
        user_setting=Literal(choices.user_setting),
        on_failure=SQL(CONTINUE).format(watched=Literal(watched_id))
        if choices.on_failure == "continue"
        else SQL(""),
    )
    settings = EXACT if any((not c.kept_type and not c.is_enum) or c.rule for c in table.kept) else ""
    quoted = SQL("$capture${}$capture$").format(body)
    if body.as_string(None).count("$capture"):  # a column may bear any name
        quoted = Composed([Literal(body.as_string(None))])
    return SQL(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER\n"
        "SET search_path = pg_catalog, pg_temp{} AS {}"
    ).format(function_name(watched_id, row), SQL(settings), quoted)


def function_name(watched_id: int, row: bool = False) -> Identifier:
    """The capture function of a watched table; row: the one for its rows."""
    return Identifier(SCHEMA, f"capture_{'row_' if row else ''}{watched_id}")


def create_triggers(watched_id: int, relations: list[tuple[str, str]]) -> list[Composable]:
    """Four triggers on the table and on each partition: a write to a partition fires only its own."""
    return [
        SQL("CREATE TRIGGER {} AFTER {} ON {} {}FOR EACH STATEMENT EXECUTE FUNCTION {}()").format(
            Identifier(name),
            SQL(operation),
            Identifier(*relation),
            SQL(TRANSITION[operation]),
            function_name(watched_id),
        )
        for relation in relations
        for operation, name in TRIGGERS.items()
    ]


def create_replica_triggers(
    watched_id: int, relations: list[tuple[str, str]], holders: list[tuple[str, str]]
) -> list[Composable]:
    """Two more for what fires no usual trigger; holders: those of the relations that hold rows themselves."""
    made: list[Composable] = []
    for relation in relations:
        table, kinds = Identifier(*relation), [(REPLICA_TRUNCATE, "TRUNCATE", "STATEMENT")]
        if relation in holders:
            kinds.append((REPLICA, "INSERT OR UPDATE OR DELETE", "ROW"))
        made += [
            SQL("CREATE TRIGGER {} AFTER {} ON {} FOR EACH {} EXECUTE FUNCTION {}()").format(
                Identifier(name), SQL(operation), table, SQL(level), function_name(watched_id, level == "ROW")
            )
            for name, operation, level in kinds
        ]
        switches = [SQL("ENABLE REPLICA TRIGGER {}").format(Identifier(name)) for name, _, _ in kinds]
        made.append(SQL("ALTER TABLE {} {}").format(table, SQL(", ").join(switches)))
    return made


def drop_triggers(relations: list[tuple[str, str]]) -> list[Composable]:
    """Take them away again."""
    return [
        SQL("DROP TRIGGER IF EXISTS {} ON {}").format(Identifier(name), Identifier(*relation))
        for relation in relations
        for name in (*TRIGGERS.values(), REPLICA, REPLICA_TRUNCATE)
    ]


def month(start: dt.date, ahead: int) -> dt.date:
    """The first day of the month that lies so many months ahead."""
    number = start.year * 12 + start.month - 1 + ahead
    return dt.date(number // 12, number % 12 + 1, 1)


def create_partition(parent: str, first: dt.date) -> Composable:
    """One month of a log table, in UTC."""
    name = Identifier(SCHEMA, f"{parent}_{first:%Y_%m}")
    bounds = [Literal(f"{day.isoformat()} 00:00:00+00") for day in (first, month(first, 1))]
    return SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
        name, Identifier(SCHEMA, parent), *bounds
    )


def whole(statements: list[Composable]) -> Composed:
    """Several statements as one text."""
    return SQL(";\n").join(statements)
