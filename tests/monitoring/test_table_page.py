"""The page about one table tells what is true of it, whatever it is and whatever it is called."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from django.test import Client
from django.utils import timezone

from dbadmin import readings
from dbadmin.connections import Session
from dbadmin.models import Server
from dbadmin.pages import PAGES
from dbadmin.probes import PROBES, Problem
from monitoring.keeper import Keeper
from monitoring.layouts import Look
from monitoring.models import Name, Statement, Text
from monitoring.pages import SIZE
from monitoring.recorder import Known, Moment, Recorder, Sample
from monitoring.series import series

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

SHOP = """
create schema shop;
create table shop.customers (id int generated always as identity primary key, email text unique);
create table shop.orders (
    id bigint primary key, customer_id int references shop.customers, state text default 'new',
    total numeric(12,2) generated always as (id * 2) stored);
comment on table shop.orders is 'What was bought';
create index orders_state on shop.orders (state) include (customer_id) where state <> 'paid';
create index orders_lower on shop.orders (lower(state));
alter table shop.orders add constraint state_known check (state <> '') not valid;
insert into shop.orders (id) select generate_series(1, 3000);
create view shop.open_orders as select * from shop.orders;
create materialized view shop.totals as select state, count(*) from shop.orders group by state;
create table shop.events (id int, at date, primary key (id, at)) partition by range (at);
create table shop.events_1 partition of shop.events for values from ('2025-01-01') to ('2026-01-01');
create table shop.events_2 partition of shop.events for values from ('2026-01-01') to ('2027-01-01')
    partition by list (id);
create table shop.events_2_a partition of shop.events_2 default;
insert into shop.events select i, '2025-06-01'::date + i % 300 from generate_series(1, 900) i;
"""


@pytest.fixture
def page_of(server: Server, client_as: Callable[[str], Client]) -> Callable[..., str]:
    """The page about a table as a role sees it: page_of("orders", role="viewer")."""

    def get(table: str, schema: str = "shop", role: str = "admin", **params: str) -> str:
        address = f"/servers/{server.name}/table/?{urlencode({'schema': schema, 'table': table, **params})}"
        answer = client_as(role).get(address)
        assert answer.status_code == 200
        return answer.content.decode()

    return get


@pytest.fixture
def rows_of(server: Server, client_as: Callable[[str], Client]) -> Callable[..., list[dict[str, Any]]]:
    """The rows of a panel of the page, as a program gets them."""

    def get(panel: str, table: str, schema: str = "shop", **params: str) -> list[dict[str, Any]]:
        query = {"schema": schema, "table": table, "panel": panel, "format": "json", **params}
        answer = client_as("viewer").get(f"/servers/{server.name}/table/", query)
        found = json.loads(answer.content)
        assert found["problem"] is None
        return list(found["rows"])

    return get


@pytest.fixture
def shop(make: Callable[[str], None]) -> None:
    make(SHOP)
    make("vacuum analyze")


def test_a_table_is_told_in_full(shop, page_of, rows_of, target):
    page = page_of("orders")
    assert "<h1>shop.orders</h1>" in page
    assert "What was bought" in page
    for said in (
        "orders_state",
        "state including customer_id",
        "FOREIGN KEY (customer_id) REFERENCES shop.customers(id)",
    ):
        assert said in page
    (facts,) = rows_of("table_facts", "orders")
    assert (facts["kind"], facts["live_rows"]) == ("table", 3000)
    assert facts["rows_from"] == "the statistics of the server"
    assert facts["total_bytes"] == facts["heap_bytes"] + facts["index_bytes"] + facts["toast_bytes"]
    columns = {row["column"]: row for row in rows_of("table_columns", "orders")}
    assert list(columns) == ["id", "customer_id", "state", "total"]
    assert (columns["state"]["default"], columns["state"]["may_be_null"]) == ("'new'::text", True)
    assert columns["total"]["type"] == "numeric(12,2)"
    assert columns["total"]["default"] == "generated: (id * 2)"
    assert (columns["id"]["null_ratio"], columns["id"]["distinct_count"]) == (None, None)
    assert columns["id"]["remedy"] == "GRANT SELECT ON shop.orders TO dbadmin_monitor;"
    found = PROBES["table_columns"].read(target, schema="shop", table="orders").rows[0]
    assert (found.null_ratio, found.distinct_count, found.remedy) == (0, 3000, None)
    indexes = {row["index"]: row for row in rows_of("table_indexes", "orders")}
    assert (indexes["orders_state"]["columns"], indexes["orders_state"]["is_partial"]) == (
        "state including customer_id",
        True,
    )
    assert (indexes["orders_pkey"]["enforces"], indexes["orders_pkey"]["plain"]) == ("primary key", None)
    constraints = {row["constraint"]: row for row in rows_of("table_constraints", "customers")}
    assert constraints["orders_customer_id_fkey"]["kind"] == "referenced by a foreign key"


def test_what_old_rows_may_not_hold_to_is_told(since_18, shop, make, target):
    def constraints():
        found = PROBES["table_constraints"].read(target, schema="shop", table="orders").rows
        return {row.constraint: (row.is_validated, row.unchecked) for row in found}

    def may_be_null():
        found = PROBES["table_columns"].read(target, schema="shop", table="orders").rows
        return {row.column: row.may_be_null for row in found}

    make("""
        alter table shop.orders add constraint dear check (total > 9) not enforced;
        alter table shop.orders add constraint known not null state not valid;
    """)
    assert (constraints()["dear"], constraints()["known"]) == ((None, None), (False, "known"))
    assert (may_be_null()["id"], may_be_null()["state"]) == (False, True)
    make("alter table shop.orders validate constraint known")
    assert "known" not in constraints()
    assert may_be_null()["state"] is False


def test_its_growth_is_told_in_heap_indexes_and_toast(shop, make, page_of, server, target):
    recorder, keeper, sizes = Recorder(), Keeper(), []
    start = timezone.now().replace(microsecond=0) - dt.timedelta(minutes=20)
    for minutes in (0, 5, 10):
        if minutes == 10:
            make("insert into shop.orders (id) select generate_series(3001, 9000)")
            make("vacuum analyze shop.orders")
        reading, at = PROBES["tables"].read(target), start + dt.timedelta(minutes=minutes)
        reading = replace(reading, server_name=server.name, taken_at=at)
        sample, _ = recorder.record(reading, Moment(at, at.timestamp(), None, None))
        keeper.keep(server, [sample] if sample else [], [], [])
        orders = next(row for row in reading.rows if row.table == "orders")
        sizes.append({name: getattr(orders, name) for name in SIZE})
    assert sizes[0] == sizes[1]
    assert all(sizes[2][name] > sizes[0][name] for name in SIZE if name != "toast_bytes")
    place = {"key": ["shop", "orders"], "start": start, "end": timezone.now(), "database": target.database}
    for name in SIZE:
        known = [value for value in series(server, "tables", name, **place).values if value is not None]
        assert (known[0], known[-1]) == (sizes[0][name], sizes[2][name])
    page = page_of("orders")
    for name in ("Total", "Heap", "Index", "TOAST"):
        assert f'"{name}"' in page


def test_its_operations_are_offered_filled_in(shop, page_of):
    page = page_of("orders").replace("&amp;", "&")
    for name in ("vacuum_table", "analyze_table", "create_index", "watch_table"):
        assert f"/do/{name}/?schema=shop&table=orders" in page
    assert "/do/refresh_view/" not in page
    assert "/do/validate_constraint/?schema=shop&table=orders&constraint=state_known" in page
    assert "/do/drop_index/?schema=shop&index=orders_lower" in page
    assert "/do/drop_index/?schema=shop&index=orders_pkey" not in page
    assert "/do/refresh_view/?schema=shop&view=totals" in page_of("totals").replace("&amp;", "&")
    assert "/do/" not in page_of("open_orders")
    assert "/do/" not in page_of("orders", role="viewer")


def test_what_is_watched_already_or_is_a_partition_is_not_offered_to_be_watched(shop, make, page_of):
    assert "/do/watch_table/" in page_of("events")
    assert "/do/watch_table/" not in page_of("events_2_a")
    make("create function nothing() returns trigger language plpgsql as 'begin return null; end'")
    make("create trigger dbadmin_audit_insert after insert on shop.orders execute function nothing()")
    assert "/do/watch_table/" not in page_of("orders")


def test_a_partitioned_table_counts_what_is_below_it(shop, rows_of, target):
    (facts,) = rows_of("table_facts", "events")
    assert (facts["kind"], facts["live_rows"]) == ("partitioned table", 900)
    parts = "values ('shop.events_1'::regclass), ('shop.events_2_a')"
    assert facts["heap_bytes"] == target.value(f"select sum(pg_relation_size(column1)) from ({parts}) parts")
    below = {row["table"]: row for row in rows_of("table_family", "events")}
    assert list(below) == ["events_1", "events_2"]
    assert below["events_1"]["holds"] == "FROM ('2025-01-01') TO ('2026-01-01')"
    assert (below["events_2"]["partitions_count"], below["events_2"]["relation"]) == (1, "partition")
    assert sum(row["live_rows"] for row in below.values()) == 900
    assert rows_of("table_vacuum", "events") == []
    (index,) = rows_of("table_indexes", "events")
    assert index["size_bytes"] == target.value(f"select sum(pg_indexes_size(column1)) from ({parts}) parts")


def test_a_partition_leads_to_its_parent(shop, page_of, rows_of):
    (facts,) = rows_of("table_facts", "events_2_a")
    assert facts["kind"] == "partition, a table"
    (parent,) = rows_of("table_family", "events_2_a")
    assert (parent["relation"], parent["table"], parent["holds"]) == ("parent", "events_2", "DEFAULT")
    assert "table/?db=" in page_of("events_2_a")


def test_a_view_has_columns_and_no_size(shop, page_of, rows_of):
    (facts,) = rows_of("table_facts", "open_orders")
    assert (facts["kind"], facts["live_rows"], facts["total_bytes"]) == ("view", None, None)
    assert [row["column"] for row in rows_of("table_columns", "open_orders")] == [
        "id",
        "customer_id",
        "state",
        "total",
    ]
    assert "It has no index." in page_of("open_orders")


def test_a_foreign_table_says_that_it_is_one(shop, make, rows_of):
    make("""
        create extension postgres_fdw;
        create server elsewhere foreign data wrapper postgres_fdw;
        create foreign table shop.far (id int) server elsewhere;
    """)
    (facts,) = rows_of("table_facts", "far")
    assert (facts["kind"], facts["live_rows"], facts["total_bytes"]) == ("foreign table", None, None)
    assert rows_of("table_size", "far", ask="table_size") == []


def test_a_materialized_view_tells_how_fresh_it_is(shop, page_of, server, target):
    readings.store(server, PROBES["materialized_views"].read(target))
    page = page_of("totals")
    assert '<h2 id="materialized_views-title">Freshness</h2>' in page
    assert "materialized_views-title" not in page_of("orders")


def test_what_is_not_there_is_called_so_and_only_its_past_is_shown(shop, page_of):
    page = page_of("nosuch")
    assert (
        "This database has no table or view of this name. If there was one, what is kept of its past stands below."
        in page
    )
    assert page.count('<section class="panel') == 1


@pytest.mark.parametrize(
    "name", ['say "hi"', "a/b\nc", "sl/ash.dot?a=b&c#d", "<b>naïve — 表</b>", "%s{0}\\", " lead ing "]
)
def test_a_name_may_hold_anything(name, make, page_of, rows_of):
    quoted = name.replace('"', '""')
    make(f'create schema "{quoted}"; create table "{quoted}"."{quoted}" (id int primary key)')
    page = page_of(name, name)
    assert "Primary key" in page or "PRIMARY KEY (id)" in page
    assert "<b>naïve" not in page
    (facts,) = rows_of("table_facts", name, name)
    assert (facts["schema"], facts["table"], facts["stored"]) == (name, name, name)


def test_the_lists_lead_to_it(shop, server, target, client_as):
    for probe in ("tables", "indexes", "materialized_views"):
        readings.store(server, PROBES[probe].read(target))
    client = client_as("viewer")
    address = f"/servers/{server.name}/table/?db={target.database}&amp;schema=shop&amp;table="
    for room, tables in (
        ("tables", {"orders", "events", "totals"}),
        ("indexes", {"orders"}),
        ("views", {"totals"}),
    ):
        page = client.get(f"/servers/{server.name}/{room}/").content.decode()
        for table in tables:
            assert f'<a href="{address}{table}">{table}</a>' in page


def test_an_address_without_a_table_says_what_it_lacks(server, client_as):
    page = client_as("viewer").get(f"/servers/{server.name}/table/?schema=public").content.decode()
    assert "The address names no schema and table. Choose one among" in page
    assert '<section class="panel' not in page


def test_audit_is_for_those_who_may_see_it(shop, page_of):
    assert "Its changes are not recorded." in page_of("orders")
    assert "Its changes are not recorded." not in page_of("orders", role="viewer")


def test_a_file_of_audit_needs_the_right(shop, server, client_as):
    query = {"schema": "shop", "table": "orders", "panel": "audited_tables", "format": "csv"}
    assert client_as("viewer").get(f"/servers/{server.name}/table/", query).status_code == 403
    answer = client_as("admin").get(f"/servers/{server.name}/table/", query)
    assert answer.content.decode() == "schema,table,since_at,key,versions,log_bytes\n"


def test_its_own_thresholds_say_when_vacuum_comes(make, analyzed, rows_of, target):
    make("""
        create table t (id int) with (
            autovacuum_vacuum_threshold = 10, autovacuum_vacuum_scale_factor = 0.5,
            autovacuum_analyze_threshold = 500, autovacuum_analyze_scale_factor = 0,
            autovacuum_vacuum_insert_threshold = -1, autovacuum_freeze_max_age = 150000000);
        insert into t select generate_series(1, 100);
    """)
    analyzed("vacuum analyze t", "t")
    lines = {row["counts"]: row for row in rows_of("table_vacuum", "t", "public")}
    assert lines["dead rows"]["limit_count"] == 60
    assert lines["rows changed since the last analyze"]["limit_count"] == 500
    assert lines["age of its oldest transaction number"]["limit_count"] == 150000000
    assert "rows inserted since the last vacuum" not in lines
    assert lines["dead rows"]["last_at"] is not None
    make("alter table t set (autovacuum_enabled = off)")
    (dead, *_) = PROBES["table_vacuum"].read(target, schema="public", table="t").rows
    assert (dead.autovacuum, dead.reached_ratio, dead.due_seconds) == ("off", None, None)


def test_when_it_is_due_follows_from_the_pace_since_the_last(make, target, analyzed):
    make(
        "create table t (id int) with (autovacuum_enabled = off); insert into t select generate_series(1, 1000)"
    )
    analyzed("vacuum analyze t", "t")
    make("alter table t reset (autovacuum_enabled); delete from t where id <= 125")
    for _ in range(100):
        dead = PROBES["table_vacuum"].read(target, schema="public", table="t").rows[0]
        if dead.now_count:
            break
        target.value("select pg_sleep(0.05)")
    assert (dead.now_count, dead.limit_count) == (125, 250)
    # Half of the way was gone since then: the other half takes as long again.
    since = target.value("select extract(epoch from now() - %s)::float8", [dead.last_at])
    assert 0 < dead.due_seconds <= since


def test_exact_figures_are_measured_only_when_somebody_asks(shop, make, page_of, rows_of):
    make("create extension pgstattuple")
    page = page_of("orders")
    assert page.count("Measure now") == 2
    asked = page_of("orders", ask="exact_bloat")
    assert asked.count("Measure now") == 1
    (exact,) = rows_of("exact_bloat", "orders", ask="exact_bloat")
    assert exact["live_rows"] == 3000
    (size,) = rows_of("table_size", "orders", ask="table_size")
    (facts,) = rows_of("table_facts", "orders")
    assert (size["heap_bytes"], size["index_bytes"]) == (facts["heap_bytes"], facts["index_bytes"])


def test_a_role_that_may_read_nothing_is_told_all_but_what_the_columns_hold(shop, make, postgres, database):
    make("drop role if exists stranger; create role stranger login password 'x'")
    with psycopg.connect(postgres.dsn_for(database), user="stranger", password="x") as connection:
        session = Session(connection)
        for panel in PAGES["table"].panels:
            probe = PROBES[panel.probe]
            if probe.params and probe.name != "exact_bloat":
                assert probe.read(session, schema="shop", table="orders").problem is None, probe.name
        columns = PROBES["table_columns"].read(session, schema="shop", table="orders").rows
        assert (columns[0].column, columns[0].null_ratio) == ("id", None)
    make("drop role stranger")


def test_a_lock_on_it_is_not_waited_for(shop, page_of, connection):
    holder = connection()
    holder.execute("lock table shop.orders in access exclusive mode")
    page = page_of("orders", ask="table_size")
    assert "A lock held by another session was in the way; we did not wait for it." in page
    assert "orders_state" in page


def test_a_missing_right_comes_with_its_grant(shop, page_of, server, target):
    reading = PROBES["table_bloat"].read(target)
    reading.rows, reading.problem = (
        [],
        Problem("privilege", "m may not see this.", 'GRANT pg_read_all_data TO "m";'),
    )
    readings.store(server, reading)
    assert "GRANT pg_read_all_data TO &quot;m&quot;;" in page_of("orders")


TEXTS = {
    1: "select * from shop.orders where id = $1",
    2: "update orders set state = $1",
    3: "select orders from shop.customers",
    4: "select * from other.orders",
}


@pytest.fixture
def ran(server: Server, target: Session) -> None:
    """Four statements ran a minute ago."""
    sample = Sample(
        "statements",
        "",
        timezone.now() - dt.timedelta(minutes=1),
        60.0,
        False,
        ("calls_total", "exec_seconds_total"),
    )
    for number, text in TEXTS.items():
        sample.add(Known((10, 5, number, True), Look((), (), [])), [number, number * 1_000_000])
        kept = Text.objects.create(digest=bytes([number]), fingerprint=str(number), text=text)
        Statement.objects.create(server=server, database_id=5, query_id=number, text=kept)
    Keeper().keep(server, [sample], [], [])
    Name.objects.create(server=server, kind="role", number=10, name="app")
    Name.objects.create(server=server, kind="database", number=5, name=target.database)


def test_the_statements_that_name_it_lead_to_their_pages(shop, ran, page_of, rows_of, server):
    found = rows_of("table_statements", "orders")
    assert [(row["query"], row["total_seconds"], row["schema_is_said"]) for row in found] == [
        (TEXTS[2], 2.0, False),
        (TEXTS[1], 1.0, True),
    ]
    assert f'<a href="/servers/{server.name}/queries/{found[0]["line_id"]}/">{TEXTS[2]}</a>' in page_of(
        "orders"
    )
    assert "No statement that was counted in the last 24 hours names it." in page_of("totals")
