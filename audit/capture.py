"""The SQL that watches a table: its typed log table, its capture function, its triggers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from audit.lines import MOMENT, NUMBER, header, line
from audit.log_tables import FRESH, before_name, has_pairs, key_columns, pairs_table, rows_table
from audit.tables import Column, Described
from audit.triggers import REPLICA, REPLICA_TRUNCATE, TRANSITION, function_name

OWNER = "dbadmin_audit"
VERSION = 9


@dataclass(frozen=True)
class Choices:
    """What was chosen for one table.

    query_text: keep the statement's text; skip_unchanged: leave updates out that changed nothing; on_failure: "fail"
    lets the application's write fail when it cannot be recorded, "continue" lets it pass and records a gap;
    user_setting: the session setting that carries the application's user; level: what the triggers fire for, each
    "statement", or each "row" of tables whose statements change one row.
    """

    query_text: bool = False
    skip_unchanged: bool = True
    on_failure: str = "fail"
    user_setting: str = "app.current_user_id"
    level: str = "statement"


def text_of(source: Composable, is_users: bool) -> Composable:
    """A value as the log keeps it.

    Of a type that users made by the type's own output: a cast of theirs would run as whoever asks, here as the log's
    owner. A composite is null only as a whole, which IS NOT NULL does not ask.
    """
    if not is_users:
        return SQL("{}::pg_catalog.text").format(source)
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


def same(column: Column) -> Composable:
    """The row before and after have the same value in this column of a key."""
    before, after = comparable(column, "o"), comparable(column, "n")
    return SQL("({0} OPERATOR(pg_catalog.=) {1} OR {0} IS NULL AND {1} IS NULL)").format(before, after)


def comparable(column: Column, row: str) -> Composable:
    """What two values of a key are compared by: the operators of a user's type could be reached by a cast of theirs."""
    return as_text(column, row) if column.is_users else Identifier(row, column.name)


#: The place of a row in its statement.
NUMBERED = SQL("pg_catalog.row_number() OVER ()")


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
#: The row is another byte for byte; there is no second row.
CHANGED, SINGLE = "(o.*) OPERATOR(pg_catalog.*<>) (n.*)", "NOT EXISTS (SELECT FROM old_rows OFFSET 1)"
#: What a row of the log is: before and after an update, deleted, or before an update that changed keys.
BEFORE, AFTER, DELETED, REKEYED = (SQL(f"'{side}'::pg_catalog.\"char\"") for side in "-+xo")


def one_update(table: Described, choices: Choices) -> Composable:
    """An update of one row, the usual case: no numbering, and nothing at all when nothing changed."""
    both = SQL("old_rows o, new_rows n")
    if choices.skip_unchanged:
        both = SQL(f"old_rows o, new_rows n WHERE {CHANGED}")
    keys = [same(column) for column in comparable_key(table)]
    side: Composable = BEFORE
    if keys:
        side = SQL("CASE WHEN {} THEN {} ELSE {} END").format(SQL(" AND ").join(keys), BEFORE, REKEYED)
    before = images(table, "o", side, both, SQL("1"))
    return SQL("{}\n                UNION ALL {}").format(before, images(table, "n", AFTER, both, SQL("1")))


def many_updates(table: Described) -> Composable:
    """An update of many rows. Rows before it are found by key only if the keys as a whole changed: it costs
    the least."""
    keys = comparable_key(table)
    side: Composable = BEFORE
    if keys:
        sums = [key_sum(keys, "o", OLD), key_sum(keys, "n", NEW)]
        side = SQL("CASE WHEN {} THEN {} ELSE {} END").format(
            SQL(" OPERATOR(pg_catalog.=) ").join(sums), BEFORE, REKEYED
        )
    before = images(table, "o", side, OLD)
    return SQL("{}\n                UNION ALL {}").format(before, images(table, "n", AFTER, NEW))


def comparable_key(table: Described) -> list[Column]:
    """The key, if all of its columns can be looked up."""
    keys = key_columns(table)
    return keys if len(keys) == len(table.key) else []


def key_sum(keys: list[Column], row: str, source: Composable) -> Composable:
    """A number that two sets of keys share only if they are the same set."""
    hashes = SQL(" OPERATOR(pg_catalog.#) ").join(
        [key_hash(column, row, place) for place, column in enumerate(keys)]
    )
    return SQL("(SELECT pg_catalog.sum({}) FROM {})").format(hashes, source)


def key_hash(column: Column, row: str, place: int) -> Composable:
    """A number for one column of a key; the place goes in, so that two columns do not cancel each other out."""
    source = Identifier(row, column.name)
    if column.kept_type in {"int2", "int4", "int8"}:
        return SQL("pg_catalog.hashint8extended({}, {})").format(source, Literal(place))
    if column.kept_type == "uuid":
        return SQL("pg_catalog.uuid_hash_extended({}, {})").format(source, Literal(place))
    return SQL("pg_catalog.hashtextextended({}, {})").format(as_text(column, row), Literal(place))


def branches(insert: Composable, update: Composable, delete: Composable, into: Composable) -> Composable:
    """IF on the operation, one INSERT in each branch."""
    return SQL(
        "IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN\n            {update}\n"
        "        ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN\n            {into}\n            {insert};\n"
        "            GET DIAGNOSTICS written = ROW_COUNT;\n"
        "        ELSE\n            {into}\n            {delete};\n"
        "            GET DIAGNOSTICS written = ROW_COUNT;\n        END IF;"
    ).format(into=into, insert=insert, update=update, delete=delete)


def single_update(watched_id: int, shape_id: int, table: Described, choices: Choices) -> Composable:
    """An update of one row that keeps its key, the usual case: before and after in one line, in the fewest steps."""
    if not has_pairs(table):
        return SQL("")
    after = [Identifier(column.kept_name) for column in table.kept]
    before = [Identifier(before_name(column.kept_name)) for column in table.kept]
    values = [value(column, row) for row in ("n", "o") for column in table.kept]
    conditions = [same(column) for column in comparable_key(table)] + [SQL(SINGLE)]
    if choices.skip_unchanged:
        conditions.insert(0, SQL(CHANGED))
    return SQL(
        "INSERT INTO {into} ({names})\n            SELECT {values} FROM old_rows o, new_rows n\n"
        "            WHERE {conditions};\n            IF FOUND THEN\n                {line};\n"
        "                RETURN NULL;\n            END IF;\n            "
    ).format(
        into=pairs_table(shape_id),
        names=SQL(", ").join([SQL("at, statement_id"), *after, *before]),
        values=SQL(", ").join([SQL("moment, number"), *values]),
        conditions=SQL(" AND ").join(conditions),
        line=line(watched_id, choices, "2", "'U'::pg_catalog.\"char\""),
    )


def typed_branches(table: Described, choices: Choices, into: Composable, single: Composable) -> Composable:
    """What is written for a table that still looks as it did when the function was made."""
    update = SQL(
        "{single}IF EXISTS (SELECT FROM old_rows OFFSET 1) THEN\n                {into}\n                {many};\n"
        "                GET DIAGNOSTICS written = ROW_COUNT;\n"
        "            ELSE\n                {into}\n                {one};\n"
        "                GET DIAGNOSTICS written = ROW_COUNT;\n"
        # A row that left for another partition, whose trigger kept it back.
        "                IF written OPERATOR(pg_catalog.=) 0 AND EXISTS (SELECT FROM old_rows)\n"
        "                    AND NOT EXISTS (SELECT FROM new_rows) THEN\n"
        "                    {into}\n                    {many};\n"
        "                    GET DIAGNOSTICS written = ROW_COUNT;\n                END IF;\n"
        "            END IF;"
    ).format(single=single, into=into, many=many_updates(table), one=one_update(table, choices))
    return branches(images(table, "n", AFTER, NEW), update, images(table, "o", DELETED, OLD), into)


#: The row of a row trigger under the names of a statement's rows.
ONE_OLD, ONE_NEW = SQL("old_rows AS (SELECT OLD.*)"), SQL("new_rows AS (SELECT NEW.*)")


#: A value larger than this, as it is stored, takes no short way: an image holds all values of a row, as they are in
#: memory, and must stay below 1 GB. Compression makes them smaller by 255 at most.
LARGEST, ALL_TOGETHER = 64 << 10, 2 << 20
#: What can be no larger.
SMALL = re.compile(r"\((\d{1,4})(,-?\d+)?\)$")
#: One question, as each takes its time: the table is as it was, this trigger is the one to record it, and its values
#: can be written as they are sent.
SHORT_WAY = """IF TG_OP OPERATOR(pg_catalog.=) {operation}
            AND dbadmin_audit.signature({relid}::pg_catalog.regclass) OPERATOR(pg_catalog.=) {signature}
            AND TG_RELID OPERATOR(pg_catalog.=) {relid}::pg_catalog.oid AND {is_due}
            AND pg_catalog.pg_client_encoding() OPERATOR(pg_catalog.=) pg_catalog.getdatabaseencoding(){changed}
    THEN
        {if_small}{line};
        RETURN NULL;{end_if}
    END IF;
    """
# Asked by itself, as it names columns: of a question, all is looked up, also behind an AND that is false.
IF_SMALL = "IF COALESCE(GREATEST({}), 0) OPERATOR(pg_catalog.<) {} THEN\n        "
DIFFERENT = "\n            AND OLD OPERATOR(pg_catalog.*<>) NEW"


def short_ways(watched_id: int, shape_id: int, table: Described, choices: Choices) -> Composable:
    """Of a trigger that fires for each row: one line without an index, from where it is listed later.

    Not where columns are hashed or masked, which takes more steps, or cannot be sent as they are; whatever is otherwise
    goes the way of all tables.
    """
    unsent = any(column.is_sent_otherwise for column in table.kept)
    if choices.level != "row" or not table.kept or is_salted(table) or unsent:
        return SQL("")
    sides = {"U": ("OLD", "NEW"), "I": ("NEW",), "D": ("OLD",)}
    ways = [short_way(watched_id, shape_id, table, choices, *each) for each in sides.items()]
    return Composed(ways)


def short_way(
    watched_id: int, shape_id: int, table: Described, choices: Choices, operation: str, rows: tuple[str, ...]
) -> Composable:
    """The one for an operation. rows: OLD, NEW, or both."""
    sides = {"OLD": "before", "NEW": "after"}
    images = {sides[row]: sent(table, row) for row in rows}
    large = [c for c in table.kept if c.is_open_ended and not SMALL.search(c.type)]
    sizes = [
        SQL("pg_catalog.pg_column_size({})").format(Identifier(row.lower(), column.name))
        for column in large
        for row in rows
    ]
    most = Literal(min(LARGEST, ALL_TOGETHER // max(len(sizes), 1)))
    return SQL(SHORT_WAY).format(
        operation=Literal(next(each for each in TRANSITION if each.startswith(operation))),
        relid=Literal(str(table.relid)),
        signature=Literal(table.signature),
        is_due=is_due(row=True),
        changed=SQL(DIFFERENT if choices.skip_unchanged and len(rows) == 2 else ""),
        if_small=SQL(IF_SMALL).format(SQL(", ").join(sizes), most) if sizes else SQL(""),
        end_if=SQL("\n        END IF;" if sizes else ""),
        line=header(
            FRESH,
            watched_id,
            choices,
            f"'{operation}'::pg_catalog.\"char\"",
            images,
            str(shape_id),
        ),
    )


def sent(table: Described, row: str) -> Composable:
    """The kept values of a row, each with its length; the row itself where it holds just these, which takes less."""
    if not table.has_virtual and all(column.kept_type and not column.rule for column in table.columns):
        return SQL(f"pg_catalog.record_send({row})")
    values = [value(column, row.lower()) for column in table.kept]
    return SQL("pg_catalog.record_send(ROW({}))").format(SQL(", ").join(values))


def is_salted(table: Described) -> bool:
    """Does any of its columns go into the log as a digest?"""
    return any(column.rule in {"hashed", "masked"} for column in table.kept)


def row_branches(table: Described, choices: Choices, into: Composable) -> Composable:
    """The same for a trigger that fires for each row."""
    return SQL(
        "IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN\n            WITH {old}, {new}\n            {into}\n"
        "            {update};\n"
        "        ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN\n            WITH {new}\n            {into}\n"
        "            {insert};\n"
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
    "IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN"
    + "".join(
        f"""{otherwise}
            EXECUTE '{source}' OPERATOR(pg_catalog.||) dbadmin_audit.loose_types(TG_RELID, TG_OP) INTO types
                USING moment, number, {{watched}}, {rows};
            EXECUTE '{source}' OPERATOR(pg_catalog.||) dbadmin_audit.loose_insert(TG_RELID, TG_OP, types)
                USING moment, number, {{watched}}, {rows};"""
        for otherwise, source, rows in (
            ("", "WITH old_rows AS (SELECT ($4).*), new_rows AS (SELECT ($5).*) ", "OLD, NEW"),
            (
                "\n        ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN",
                "WITH new_rows AS (SELECT ($4).*) ",
                "NEW",
            ),
            ("\n        ELSE", "WITH old_rows AS (SELECT ($4).*) ", "OLD"),
        )
    )
    + "\n        END IF;\n        GET DIAGNOSTICS written = ROW_COUNT;"
)

#: A column may bear the name of a variable: ours is always written with its row.
#: Every name and operator says its schema, since most functions run under the search_path of whoever writes: to set
#: another for each call takes longer than the insert of a line.
BODY = """
-- dbadmin audit capture {version}
#variable_conflict use_variable
DECLARE
    moment timestamp with time zone;
    number bigint;
    version integer;
    written bigint;
    types pg_catalog.oid[];{salt_declared}
BEGIN
    {short_ways}moment := {moment};
    number := {number};
    version := {shape};
    written := 0;
    -- A partition that left the table may since have got columns of other types.
    IF dbadmin_audit.signature({relid}::pg_catalog.regclass) OPERATOR(pg_catalog.=) {signature}
            AND (TG_RELID OPERATOR(pg_catalog.=) {relid}::pg_catalog.oid
                OR pg_catalog.pg_partition_root(TG_RELID) OPERATOR(pg_catalog.=) {relid}::pg_catalog.regclass)
            AND TG_OP OPERATOR(pg_catalog.<>) 'TRUNCATE' AND {is_due} THEN{salt_read}
        {typed}
    ELSIF NOT {is_due} THEN
        RETURN NULL; -- Whatever made it fire, the other one records this.
    ELSIF TG_OP OPERATOR(pg_catalog.<>) 'TRUNCATE' THEN
        version := 0;
        {loose}
    END IF;
    IF written OPERATOR(pg_catalog.=) 0 AND TG_OP OPERATOR(pg_catalog.<>) 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    {of_a_partition}{line};
    RETURN NULL;{on_failure}
END
"""

#: A partition that is emptied alone leaves the others as they are: its name tells.
OF_A_PARTITION = """IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE'
            AND TG_RELID OPERATOR(pg_catalog.<>) {relid}::pg_catalog.oid THEN
        {line};
        RETURN NULL;
    END IF;
    """
EMPTIED_ALONE = (
    "'TRUNCATE ' OPERATOR(pg_catalog.||) TG_TABLE_SCHEMA::pg_catalog.text OPERATOR(pg_catalog.||) '.'"
    " OPERATOR(pg_catalog.||) TG_TABLE_NAME::pg_catalog.text"
)

CONTINUE = """
EXCEPTION WHEN OTHERS THEN
    BEGIN
        INSERT INTO dbadmin_audit.gap (watched_id, kind, text) VALUES ({watched}, 'not recorded', TG_OP
            OPERATOR(pg_catalog.||) ': ' OPERATOR(pg_catalog.||) SQLERRM);
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'dbadmin_audit could not record %: %', TG_OP, SQLERRM;
    END;
    RETURN NULL;"""


#: Only for tables that need it, as each costs: values kept as text must not follow the taste of the session.
EXACT = (
    "\nSET search_path = pg_catalog, pg_temp"
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
    operation, relid = 'pg_catalog.left(TG_OP, 1)::pg_catalog."char"', Literal(str(table.relid))
    alone = line(watched_id, choices, "written", operation, EMPTIED_ALONE)
    salted = is_salted(table)
    body = SQL(BODY).format(
        version=Literal(VERSION),
        shape=Literal(shape_id),
        watched=Literal(watched_id),
        relid=relid,
        signature=Literal(table.signature),
        salt_declared=SQL("\n    salt text;") if salted else SQL(""),
        salt_read=SQL("\n        SELECT s.salt INTO salt FROM dbadmin_audit.secret s;")
        if salted
        else SQL(""),
        is_due=is_due(row),
        short_ways=short_ways(watched_id, shape_id, table, choices) if row else SQL(""),
        moment=SQL(MOMENT),
        number=SQL(NUMBER),
        typed=row_branches(table, choices, into)
        if row
        else typed_branches(table, choices, into, single_update(watched_id, shape_id, table, choices)),
        loose=SQL(LOOSE_ROW if row else LOOSE).format(watched=Literal(watched_id)),
        line=line(watched_id, choices, "written", operation),
        of_a_partition=SQL(OF_A_PARTITION).format(relid=relid, line=alone)
        if table.kind == "p" and not row
        else SQL(""),
        on_failure=SQL(CONTINUE).format(watched=Literal(watched_id))
        if choices.on_failure == "continue"
        else SQL(""),
    )
    is_exact = any((not c.kept_type and not c.is_enum) or c.rule for c in table.kept)
    quoted = SQL("$capture${}$capture$").format(body)
    if body.as_string(None).count("$capture"):  # a column may bear any name
        quoted = Composed([Literal(body.as_string(None))])
    return SQL(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER{} AS {}"
    ).format(function_name(watched_id, row), SQL(EXACT if is_exact else ""), quoted)


def is_due(row: bool) -> Composable:
    """Does this trigger record what the session does? Others do where session_replication_role is replica."""
    return SQL(
        "((pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica')"
        " OPERATOR(pg_catalog.=) (TG_NAME OPERATOR(pg_catalog.<>) {}))"
    ).format(Literal(REPLICA if row else REPLICA_TRUNCATE))
