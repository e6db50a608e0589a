"""Materialized views: a refresh is seen, and what is no refresh is not taken for one."""

import datetime as dt

import pytest

from dbadmin.connections import Session, limit
from dbadmin.probes import PROBES

pytestmark = pytest.mark.servers


@pytest.fixture
def summary(make):
    make("""
        create table facts (id int, kind int) partition by range (id);
        create table facts_1 partition of facts for values from (0) to (1000);
        create view recent as select * from facts where id > 10;
        create materialized view summary as select kind, count(*) from recent group by kind;
        create unique index on summary (kind);
    """)


@pytest.fixture
def row(read, summary):
    """The one view, read now."""
    return lambda: read("materialized_views").rows[0]


@pytest.mark.parametrize(
    "statement", ["refresh materialized view summary", "refresh materialized view concurrently summary"]
)
def test_refresh_is_seen_even_if_nothing_changed(row, make, statement):
    before = row()
    make(statement)
    after = row()
    assert after.refresh_mark != before.refresh_mark
    assert before.refreshed_at < after.refreshed_at <= dt.datetime.now(dt.UTC)
    assert 0 <= after.stale_seconds < 10


@pytest.mark.parametrize(
    "statement",
    ["analyze summary", "vacuum summary", "create index on summary (count)", "reindex table summary"],
)
def test_upkeep_is_not_taken_for_a_refresh(row, make, statement):
    before = row()
    make(statement)
    assert row().refresh_mark == before.refresh_mark


def test_changes_underneath_count_through_views_and_partitions(row, make, target: Session):
    before = row().base_changes_total
    make("insert into facts select i, i % 3 from generate_series(1, 90) i; delete from facts where id <= 5")
    for _ in range(50):
        if row().base_changes_total == before + 95:
            break
        target.value("select pg_sleep(0.1)")
    assert row().base_changes_total == before + 95


def test_says_whether_readers_need_not_wait_and_whether_it_is_filled(make, read):
    make("""
        create materialized view plain as select 1 as a;
        create materialized view hidden as select 1 as a with no data;
        create unique index on hidden (a) where a > 0;
    """)
    rows = {row.view: row for row in read("materialized_views").rows}
    assert rows["plain"].is_populated
    assert not rows["plain"].refreshable_beside_readers
    assert not rows["hidden"].is_populated
    assert not rows["hidden"].refreshable_beside_readers
    assert rows["hidden"].refreshed_at is None


def test_size_counts_indexes_and_toast_as_the_page_of_tables_does(make, read):
    make("""
        create materialized view wide as select g as id, repeat('x', 10) as text from generate_series(1, 1000) g;
        create index on wide (id);
    """)
    make("vacuum analyze wide")
    (view,) = read("materialized_views").rows
    (table,) = (row for row in read("tables").rows if row.table == "wide")
    assert view.total_bytes == table.total_bytes > table.index_bytes + table.heap_bytes


def test_moment_of_refresh_is_unknown_without_commit_timestamps(new_postgres):
    server = new_postgres(track_commit_timestamp="off")
    with server.connect() as connection:
        connection.execute("create materialized view summary as select 1 as a")
        limit(connection)
        (row,) = PROBES["materialized_views"].read(Session(connection)).rows
    assert row.refreshed_at is None
    assert row.stale_seconds is None
    assert row.refresh_mark
