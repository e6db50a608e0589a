"""The tables that hold the rows of a watched table's log, one pair of them for each version of its columns."""

from __future__ import annotations

import datetime as dt

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit.tables import Column, Described, Rows

SCHEMA = "dbadmin_audit"
#: Columns of a table whose rows before and after may lie side by side: twice as many must fit on a page.
MOST_PAIRED = 100
#: Changes that row triggers wrote down, until they are moved to where the log keeps all.
FRESH = "fresh"


def is_there(rows: Rows, table: str) -> bool:
    """Has the log this table? index_log makes some later, and versions of ours made fewer."""
    query = SQL("select pg_catalog.to_regclass({}) is not null as is_there")
    return bool(rows(query.format(Literal(f"{SCHEMA}.{table}")))[0].is_there)


def rows_table(shape_id: int) -> Identifier:
    """The typed log table of one version of columns: a line for each row before or after."""
    return Identifier(SCHEMA, f"rows_{shape_id}")


def pairs_table(shape_id: int) -> Identifier:
    """Updates of one row, the usual case: before and after in one line."""
    return Identifier(SCHEMA, f"pairs_{shape_id}")


def before_name(kept_name: str) -> str:
    """The column beside `c7` that holds its value before the update."""
    return f"b{kept_name[1:]}"


def kept_type(column: Column) -> Composable:
    """The type that a column is kept in."""
    return Identifier("pg_catalog", column.kept_type if column.kept_type and not column.rule else "text")


def partitioned(name: str, columns: list[Composable]) -> list[Composable]:
    """A log table with its catch-all partition."""
    return [
        SQL("CREATE TABLE {} ({}) PARTITION BY RANGE (at)").format(
            Identifier(SCHEMA, name), SQL(", ").join(columns)
        ),
        SQL("CREATE TABLE {} PARTITION OF {} DEFAULT").format(
            Identifier(SCHEMA, f"{name}_default"), Identifier(SCHEMA, name)
        ),
    ]


def create_rows_table(shape_id: int, table: Described) -> list[Composable]:
    """The typed log table of a version of columns, its catch-all partition and its two indexes."""
    columns = [SQL("{} {}").format(Identifier(c.kept_name), kept_type(c)) for c in table.kept]
    fixed = SQL(
        'at timestamptz NOT NULL, statement_id bigint NOT NULL, n integer NOT NULL, side "char" NOT NULL'
    )
    name = f"rows_{shape_id}"
    made = partitioned(name, [fixed, *columns])
    return [*made, *indexes(name, table, "statement_id, (n >> 8)", " WHERE side <> '-'")]


def create_fresh() -> Composable:
    """Where triggers for rows write a change down: without an index and in one piece, as nothing stays there long."""
    return SQL(
        "CREATE TABLE IF NOT EXISTS {}.{} (id bigint NOT NULL, at timestamptz NOT NULL, xid xid8 NOT NULL, watched_id"
        ' integer NOT NULL, shape_id integer NOT NULL, operation "char" NOT NULL, session_role text NOT NULL, set_role'
        " text, app_user text, client inet, application text, query text, before bytea, after bytea)"
        " WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)"
    ).format(Identifier(SCHEMA), Identifier(FRESH))


def has_pairs(table: Described) -> bool:
    """Can its rows before and after lie side by side? Hashing and masking take more steps than that spares."""
    return len(table.kept) <= MOST_PAIRED and not any(
        column.rule in {"hashed", "masked"} or column.kept_type == "name" for column in table.kept
    )


def create_pairs_table(shape_id: int, table: Described) -> list[Composable]:
    """The table of its updates of one row, likewise; nothing when there can be none."""
    if not has_pairs(table):
        return []
    after = [SQL("{} {}").format(Identifier(c.kept_name), kept_type(c)) for c in table.kept]
    before = [SQL("{} {}").format(Identifier(before_name(c.kept_name)), kept_type(c)) for c in table.kept]
    fixed = SQL("at timestamptz NOT NULL, statement_id bigint NOT NULL")
    name = f"pairs_{shape_id}"
    return [*partitioned(name, [fixed, *after, *before]), *indexes(name, table, "statement_id")]


def indexes(name: str, table: Described, by_statement: str, keyed: str = "") -> list[Composable]:
    """By statement, and by the key if there is one; keyed: which rows a key is looked for in."""
    made: list[Composable] = [
        SQL("CREATE INDEX {} ON {} ({})").format(
            Identifier(f"{name}_statement"), Identifier(SCHEMA, name), SQL(by_statement)
        )
    ]
    if key := key_parts(table):
        index = SQL("CREATE INDEX {} ON {} ({}){}")
        made.append(index.format(Identifier(f"{name}_key"), Identifier(SCHEMA, name), key, SQL(keyed)))
    return made


def key_columns(table: Described) -> list[Column]:
    """The key's columns that an index can hold."""
    columns = [table.column(name) for name in table.key]
    return [c for c in columns if c is not None and c.is_kept and (c.sortable or not c.kept_type)]


def key_parts(table: Described) -> Composable | None:
    """What the index over keys holds; None: there is no key to look for."""
    parts = [key_index_part(column) for column in key_columns(table)]
    return SQL(", ").join([*parts, SQL("statement_id")]) if parts else None


def key_index_part(column: Column) -> Composable:
    """A long text could be more than an index entry takes, and would then fail the application's write: its
    start serves."""
    kept = Identifier(column.kept_name)
    return SQL('(left({}::text, 100) COLLATE "C")').format(kept) if column.long_text or column.rule else kept


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
