"""Tables: folded, sized without locks, and unknown where the server does not know."""

import time

import pytest

from dbadmin.connections import Session, limit
from dbadmin.probes import PROBES
from tests.fixtures.runtime import until

pytestmark = pytest.mark.servers


def by_name(reading):
    return {row.table: row for row in reading.rows}


def test_partitions_are_one_row_with_their_parent(make, read, counted):
    make("""
        create table events (id int, at date, body text, primary key (id, at)) partition by range (at);
        create table events_1 partition of events for values from ('2025-01-01') to ('2026-01-01');
        create table events_2 partition of events for values from ('2026-01-01') to ('2027-01-01')
            partition by list (id);
        create table events_2_a partition of events_2 default;
        insert into events select i, '2025-06-01'::date + i % 300, 'x' from generate_series(1, 9000) i;
    """)
    counted("events_1", 6000)
    counted("events_2_a", 2000)
    make("vacuum analyze")
    rows = by_name(read("tables"))
    assert set(rows) == {"events"}
    assert rows["events"].partitions_count == 2
    assert rows["events"].live_rows == 9000
    assert rows["events"].total_bytes == sum(row.total_bytes for row in read("partitions").rows)
    (whole,) = read("partitioned_tables").rows
    assert (whole.partitions_count, whole.live_rows, whole.partitioned_by) == (2, 9000, "range of at")


def test_size_is_what_the_size_functions_say_after_a_vacuum(make, read, target):
    make("""
        create table files (id int primary key, body text);
        alter table files alter body set storage external;
        insert into files select i, repeat(md5(i::text), 200) from generate_series(1, 500) i;
        create index on files (id, md5(body));
    """)
    make("vacuum analyze files")
    row = by_name(read("tables"))["files"]
    sizes = target.row("select pg_relation_size('files') as heap, pg_indexes_size('files') as indexes")
    assert row.heap_bytes == sizes.heap
    assert row.index_bytes == sizes.indexes
    assert row.toast_bytes > 500 * 6000
    assert row.total_bytes == row.heap_bytes + row.index_bytes + row.toast_bytes


def test_the_size_of_rows_that_nobody_analyzed_yet_is_unknown_not_zero(make, read, counted):
    """Such a table has no pages in the catalog: 1,000 rows were said to take 16 KiB, those of its indexes."""
    make("""
        create table fresh (id int primary key, body text) with (autovacuum_enabled = off);
        insert into fresh select i, repeat('x', 100) from generate_series(1, 1000) i;
        create table empty (id int primary key);
        create materialized view seen as select * from fresh;
        create table years (at date) partition by range (at);
        create table years_1 partition of years for values from ('2025-01-01') to ('2026-01-01')
            with (autovacuum_enabled = off);
        create table years_2 partition of years for values from ('2026-01-01') to ('2027-01-01');
        insert into years select '2025-06-01' from generate_series(1, 500);
    """)
    counted("fresh", 1000)
    counted("years_1", 500)
    counted("seen", 1000)
    rows = by_name(read("tables"))
    for table in ("fresh", "seen", "years"):
        row = rows[table]
        assert (row.total_bytes, row.heap_bytes, row.index_bytes, row.toast_bytes) == (None,) * 4, table
    assert rows["fresh"].live_rows == 1000
    assert rows["empty"].heap_bytes == 0
    assert read("materialized_views").rows[0].total_bytes is None
    assert {row.partition: row.total_bytes for row in read("partitions").rows} == {
        "years_1": None,
        "years_2": 0,
    }
    assert read("partitioned_tables").rows[0].total_bytes is None
    assert read("table_facts", schema="public", table="fresh").rows[0].total_bytes is None
    make("analyze")
    assert all(row.total_bytes for row in by_name(read("tables")).values() if row.table != "empty")
    assert read("partitioned_tables").rows[0].total_bytes == by_name(read("tables"))["years"].total_bytes


def test_counts_lost_in_a_crash_are_unknown_not_zero(new_postgres):
    server = new_postgres()
    with server.connect() as connection:
        connection.execute("create table orders (id int)")
        connection.execute("insert into orders select generate_series(1, 1000)")
        connection.execute("delete from orders where id > 900")
        connection.execute("analyze orders")
        connection.execute("checkpoint")
    before = resets(server)
    server.stop()
    server.start()
    with server.connect() as connection:
        limit(connection)
        row = by_name(PROBES["tables"].read(Session(connection)))["orders"]
        due = by_name(PROBES["vacuum_state"].read(Session(connection)))["orders"]
        lines = PROBES["table_vacuum"].read(Session(connection), schema="public", table="orders").rows
    assert row.live_rows == 900
    assert row.dead_rows is None
    assert row.dead_ratio is None
    assert due.live_rows == 900
    assert (due.dead_rows, due.vacuum_due_ratio, due.analyze_due_ratio) == (None, None, None)
    assert (due.inserted_since_vacuum_rows, due.insert_due_ratio) == (None, None)
    lost = {line.counts: line.now_count is None for line in lines}
    assert lost.pop("age of its oldest transaction number") is False
    assert lost.pop("age of its oldest multixact") is False
    assert len(lost) == 3
    assert all(lost.values())
    changed = {part for part, moment in resets(server).items() if moment != before[part]}
    assert {"server start", "background writer"} <= changed


def resets(server):
    with server.connect() as connection:
        return {row.part: row.reset_at for row in PROBES["statistics_resets"].read(Session(connection)).rows}


def test_reset_of_one_table_moves_the_database_but_not_the_server(new_postgres):
    server = new_postgres()
    with server.connect() as connection:
        connection.execute("create table orders (id int)")
        before = resets(server)
        connection.execute("select pg_stat_reset_single_table_counters('orders'::regclass)")
    changed: set[str] = set()
    for _ in range(50):
        changed = {part for part, moment in resets(server).items() if moment != before[part]}
        if changed:
            break
        time.sleep(0.1)
    assert changed == {"database postgres"}


def test_vacuum_is_due_by_the_tables_own_thresholds(make, read, counted, target, connection):
    reader = connection()
    reader.autocommit = False
    reader.execute("set transaction isolation level repeatable read")
    make("""
        create table usual (id int)
            with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
        create table eager (id int)
            with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10);
        create table never (id int) with (autovacuum_enabled = off);
        insert into usual select generate_series(1, 1000);
        insert into eager select generate_series(1, 1000);
        insert into never select generate_series(1, 1000);
    """)
    for name in ("usual", "eager", "never"):
        counted(name, 1000)
        make(f"analyze {name}")
        reader.execute(
            "select"
        )  # autovacuum may come at any moment, but takes nothing away that this one could see
        make(f"delete from {name} where id <= 500")
    until(lambda: all(row.dead_rows == 500 for row in read("vacuum_state").rows))
    rows = by_name(read("vacuum_state"))
    assert rows["eager"].vacuum_due_ratio == pytest.approx(500 / 11)
    assert rows["usual"].vacuum_due_ratio == pytest.approx(500 / 1001)
    assert rows["never"].vacuum_due_ratio is None
    assert rows["never"].autovacuum == "off"
    assert next(iter(rows)) == "eager"


def test_sequence_counts_against_the_narrower_of_itself_and_its_column(make, read):
    make("""
        create table wide (id bigint generated always as identity);
        create table narrow (id int);
        create sequence narrow_ids owned by narrow.id;
        select setval('narrow_ids', 2000000000);
        create table small (id smallint generated always as identity);
    """)
    rows = {row.sequence: row for row in read("sequences").rows}
    assert set(rows) == {"narrow_ids", "small_id_seq"}
    assert rows["narrow_ids"].limit_from == "column"
    assert rows["narrow_ids"].used_ratio == pytest.approx(2000000000 / 2147483647)
    assert rows["small_id_seq"].last_value is None
    assert rows["small_id_seq"].left_count is None


def test_sequences_that_count_down_or_end_where_they_were_told_to_can_run_out(make, read):
    make("""
        create sequence down increment -1 minvalue -100; select setval('down', -99);
        create sequence bounded maxvalue 10000000000; select setval('bounded', 9999999990);
        create sequence by_ten increment 10 maxvalue 1000; select setval('by_ten', 985);
        create sequence around maxvalue 10 cycle;
        create sequence endless increment -1;
        create table below (id smallint);
        create sequence below_ids increment -3 owned by below.id; select setval('below_ids', -32760);
    """)
    rows = {row.sequence: row for row in read("sequences").rows}
    assert set(rows) == {"down", "bounded", "by_ten", "below_ids"}
    assert (rows["down"].used_ratio, rows["down"].left_count, rows["down"].limit_value) == (0.99, 1, "-100")
    assert (rows["bounded"].used_ratio, rows["bounded"].left_count) == (pytest.approx(1, abs=1e-6), 10)
    assert (rows["by_ten"].used_ratio, rows["by_ten"].left_count) == (0.985, 1)
    below = rows["below_ids"]
    assert (below.left_count, below.limit_value, below.limit_from) == (2, "-32768", "column")


@pytest.mark.parametrize(
    "table, fill",
    [
        ("a int, b bigint, c int", "i, i, i"),
        ("a bigint, b text", "i, repeat('x', i % 90)"),
        ("a int, b jsonb, c text", "i, jsonb_build_object('k', i, 'v', md5(i::text)), null"),
    ],
)
@pytest.mark.parametrize("kept", [1, 3])
def test_bloat_lies_within_its_error_band(make, read, counted, analyzed, target, table, fill, kept):
    make(f"""
        create extension if not exists pgstattuple;
        create table things ({table}) with (autovacuum_enabled = off);
        insert into things select {fill} from generate_series(1, 60000) i;
        delete from things where a % {kept} <> 0;
    """)
    counted("things", 60000)
    analyzed("vacuum (truncate off, analyze) things", "things")
    (row,) = read("table_bloat").rows
    exact = target.row("select (free_percent + dead_tuple_percent) / 100 as ratio from pgstattuple('things')")
    (checked,) = read("exact_bloat", schema="public", table="things").rows
    assert checked.bloat_ratio == pytest.approx(exact.ratio, abs=0.02)
    assert row.confidence == "good"
    make("vacuum full things")
    won = row.heap_bytes - target.value("select pg_relation_size('things')")
    slack = 0.02 * row.heap_bytes
    assert row.bloat_low_bytes - slack <= won <= row.bloat_high_bytes + slack
    assert row.bloat_bytes == pytest.approx(won, abs=2 * slack)


@pytest.mark.parametrize("computed", ["c int", "a int8"])
def test_bloat_is_known_where_a_column_is_computed_when_it_is_read(
    since_18, make, read, analyzed, target, computed
):
    make(f"""
        create table things (b text, {computed} generated always as (1) virtual, d int8)
            with (autovacuum_enabled = off);
        insert into things (b, d) select repeat('x', i % 90), i from generate_series(1, 60000) i;
        delete from things where d % 3 <> 0;
    """)
    analyzed("vacuum (truncate off, analyze) things", "things")
    (row,) = read("table_bloat").rows
    assert row.confidence == "good"
    make("vacuum full things")
    won = row.heap_bytes - target.value("select pg_relation_size('things')")
    assert row.bloat_bytes == pytest.approx(won, abs=0.04 * row.heap_bytes)


def test_bloat_without_statistics_is_unknown(make, read):
    make("""
        create table things (a int, b text) with (autovacuum_enabled = off);
        insert into things select i, repeat('x', 90) from generate_series(1, 30000) i;
    """)
    make("vacuum things")
    (row,) = read("table_bloat").rows
    assert row.confidence.startswith("none")
    assert (row.bloat_bytes, row.bloat_low_bytes, row.bloat_high_bytes, row.bloat_ratio) == (None,) * 4


def test_healthy_indexes_are_not_called_bloated(make, read, counted, analyzed):
    make("""
        create table things (a bigint, kind int, name text) with (autovacuum_enabled = off);
        insert into things select i, i % 20, md5(i::text) from generate_series(1, 100000) i;
        create index by_number on things (a);
        create index by_kind on things (kind);
        create index by_name on things (name);
        create index by_lower on things (lower(name));
    """)
    counted("things", 100000)
    analyzed("vacuum analyze things", "things")
    rows = {row.index: row for row in read("index_bloat").rows}
    assert {row.confidence for row in rows.values()} == {"good"}
    assert {name for name, row in rows.items() if row.bloat_low_bytes > 0.02 * row.size_bytes} == set()
    assert rows["by_number"].bloat_ratio < 0.06
    make("delete from things where a % 10 <> 0")
    analyzed("vacuum analyze things", "things")
    rows = {row.index: row for row in read("index_bloat").rows}
    assert rows["by_number"].bloat_low_bytes > 0.7 * rows["by_number"].size_bytes


def test_multixacts_count_against_their_own_limit(make, read, target, connection):
    make("""
        create table seats (id int primary key) with (autovacuum_multixact_freeze_max_age = 10000);
        create table rows (id int primary key);
        insert into seats values (1);
    """)
    holder, others = connection(), connection()
    holder.execute("select from seats for share")
    for _ in range(50):
        others.execute("select from seats for share")
        others.commit()
    age = target.value("select mxid_age(relminmxid) from pg_class where relname = 'seats'")
    assert age >= 50
    for probe in ("vacuum_state", "table_wraparound"):
        first = read(probe).rows[0]
        assert (first.table, first.freeze_ratio) == ("seats", pytest.approx(age / 10000)), probe


def test_wraparound_watches_databases_that_nobody_may_enter_too(read, target, database):
    rows = {row.database: row for row in read("wraparound").rows}
    assert rows["template0"].allows_connections is False
    ages = target.row("select age(datfrozenxid) as xid from pg_database where datname = 'template0'")
    assert abs(rows["template0"].xid_age_count - ages.xid) < 1000
    assert rows[database].allows_connections is True
