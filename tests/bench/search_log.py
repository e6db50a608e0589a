"""A log of many changes over thirteen months: three tables, persons and rows of very different weight."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from audit.log_tables import before_name, create_partition, month, pairs_table, rows_table
from audit.registry import Installed, Shape, installed
from dbadmin.connections import named_rows
from dbadmin.models import Server
from tests.bench.audited import watch

TABLES = """
create table orders (id bigint primary key, customer text, state text, total numeric, updated_at timestamptz,
    address jsonb, note text);
create table order_lines (order_id bigint, line int, product text, amount int, primary key (order_id, line));
create table options (name text primary key, value text);
"""
NAMES = ("orders", "order_lines", "options")
#: Of 51 statements one has fifty rows, the others have one; ten make a transaction.
STATEMENT_SHARE = 51 / 100
EACH = 10
#: The first four tenths of the log are spread over a year; the rest lies in the last two months.
MOMENT = """now() - case when g <= {count} * 0.4
    then interval '60 days' + interval '335 days' * (1 - g / ({count} * 0.4))
    else interval '60 days' * (1 - (g - {count} * 0.4) / ({count} * 0.6)) end"""
STATEMENTS = """
insert into dbadmin_audit.statement (id, at, xid, images, watched_id, shape_id, operation, session_role, app_user,
    client, application)
select g, {moment}, (({first} + g / {each})::text)::xid8,
    case when g % 51 = 0 then 50 else 1 end * case when operation = 'U' then 2 else 1 end,
    which, which, operation::"char", 'app', person, '10.0.0.1', 'web'
from (
    select g, case when g = 5 then 3 when g % 10 < 7 then 1 else 2 end as which,
        case when g = 5 then 'I' when g % 100 = 0 then 'U' when g % 10000 = 1 then 'D'
            else (array['I', 'U', 'U'])[1 + g % 3] end as operation,
        case when g % 1700000 = 1000 then 'rare' when g % 2 = 0 then 'importer' when g % 25 = 1 then null
            else 'user' || (sqrt(g * 7919 % 4000001))::int end as person
    from generate_series({low}::bigint, {high}) g) s
"""
ROWS = """
insert into {table} (at, statement_id, n, side, {columns})
select s.at, s.id, n, side::"char", {values}
from dbadmin_audit.statement s
cross join lateral generate_series(1, case when s.id % 51 = 0 then 50 else 1 end) n
cross join lateral unnest(case s.operation when 'U' then array['-', '+'] when 'I' then array['+'] else array['x'] end)
    as side
cross join lateral (select case when s.id % 100 = 0 then 7 else (s.id * 50 + n) % 1000000 end as key) k
where s.shape_id = {shape} and s.id between {low} and {high} and not (s.operation = 'U' and s.images = 2)
"""
#: Updates of one row lie in a table of their own, before and after in one line.
PAIRS = """
insert into {table} (at, statement_id, {columns})
select s.at, s.id, {values}
from dbadmin_audit.statement s
cross join lateral (select 1 as n, case when s.id % 100 = 0 then 7 else (s.id * 50 + 1) % 1000000 end as key) k
where s.shape_id = {shape} and s.id between {low} and {high} and s.operation = 'U' and s.images = 2
"""
#: What stands in each column; side tells before from after.
VALUES = {
    "orders": {
        "id": "key",
        "customer": "'customer' || s.id % 100000 || '@example.com'",
        "state": "case when side = '+' and s.id % 997 = 0 then 'refunded' when side = '+' then 'paid' else 'open' end",
        "total": "key * 0.11",
        "updated_at": "s.at",
        "address": "jsonb_build_object('city', 'Town ' || s.id % 1000, 'zip', lpad((s.id % 99991)::text, 5, '0'),"
        " 'geo', jsonb_build_object('cell', 'c' || md5((s.id * 100 + n)::text)))",
        "note": "'Some words about order ' || s.id || case when s.id % 900000 = 57 then ' in Zanzibar' else '' end",
    },
    "order_lines": {
        "order_id": "key",
        "line": "n",
        "product": "'product ' || s.id % 5000",
        "amount": "case when side = '+' then 2 else 1 end",
    },
    "options": {"name": "'colour'", "value": "'blue'"},
}
#: Numbers of transactions that have ended, one after another.
BURN = "do $$ begin for i in 1..{count} loop perform pg_current_xact_id(); commit; end loop; end $$"


def fill(connection: psycopg.Connection[Any], server: Server, changes: int) -> Installed:
    """Make the tables, watch them, and write so many changes into their log."""

    def rows(query: Any, params: Any = None) -> list[Any]:
        return named_rows(connection.execute(query, params))

    connection.execute(TABLES)
    watch(connection, server, NAMES)
    state = installed(rows)
    make_months(connection, state)
    count = int(changes * STATEMENT_SHARE)
    first = rows("select pg_current_xact_id()::text::bigint + 1 as number")[0].number
    connection.execute("set synchronous_commit = off")
    for low in range(1, count + 1, 500_000):
        high = min(low + 499_999, count)
        moment = MOMENT.format(count=count)
        connection.execute(
            STATEMENTS.format(moment=moment, first=first, each=EACH, low=low, high=high).encode()
        )
        for watched, name in zip(state.watched.values(), NAMES, strict=True):
            for statement in row_statements(watched.shapes[0], VALUES[name], low, high):
                connection.execute(statement)
    connection.execute(f"select setval('dbadmin_audit.statement_id', {count + 1})")
    connection.execute(BURN.format(count=count // EACH + 2).encode())
    connection.execute("vacuum analyze")
    return state


def make_months(connection: psycopg.Connection[Any], state: Installed) -> None:
    """The partitions of the last thirteen months."""
    today = dt.datetime.now(dt.UTC).date().replace(day=1)
    for parent in log_tables(state):
        for ahead in range(-13, 0):
            connection.execute(create_partition(parent, month(today, ahead)))


def log_tables(state: Installed) -> list[str]:
    """The tables that lie in months."""
    rows = [f"rows_{shape.id}" for shape in state.shapes.values()]
    return [
        "statement",
        "loose",
        *rows,
        *(f"pairs_{shape.id}" for shape in state.shapes.values() if shape.has_pairs),
    ]


def row_statements(shape: Shape, values: dict[str, str], low: int, high: int) -> list[Composed]:
    """The rows of the statements of one version of columns."""
    columns = [column for column in shape.kept if column.name in values]
    after = [Identifier(column.kept_name) for column in columns]
    before = [Identifier(before_name(column.kept_name)) for column in columns]

    def insert(text: str, table: Composable, names: list[Identifier], side: str) -> Composed:
        sides = [side, side.replace("+", "-")][: len(names) // len(columns)]
        said = [SQL(values[column.name].replace("side", each)) for each in sides for column in columns]
        return SQL(text).format(
            table=table, shape=Literal(shape.id), low=Literal(low), high=Literal(high),
            columns=SQL(", ").join(names), values=SQL(", ").join(said),
        )  # fmt: skip

    made = [insert(ROWS, rows_table(shape.id), after, "side")]
    if shape.has_pairs:
        made.append(insert(PAIRS, pairs_table(shape.id), [*after, *before], "'+'"))
    return made
