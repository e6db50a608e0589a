"""Partitioned tables: until when new rows have a place, and what waits for nobody to tell."""

import datetime as dt

import pytest

pytestmark = pytest.mark.servers


def day(days):
    return (dt.datetime.now(dt.UTC).date() + dt.timedelta(days)).isoformat()


def table(name, key="date", first=-60, last=3, more=""):
    return f"""
        create table {name} (id int, at {key}) partition by range (at);
        create table {name}_1 partition of {name} for values from ('{day(first)}') to ('{day(0)}');
        create table {name}_2 partition of {name} for values from ('{day(0)}') to ('{day(last)}');
        {more}
    """


@pytest.fixture
def rows(read):
    return lambda: {row.table: row for row in read("partitioned_tables").rows}


@pytest.mark.parametrize("key", ["date", "timestamp", "timestamptz"])
def test_says_until_when_new_rows_have_a_place(make, rows, read, key):
    make(table("events", key))
    row = rows()["events"]
    assert row.partitions_count == 2
    assert 2 * 86400 < row.covered_seconds <= 3 * 86400
    assert read("partitioned_tables").probe.state_of(row) == "warning"


def test_default_partition_is_no_cover_and_its_rows_are_counted(make, rows):
    """What it takes forbids the partition that is made too late."""
    make(table("events", more="create table events_rest partition of events default;"))
    make(f"insert into events values (1, '{day(90)}'); analyze events_rest")
    row = rows()["events"]
    assert 2 * 86400 < row.covered_seconds <= 3 * 86400
    assert row.default_rows == 1


DAYS, HOURS = 86400, 3600


@pytest.mark.parametrize(
    "starts,step,lead,wanted",
    [
        ("date_trunc('month', now())", "1 month", None, 1),
        ("date_trunc('day', now())", "1 day", 7 * DAYS, 7),
        ("date_trunc('hour', now())", "1 hour", 7 * HOURS, 7),
        ("now() - interval '1 day'", "3 days", 7 * DAYS, 3),
        ("date_trunc('week', now())", "1 week", 7 * DAYS, 1),
        ("date_trunc('year', now())", "1 year", 31 * DAYS, 1),
    ],
)
def test_how_far_ahead_there_should_be_partitions_follows_their_length(
    make, read, starts, step, lead, wanted
):
    make(f"""
        create table events (id int, at timestamptz) partition by range (at);
        do $$ declare starts timestamptz := {starts}; begin
            execute format('create table events_1 partition of events for values from (%L) to (%L)',
                starts, starts + interval '{step}');
        end $$;
    """)
    found = read("partitioned_tables")
    (row,) = found.rows
    assert lead in (None, row.lead_seconds)
    is_short = row.covered_seconds < row.lead_seconds
    assert row.wanted_count == (wanted if is_short else None)
    assert found.probe.state_of(row) == (
        "critical" if row.covered_seconds < row.lead_seconds / 7 else "warning" if is_short else ""
    )


def test_of_months_the_next_whole_one_must_be_there_before_it_begins(make, read):
    make("""
        create table events (id int, at date) partition by range (at);
        do $$ declare starts date := date_trunc('month', now()); begin
            for ahead in 0..1 loop
                execute format('create table events_%s partition of events for values from (%L) to (%L)', ahead,
                    starts + make_interval(months => ahead), starts + make_interval(months => ahead + 1));
            end loop;
        end $$;
    """)
    found = read("partitioned_tables")
    assert (found.rows[0].wanted_count, found.probe.state_of(found.rows[0])) == (None, "")
    make("drop table events_1")
    found = read("partitioned_tables")
    row = found.rows[0]
    assert row.covered_seconds < row.lead_seconds
    assert row.lead_seconds in {days * DAYS for days in (28, 29, 30, 31)}
    assert (row.wanted_count, found.probe.state_of(row) in {"warning", "critical"}) == (1, True)


def test_a_hole_before_the_last_partition_ends_what_is_covered(make, rows):
    far = f"create table events_4 partition of events for values from ('{day(9)}') to ('{day(40)}')"
    make(table("events", more=far))
    row = rows()["events"]
    assert 2 * 86400 < row.covered_seconds <= 3 * 86400
    assert (row.hole_at.date().isoformat(), row.ends_at.date().isoformat()) == (day(3), day(40))


def test_partitions_that_follow_each_other_have_no_hole_and_an_open_end_covers_everything(make, rows):
    make(
        table(
            "events", more=f"create table f partition of events for values from ('{day(3)}') to ('{day(9)}')"
        )
    )
    make(table("open", more=f"create table o partition of open for values from ('{day(3)}') to (maxvalue)"))
    found = rows()
    assert found["events"].hole_at is None
    assert 8 * 86400 < found["events"].covered_seconds <= 9 * 86400
    assert (found["open"].ends_at, found["open"].hole_at, found["open"].covered_seconds) == (None, None, None)


def test_a_hole_at_this_moment_is_below_zero(make, rows):
    make(f"""
        create table events (id int, at date) partition by range (at);
        create table events_1 partition of events for values from ('{day(-9)}') to ('{day(-2)}');
        create table events_2 partition of events for values from ('{day(5)}') to ('{day(9)}');
    """)
    assert -3 * 86400 < rows()["events"].covered_seconds <= -2 * 86400


def test_archive_that_ended_long_ago_does_not_alarm(make, rows):
    make(f"""
        create table archive (id int, at date) partition by range (at);
        create table archive_1 partition of archive for values from ('{day(-90)}') to ('{day(-60)}');
    """)
    assert rows()["archive"].covered_seconds is None
    assert rows()["archive"].ends_at is not None


def test_tables_divided_otherwise_have_no_end(make, rows):
    make("""
        create table areas (id int, name text) partition by list (name);
        create table areas_1 partition of areas for values in ('north', 'south');
        create table numbers (id int) partition by hash (id);
        create table numbers_1 partition of numbers for values with (modulus 2, remainder 0);
        create table ranges (id int) partition by range (id);
    """)
    found = rows()
    assert {name: (row.partitioned_by, row.ends_at) for name, row in found.items()} == {
        "areas": ("list of name", None),
        "numbers": ("hash of id", None),
        "ranges": ("range of id", None),
    }
    assert found["ranges"].partitions_count == 0


def test_constraint_that_nobody_checked_is_found_until_it_is_validated(make, read):
    make("""
        create table customers (id int primary key);
        create table orders (id int, customer_id int, price int);
        alter table orders add constraint known foreign key (customer_id) references customers not valid;
        alter table orders add constraint positive check (price > 0) not valid;
    """)
    found = [(row.constraint, row.kind, row.refers_to) for row in read("unvalidated_constraints").rows]
    assert found == [("known", "foreign key", "public.customers"), ("positive", "check", None)]
    make("alter table orders validate constraint known; alter table orders validate constraint positive")
    assert read("unvalidated_constraints").rows == []


def test_constraint_that_is_not_enforced_is_none_that_could_be_checked(since_18, make, read):
    make("""
        create table orders (id int, price int constraint positive check (price > 0) not enforced);
        alter table orders add constraint numbered not null id not valid;
    """)
    assert [row.constraint for row in read("unvalidated_constraints").rows] == ["numbered"]


def test_policies_that_do_nothing_are_called_ineffective(make, read):
    make("""
        create table secrets (id int); create policy own on secrets using (true);
        create table shut (id int); alter table shut enable row level security;
    """)
    rows = {row.table: row for row in read("row_security").rows}
    assert (rows["secrets"].state, rows["secrets"].ineffective_count) == ("off", 1)
    assert (rows["shut"].state, rows["shut"].policies_count) == ("on", 0)
