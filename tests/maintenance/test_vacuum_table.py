"""Vacuum and analyze: they do what they say, and measure it."""

import pytest

from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def table(target):
    target.rows("create table orders (id int) with (autovacuum_enabled = off)")
    target.rows("insert into orders select generate_series(1, 5000)")
    target.rows("delete from orders where id > 1000")
    return target


def test_vacuum_makes_dead_rows_go_and_reads_statistics(table, server):
    run = carry_out(operation("vacuum_table", server, table="orders"))
    assert run.status == "succeeded", run.message
    assert run.plan[0].endswith('VACUUM (ANALYZE) "public"."orders";')
    assert run.result["after"]["size_bytes"] < run.result["before"]["size_bytes"]
    assert "size 40 KiB, was 184 KiB" in run.message
    assert table.value("select reltuples from pg_class where relname = 'orders'") == 1000


def test_vacuum_freezes_on_wish(table, server):
    plan = operation("vacuum_table", server, table="orders", freeze="on", analyze="").plan()
    assert str(plan[0]).endswith('VACUUM (FREEZE) "public"."orders";')


def test_analyze_reads_statistics(table, server):
    run = carry_out(operation("analyze_table", server, table="orders"))
    assert run.status == "succeeded", run.message
    assert table.value("select reltuples from pg_class where relname = 'orders'") == 1000
