"""What watching a table costs its writers: measured on a few of its rows, in a transaction that is rolled back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import fresh, plans
from audit.capture import Choices
from audit.log_tables import FRESH, is_there, rows_table
from audit.registry import installed, next_numbers
from audit.tables import Described, Rows, describe
from dbadmin.connections import named_rows

#: Rows that are copied, statements of one row that are tried, and seconds that all of it may take.
ROWS, SINGLE, SECONDS = 500, 20, 3.0
LIMITS = (
    "select set_config('statement_timeout', '1500', true), set_config('lock_timeout', '200', true),"
    " set_config('search_path', 'pg_catalog', true), set_config('row_security', 'off', true)"
)
WRITTEN_DOWN = "select avg(octet_length(after)) + 28 from dbadmin_audit.fresh where shape_id = %s"
SAMPLE, COPY = Identifier("pg_temp", "dbadmin_sample"), Identifier("pg_temp", "dbadmin_copy")


class NotMeasured(Exception):
    """Why there is no figure, as a sentence."""


@dataclass(frozen=True)
class Cost:
    """What the capture triggers take beside a statement's own work.

    insert, update, delete: microseconds per row of a statement over all sampled rows; single: microseconds of a
    statement that inserts one row; image_bytes: of one row in the log, before its indexes; rows: how many were tried.
    """

    insert: float
    update: float
    delete: float
    single: float
    image_bytes: float
    rows: int

    def said(self) -> str:
        """As a sentence."""
        return (
            f"Capture adds {self.insert:.0f} µs for each row of an insert of {self.rows} rows, {self.update:.0f} µs of"
            f" an update, {self.delete:.0f} µs of a delete, and {self.single:.0f} µs to an insert of one row. The log"
            f" takes about {self.image_bytes:.0f} bytes for a row before or after, and its indexes."
        )

    def compared(self, chosen: Cost) -> str:
        """Beside what was chosen, as a sentence."""
        return (
            f"{self.single:.0f} µs for an insert of one row ({chosen.single:.0f} as chosen); of many rows"
            f" {self.insert:.0f} µs for each ({chosen.insert:.0f}), {self.update:.0f} µs for each of an update"
            f" ({chosen.update:.0f})."
        )


def measure(connection: psycopg.Connection[Any], table: Described, choices: Choices) -> Cost:
    """Watch a temporary copy of a few rows, write to it, take everything back.

    The table itself is read once, for at most 1.5 s; it is not written to, and no lock on it is held while the copy is.
    The copy has none of its triggers, constraints and expressions, since those would run as us: what is told is the
    time in the capture triggers alone. Raises NotMeasured, or what the server says.
    """
    until = time.monotonic() + SECONDS
    names = SQL(", ").join(Identifier(column.name) for column in table.columns)
    copy_rows(connection, table, names)
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(LIMITS)
            shape, count = watch_copy(connection, table, choices)
            return replayed(connection, table, names, shape, count, until)
    finally:
        if not connection.closed:
            connection.execute(SQL("drop table if exists {}").format(SAMPLE))


def copy_rows(connection: psycopg.Connection[Any], table: Described, names: Composable) -> None:
    """A few rows into a temporary table of this session; then the lock on the table is gone."""
    with connection.transaction():
        connection.execute(LIMITS)
        connection.execute(
            SQL("create temporary table dbadmin_sample as select {} from {} limit {}").format(
                names, Identifier(table.schema, table.name), Literal(ROWS)
            )
        )


def watch_copy(connection: psycopg.Connection[Any], table: Described, choices: Choices) -> tuple[int, int]:
    """An empty table of the same columns, watched by the same choices: its version of columns; rows of the sample."""
    count = connection.execute(SQL("select count(*) from {}").format(SAMPLE)).fetchone()
    if not count or not count[0]:
        raise NotMeasured(f"{table} has no rows to measure with.")
    connection.execute(
        "create temporary table dbadmin_copy as select * from pg_temp.dbadmin_sample with no data"
    )
    keys = [column for name in table.key if (column := table.column(name)) and not column.is_users]
    if keys and len(keys) == len(table.key):
        parts = SQL(", ").join(Identifier(name) for name in table.key)
        connection.execute(SQL("alter table {} add primary key ({})").format(COPY, parts))

    def rows(query: Any, params: Any = None) -> Sequence[Any]:
        return named_rows(connection.execute(query, params))

    shape = run_plan(connection, rows, table, choices)
    return shape, int(count[0])


def run_plan(connection: psycopg.Connection[Any], rows: Rows, table: Described, choices: Choices) -> int:
    """What watch_table would do, done to the copy."""
    schema = rows("select pg_my_temp_schema()::regnamespace::text as name")[0].name
    rules = {column.name: column.rule for column in table.columns if column.rule}
    copy = describe(rows, schema, "dbadmin_copy", rules)
    if copy is None:
        raise NotMeasured("The copy of the table could not be read.")
    state = installed(rows)
    install = plans.install_steps(rows, state, "")
    run_steps(connection, install)
    watched, shape = next_numbers(rows, installed(rows))
    if choices.level == "row":  # what is tried changes nothing, and would cost nothing
        choices = replace(choices, skip_unchanged=False)
    run_steps(connection, plans.watch_steps(rows, watched, shape, copy, choices, ""))
    return shape


def run_steps(connection: psycopg.Connection[Any], steps: Sequence[Any]) -> None:
    """All statements of the steps, within the transaction that the caller will take back."""
    for step in steps:
        for each in step.statements:
            connection.execute(each.statement, each.params)


def replayed(
    connection: psycopg.Connection[Any],
    table: Described,
    names: Composable,
    shape: int,
    count: int,
    until: float,
) -> Cost:
    """The statements over all rows twice, as the first time plans are made; then those of one row."""
    first = table.column(
        next((c.name for c in table.columns if c.name not in table.key), table.columns[0].name)
    )
    column = Identifier(first.name if first else "")
    insert = SQL("insert into {} ({}) select {} from {}").format(COPY, names, names, SAMPLE)
    update = SQL("update {} set {} = {}").format(COPY, column, column)
    delete = SQL("delete from {}").format(COPY)
    for _ in range(2):
        whole = [capture_time(connection, each, until) / count for each in (insert, update, delete)]
    size = connection.execute(
        SQL("select avg(pg_column_size(r.*)) + 4 from {} r").format(rows_table(shape))
    ).fetchone()
    if size and size[0] is None and is_there(fresh.asking(connection), FRESH):
        size = connection.execute(WRITTEN_DOWN, [shape]).fetchone()
    if not size or size[0] is None:
        raise NotMeasured("Capture recorded nothing of what was tried.")
    single = [
        capture_time(connection, SQL("{} offset {} limit 1").format(insert, Literal(number)), until)
        for number in range(min(SINGLE, count))
    ]
    return Cost(whole[0], whole[1], whole[2], median(single), float(size[0]), count)


def capture_time(connection: psycopg.Connection[Any], statement: Composable, until: float) -> float:
    """Microseconds that a statement spent in the capture triggers, by the server's own clock."""
    if time.monotonic() > until:
        raise NotMeasured(f"The measurement was given up after {SECONDS:.0f} seconds.")
    query = SQL("explain (analyze, costs off, format json) {}").format(statement)
    (found,) = connection.execute(query).fetchall()
    plan: dict[str, Any] = found[0][0]
    return sum(
        1000.0 * float(trigger["Time"])
        for trigger in plan.get("Triggers", [])
        if trigger["Trigger Name"].startswith("dbadmin_audit_")
    )
