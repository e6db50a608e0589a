"""Indexes: unused, repeated and broken ones are really made; what must not be dropped is never offered."""

import psycopg
import pytest

pytestmark = pytest.mark.servers


def indexes(reading):
    return {row.index: row for row in reading.rows}


@pytest.fixture
def orders(make):
    make("""
        create table customers (id int primary key, email text);
        create table orders (id bigint primary key, customer_id int references customers, state text,
            note text);
        insert into customers select i, i from generate_series(1, 500) i;
        insert into orders select i, i % 500 + 1, 'state' || i % 9, repeat(md5(i::text), 4)
            from generate_series(1, 30000) i;
    """)


def test_unused_index_is_found_and_a_used_one_is_not(orders, make, read, postgres, database):
    make("create index never on orders (note); create index used on orders (note, id); analyze orders")
    with postgres.connect(database) as connection:
        connection.execute("set enable_seqscan = off; set enable_bitmapscan = off; drop index never")
        connection.execute("select count(*) from orders where note = 'x'")
        connection.execute("create index never on orders (note)")
        connection.execute("select pg_stat_force_next_flush()" if postgres.major >= 15 else "select 1")
    with postgres.connect(database) as connection:
        while not connection.execute(
            "select idx_scan from pg_stat_user_indexes where indexrelname = 'used'"
        ).fetchone()[0]:
            connection.execute("select pg_sleep(0.1)")
    found = indexes(read("unused_indexes"))
    assert set(found) == {"never"}
    assert found["never"].verdict == "too early to tell"
    assert found["never"].size_bytes > 1024 * 1024


def test_index_that_enforces_or_backs_a_foreign_key_is_never_called_unused(orders, make, read):
    make("""
        alter table orders add constraint note_once unique (note, id);
        create index for_the_key on orders (customer_id, note);
        analyze orders
    """)
    assert set(indexes(read("unused_indexes"))) == set()


def test_partitioned_index_is_judged_as_a_whole(make, read):
    """Dropping the index of one partition fails: the row names the parent's index, with the size of all."""
    make("""
        create table events (id bigint, at date, body text) partition by range (at);
        create table events_1 partition of events for values from ('2025-01-01') to ('2026-01-01');
        create table events_2 partition of events for values from ('2026-01-01') to ('2027-01-01');
        create index events_body on events (body);
        insert into events select i, '2025-01-01'::date + (i % 700)::int, repeat(md5(i::text), 4)
            from generate_series(1, 40000) i;
        analyze events;
    """)
    found = indexes(read("unused_indexes"))
    assert set(found) == {"events_body"}
    assert found["events_body"].partitions_count == 2
    assert indexes(read("indexes"))["events_body"].size_bytes == found["events_body"].size_bytes


def test_repeated_indexes_are_graded(orders, make, read):
    make("""
        create index one on orders (state);
        create index same on orders (state);
        create index longer on orders (state, customer_id);
        create index wider on orders (note) include (state);
        create index narrow on orders (note);
        create unique index email_once on customers (email);
        create index email_plain on customers (email);
    """)
    found = indexes(read("duplicate_indexes"))
    assert {name: (row.grade, row.covered_by) for name, row in found.items()} == {
        "one": ("prefix", "longer"),
        "same": ("exact", "one"),
        "narrow": ("include", "wider"),
        "email_plain": ("covered by unique", "email_once"),
    }


def test_equal_expressions_and_conditions_are_equal_however_they_are_written(orders, make, read):
    make("""
        create index lower_1 on orders (lower(state));
        create index lower_2 on orders ( lower( state ) );
        create index some_1 on orders (note) where state = 'new';
        create index some_2 on orders (note) where   state='new';
        create index others on orders (note) where state = 'old';
    """)
    found = indexes(read("duplicate_indexes"))
    assert {name: row.covered_by for name, row in found.items()} == {"lower_2": "lower_1", "some_2": "some_1"}


def test_what_looks_alike_and_is_not_is_left_alone(orders, make, read):
    make("""
        create index plain on orders (state);
        create index backwards on orders (state desc);
        create index pattern on orders (state text_pattern_ops);
        create index hashed on orders using hash (state);
        create index german on orders (state collate "C");
        create unique index pair on orders (customer_id, id);
        create unique index alone on orders (id, customer_id);
    """)
    assert indexes(read("duplicate_indexes")) == {}


def test_leftover_of_a_failed_build_is_found(orders, make, read, postgres, database):
    with (
        postgres.connect(database) as connection,
        pytest.raises(psycopg.errors.UniqueViolation),
    ):
        connection.execute("create unique index concurrently state_once on orders (state)")
    (row,) = read("invalid_indexes").rows
    assert (row.index, row.state, row.leftover_count) == ("state_once", "left over from a failed build", 1)
    assert indexes(read("indexes"))["state_once"].is_valid is False


def test_foreign_key_that_is_not_enforced_needs_no_index(since_18, make, read):
    make(
        "create table rooms (id int primary key); create table stays (room int references rooms not enforced)"
    )
    assert read("foreign_keys_without_index").rows == []


def test_index_of_a_foreign_key_may_have_its_columns_in_any_order_but_no_condition(make, read):
    make("""
        create table rooms (house int, number int, primary key (house, number));
        create table stays (id int, house int, number int, foreign key (house, number) references rooms);
        create table visits (id int, house int, number int, foreign key (house, number) references rooms);
        create table keys (id int, house int, number int, foreign key (house, number) references rooms);
        create index on stays (number, house);
        create index on visits (house, number) where id > 5;
        create index on keys (house, number) where house is not null;
    """)
    rows = read("foreign_keys_without_index").rows
    assert [(row.table, row.columns, row.refers_to) for row in rows] == [
        ("visits", "house, number", "public.rooms")
    ]
