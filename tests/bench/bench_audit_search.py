"""How fast a log of many changes is searched, page by page, and how fast it is prepared, sealed and verified."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
from django.conf import settings

from audit import activity, changes, indexing, inside, mapping, plans, searched, text_copies, text_index
from audit.registry import Installed
from audit.sealing import seal_next
from audit.search import Filter
from audit.verifying import verify_seal
from dbadmin.connections import named_rows
from dbadmin.models import Server
from tests.bench import search_log
from tests.bench.audited import cpu, fresh, watch
from tests.bench.bench_audit import FEW, FILL, ONES, TABLE
from tests.bench.frame import Bench, Figure

#: Changes in the log; fewer are enough for a quick look.
CHANGES = int(os.environ.get("BENCH_AUDIT_CHANGES", "10000000"))
#: Name of a figure -> a search whose first page, page in the middle, and last page walked backwards are measured.
SEARCHES = {
    "all": {},
    "table": {"table": "order_lines"},
    "table_with_one_change_a_year_ago": {"table": "options"},
    "person_with_millions": {"person": "importer"},
    "person_with_three": {"person": "rare"},
    "person_unknown": {"person": "nobody"},
    "operation": {"operation": "update"},
    "operation_rare": {"operation": "delete"},
    "operation_never": {"operation": "truncate"},
    "two_frequent": {"person": "importer", "table": "orders"},
    "two_frequent_never_together": {"person": "app", "table": "order_lines"},
    "three": {"person": "user77", "table": "order_lines", "operation": "insert"},
    "key": {"table": "orders", "key": "4711"},
    "key_with_fifty_thousand": {"table": "orders", "key": "7"},
    "key_of_two_columns": {"table": "order_lines", "key": "5208,8"},
    "key_and_person": {"table": "orders", "key": "7", "person": "importer"},
}
TEXTS = {
    "five_hits": {"text": "Zanzibar"},
    "nothing": {"text": "qqxyzzyq"},
    "common": {"text": "Some words"},
    "json_path": {"table": "orders", "of": "address", "path": "zip", "value": "04711", "how": "equals"},
    "json_path_nothing": {
        "table": "orders",
        "of": "address",
        "path": "geo.cell",
        "value": "c0ffee0nope",
        "how": "equals",
    },
    "column_equals": {
        "table": "orders",
        "of": "customer",
        "value": "customer4711@example.com",
        "how": "equals",
    },
}


def figures(bench: Bench) -> Iterator[Figure]:
    """Milliseconds of processor that the server's session takes for each page."""
    connection, server = fresh(bench, "bench_audit_search")
    state = search_log.fill(connection, server, CHANGES)

    def rows(query: Any, params: Any = None) -> list[Any]:
        return named_rows(connection.execute(query, params))

    size = (
        "select sum(pg_indexes_size(oid))::float from pg_class"
        " where relnamespace = 'dbadmin_audit'::regnamespace and relkind = 'r'"
    )
    yield Figure("index_bytes_per_change", rows(size)[0].sum / CHANGES, 110)
    yield from seal_figures(connection, server)
    yield from seal_figures(*one_by_one(bench), "_one_by_one")
    started = cpu(connection)
    prepare(connection, rows, state)
    yield Figure("summed_per_processor_second", CHANGES / (cpu(connection) - started), 50_000, "higher")
    started = cpu(connection)
    hidden = list(searched.differences(connection, 1))
    yield Figure("searches_verified_per_second", CHANGES / (cpu(connection) - started), 50_000, "higher")
    yield Figure("hidden", len(hidden), 0)
    yield from page_figures(connection, rows, state)
    index_texts(connection, rows, state)
    yield from text_figures(connection, rows, state)
    connection.close()


def milliseconds(connection: psycopg.Connection[Any], action: Callable[[], object], times: int = 7) -> float:
    """What it takes of the processor in the session: the least of several."""
    taken = []
    for _ in range(times):
        started = cpu(connection)
        action()
        taken.append((cpu(connection) - started) * 1000)
    return min(taken)


def prepare(connection: psycopg.Connection[Any], rows: Any, state: Installed) -> None:
    """As index_log does."""
    connection.execute(plans.script("search.sql"))
    while mapping.map_next(connection).more:
        pass
    while indexing.sum_next(connection, state, settings.TIME_ZONE).more:
        pass
    connection.execute(
        "vacuum analyze dbadmin_audit.activity, dbadmin_audit.person_days, dbadmin_audit.touched,"
        " dbadmin_audit.stretch"
    )


def page_figures(connection: psycopg.Connection[Any], rows: Any, state: Installed) -> Iterator[Figure]:
    """Pages of searches, lives of rows, what persons did."""
    top = rows("select max(id) as id from dbadmin_audit.statement")[0].id
    moments = rows("select min(at) as low, max(at) as high from dbadmin_audit.statement")[0]
    middle = moments.low + (moments.high - moments.low) / 2
    searches = {
        **SEARCHES, "since": {"since": middle}, "until": {"until": middle},
        "person_until": {"person": "importer", "until": middle},
        "key_until": {"table": "orders", "key": "7", "until": middle},
        "transaction": {"xid": rows(f"select xid::text from dbadmin_audit.statement where id = {top // 3}")[0].xid},
    }  # fmt: skip
    for name, said in searches.items():
        wanted = Filter(**said)
        pages = ((None, None), (top // 2, None), (None, 0))
        worst = max(
            milliseconds(connection, partial(inside.find, rows, state, wanted, *place)) for place in pages
        )
        yield Figure(f"{name}_ms", worst, 20)
    for key in ("4711", "7"):
        life = milliseconds(connection, partial(changes.life, rows, state, state.watched[1], key))
        yield Figure(f"life_of_row_{key}_ms", life, 20)
    for person in ("importer", "user77", "rare"):
        taken = milliseconds(connection, partial(activity.of_person, rows, state, person, 30))
        yield Figure(f"thirty_days_of_{person}_ms", taken, 100)
    yield Figure("thirty_days_of_all_ms", milliseconds(connection, partial(activity.people, rows, 30)), 100)


def index_texts(connection: psycopg.Connection[Any], rows: Any, state: Installed) -> None:
    """The texts of the last whole month, three tenths of the log, and of the open one, as index_log does."""
    connection.execute("create extension if not exists pg_trgm")
    plain = {row.name for row in rows(text_index.PLAIN_TYPES)}
    leaves = text_index.closed_leaves(rows, rows(plans.ABILITIES)[0].today)
    newest = max(leaf[-7:] for leaf in leaves)
    for leaf in leaves:
        found = text_index.expression(state, leaf, plain) if leaf.endswith(newest) else None
        if found:
            connection.execute(text_index.create_index(leaf, *found, "public"))
            connection.execute(f"analyze dbadmin_audit.{leaf}".encode())
    connection.execute(text_copies.create("public"))
    begin = rows(activity.FIRST, [rows("select date_trunc('month', now()) as first")[0].first])[0].id
    while text_copies.fill_next(connection, state, begin).more:
        pass


def text_figures(connection: psycopg.Connection[Any], rows: Any, state: Installed) -> Iterator[Figure]:
    """Searches inside the rows of that month."""
    first = rows(
        "select date_trunc('month', now()) as this, date_trunc('month', now()) - interval '1 month' as last"
    )[0]
    for month, since, until in (("month", first.last, first.this), ("open_month", first.this, None)):
        for name, said in TEXTS.items():
            wanted = Filter(**said, since=since, until=until)  # type: ignore[arg-type]
            taken = milliseconds(connection, partial(inside.find, rows, state, wanted), 3)
            yield Figure(f"{month}_{name}_ms", taken, 200)


def one_by_one(bench: Bench) -> tuple[psycopg.Connection[Any], Server]:
    """A log of 100,000 updates of one row each: a statement costs a seal as much as a row."""
    connection, server = fresh(bench, "bench_audit_ones")
    connection.execute(TABLE)
    connection.execute(FILL.replace("%s", str(FEW)))
    watch(connection, server, ("learners",))
    for _ in range(100_000 // 300 + 1):
        connection.execute(ONES)
    connection.execute("vacuum analyze")
    return connection, server


def seal_figures(connection: psycopg.Connection[Any], server: Server, which: str = "") -> Iterator[Figure]:
    """Changes sealed and verified in a second of processor, ours and the server's together."""

    def used() -> float:
        return time.process_time() + cpu(connection)

    started = used()
    seals = [seal for seal in (seal_next(connection, server) for _ in range(5)) if seal]
    query = (
        "select sum(case operation when 'U' then images / 2 else images end)::float"
        " from dbadmin_audit.statement where id <= %s"
    )
    count = (connection.execute(query, [seals[-1].last_id]).fetchone() or [0])[0]
    yield Figure(f"sealed_per_processor_second{which}", count / (used() - started), 50_000, "higher")
    started = used()
    wrong = [finding for seal in seals for finding in verify_seal(connection, seal)]
    yield Figure(f"verified_per_processor_second{which}", count / (used() - started), 50_000, "higher")
    yield Figure(f"false_alarms{which}", len(wrong), 0)
