"""Creating the partitions that are missing: as those that are there, while rows are written, or refused."""

import datetime as dt

import pytest

from dbadmin.operations import Refused, Risk
from maintenance.ranges import Range, Step, missing, name_like, step_of
from tests.carrying_out import carry_out, log_of, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

BOUNDS = """
select c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bound from pg_inherits
join pg_class c on c.oid = inhrelid where inhparent = 'events'::regclass order by 1
"""


def month(ahead, of=None):
    today = of or dt.datetime.now(dt.UTC).date()
    count = today.year * 12 + today.month - 1 + ahead
    return dt.date(count // 12, count % 12 + 1, 1)


@pytest.fixture
def events(target):
    """A partition for the last month and this one; what it has besides is to be on the next one too."""
    target.rows("create table people (id int primary key)")
    target.rows(
        "create table events (at timestamptz not null default now(), id int references people,"
        " twice int generated always as (id * 2) stored, check (id > 0), primary key (at, id))"
        " partition by range (at)"
    )
    for ahead in (-1, 0):
        add(target, f"events_{month(ahead):%Y_%m}", month(ahead), month(ahead + 1))
    target.rows(f"alter table events_{month(0):%Y_%m} set (fillfactor = 70)")
    target.rows(f"grant select on events_{month(0):%Y_%m} to public")
    target.rows(f"grant insert, select, update on events_{month(0):%Y_%m} to pg_monitor")
    return target


def add(target, name, starts, ends):
    target.rows(f"create table {name} partition of events for values from ('{starts}') to ('{ends}')")


def create(server, ahead=1, table="events"):
    return operation("create_partitions", server, table=table, ahead=ahead)


def bounds(target):
    return {row.name: row.bound for row in target.rows(BOUNDS)}


def refused(server, **params):
    with pytest.raises(Refused) as refusal:
        create(server, **params).plan()
    return str(refusal.value)


def test_makes_the_next_one_as_the_last_one_while_rows_are_written(events, server, postgres):
    wanted, name = create(server), f"events_{month(1):%Y_%m}"
    assert wanted.risk_now() is Risk.LOADS
    assert wanted.waits() == ""
    events.rows("insert into people values (1)")
    with postgres.connect(events.database) as writer:
        writer.execute("begin")
        writer.execute("insert into events (id) values (1)")
        run = carry_out(wanted)
        writer.execute("commit")
    assert run.status == "succeeded", run.message
    until = f"{month(2)} 00:00:00+00"
    assert run.message == f"Created the partition {name} of public.events, until {until}."
    assert run.plan == [
        (
            "BEGIN;\n"
            f'CREATE TABLE "public"."{name}" (LIKE "public"."events" INCLUDING DEFAULTS INCLUDING CONSTRAINTS'
            " INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION) WITH (fillfactor = '70');\n"
            f'GRANT INSERT, SELECT, UPDATE ON "public"."{name}" TO "pg_monitor";\n'
            f'GRANT SELECT ON "public"."{name}" TO PUBLIC;\n'
            f'ALTER TABLE "public"."{name}" OWNER TO "postgres";\n'
            "COMMIT;"
        ),
        (
            "-- Who writes to public.people waits meanwhile, 2s at most each time\n"
            "-- tried up to 5 times\nSET lock_timeout = '2s';\n"
            f'ALTER TABLE "public"."events" ATTACH PARTITION "public"."{name}"'
            f" FOR VALUES FROM ('{month(1)} 00:00:00+00') TO ('{until}');"
        ),
    ]
    assert name in bounds(events)
    events.rows(f"insert into events (at, id) values ('{month(1)}', 1)")
    assert events.value(f"select twice from {name}") == 2
    kept = (
        "select array_agg(contype::text order by contype) from pg_constraint"
        " where contype <> 'n' and conrelid = '{}'::regclass"
    )
    assert events.value(kept.format(name)) == events.value(kept.format(f"events_{month(0):%Y_%m}"))
    assert events.value(f"select has_table_privilege('pg_monitor', '{name}', 'update')")


def test_with_nothing_missing_it_does_nothing(events, server):
    carry_out(create(server))
    again = carry_out(create(server))
    assert (again.status, again.message) == ("succeeded", "All partitions are there.")
    assert again.plan == ["All partitions are there: nothing is to be done"]


def test_fills_a_hole_and_goes_on_after_what_lies_behind_it(events, server):
    add(events, "later", month(2), month(3))
    run = carry_out(create(server, ahead=3))
    assert run.message == f"Created 2 partitions of public.events, until {month(4)} 00:00:00+00."
    known = [f"events_{month(ahead):%Y_%m}" for ahead in (-1, 0, 1, 3)]
    assert sorted(bounds(events)) == [*known, "later"]


def test_the_owner_of_the_table_owns_its_partitions(events, server):
    events.rows("create role keeper_of_events")
    try:
        events.rows("alter table events owner to keeper_of_events")
        assert carry_out(create(server)).status == "succeeded"
        name = f"events_{month(1):%Y_%m}"
        owner = events.value("select relowner::regrole::text from pg_class where relname = %s", [name])
        assert owner == "keeper_of_events"
    finally:
        events.rows("drop owned by keeper_of_events cascade")
        events.rows("drop role keeper_of_events")


def test_an_attachment_that_fails_leaves_no_table(events, server):
    events.rows(
        "create function stop() returns event_trigger language plpgsql as"
        " $$ begin if current_query() like '%ATTACH%' then raise exception 'not today'; end if; end $$"
    )
    events.rows("create event trigger stop on ddl_command_start execute function stop()")
    run = carry_out(create(server))
    name = f"events_{month(1):%Y_%m}"
    assert (run.status, run.message.partition(":")[0]) == ("failed", "Step 2 of 2 failed")
    assert f"Dropped the table public.{name}, which was not attached yet." in log_of(run)
    assert events.value("select to_regclass(%s)", [name]) is None


def test_rows_of_the_range_in_the_default_partition_are_counted_and_refuse_it(events, server):
    events.rows("create table rest partition of events default")
    events.rows("insert into people values (1)")
    day = month(1) + dt.timedelta(9)
    events.rows(f"insert into events (at, id) values ('{day}', 1)")
    assert refused(server) == (
        f"The default partition public.rest holds 1 row of the time from {month(1)} 00:00:00+00"
        f" to {month(2)} 00:00:00+00. Move them first, in one transaction: detach the default partition, create the"
        " new ones, insert the rows into the table, delete them from the default partition, attach it again."
    )
    events.rows("delete from rest")
    assert carry_out(create(server)).status == "succeeded"


def test_who_waits_for_a_large_default_partition_is_said(target, server):
    target.rows("create table events (at date, body text) partition by range (at)")
    add(target, "now", month(0), month(1))
    target.rows("create table rest partition of events default with (fillfactor = 10)")
    target.rows("insert into rest select '2001-01-01', repeat('x', 900) from generate_series(1, 9000)")
    wanted = create(server)
    assert wanted.risk_now() is Risk.BLOCKS
    assert wanted.waits().startswith(
        "Who reads or writes the default partition public.rest waits, for each new"
    )


@pytest.mark.parametrize(
    "how,sentence",
    [
        (
            "hash (id)",
            "public.events is divided by hash: every row has a place in one of the partitions there are.",
        ),
        (
            "list (id)",
            (
                "public.events is divided by a list of values: which value comes next, nobody can tell."
                " Create it by hand."
            ),
        ),
        ("range (at, id)", "public.events is divided by 2 columns: create the next partition by hand."),
        ("range ((at + 1))", "public.events is divided by an expression: create the next partition by hand."),
        (
            "range (id)",
            "public.events is divided by id, which is integer and no time: create the next by hand.",
        ),
        (
            "range (at)",
            (
                "public.events has no partition with a beginning and an end: how long the next one is to be cannot"
                " be told. Create the first one by hand."
            ),
        ),
    ],
)
def test_refuses_what_is_divided_otherwise(target, server, how, sentence):
    target.rows(f"create table events (id int, at date) partition by {how}")
    assert refused(server) == sentence


def test_refuses_partitions_that_have_partitions_and_a_name_that_is_taken(target, server):
    target.rows("create table events (id int, at date) partition by range (at)")
    add(target, f"events_{month(0):%Y%m}", month(0), month(1))
    name = f"events_{month(1):%Y%m}"
    target.rows(f"create table {name} ()")
    assert refused(server) == (
        f"There is public.{name} already, and it holds no part of public.events from {month(1)} on."
        " Attach or rename it first."
    )
    more = f"for values from ('{month(2)}') to ('{month(3)}') partition by list (id)"
    target.rows(f"create table below partition of events {more}")
    assert refused(server) == (
        "The partitions of public.events have partitions of their own: create the next one by hand, with all below it."
    )


@pytest.mark.parametrize("zone,spelled", [("Europe/Berlin", "Europe/Berlin"), ("UTC", "+00")])
def test_months_follow_the_calendar_of_the_zone_in_which_they_begin(events, server, zone, spelled):
    """The server counts its days in Berlin; months of either zone go on as they are, over the changes of the clock."""
    for name in bounds(events):
        events.rows(f"drop table {name}")
    events.rows(f"alter database {events.database} set timezone = 'Europe/Berlin'")
    add(events, f"events_{month(-1):%Y_%m}", f"{month(-1)} 00:00 {zone}", f"{month(0)} 00:00 {zone}")
    add(events, f"events_{month(0):%Y_%m}", f"{month(0)} 00:00 {zone}", f"{month(1)} 00:00 {zone}")
    run = carry_out(create(server, ahead=12))
    assert run.status == "succeeded", run.message
    ends = {f"events_{month(ahead):%Y_%m}": month(ahead + 1) for ahead in range(1, 13)}
    asked = "select ('{} 00:00 {}')::timestamptz::text"
    events.rows("set timezone = 'Europe/Berlin'")
    for name, end in ends.items():
        assert bounds(events)[name].endswith(f" TO ('{events.value(asked.format(end, zone))}')")
    assert run.message.endswith(f"{month(13)} 00:00:00{'' if spelled[0] == '+' else ' '}{spelled}.")


def at(text):
    return dt.datetime.fromisoformat(text)


def ranges(*pairs):
    return [Range(at(starts), at(ends), f"p_{starts.replace('-', '_')}") for starts, ends in pairs]


def test_the_length_of_a_partition_is_what_the_last_two_agree_on():
    assert step_of(ranges(("2026-01-01", "2026-02-01"), ("2026-02-01", "2026-03-01"))) == Step(months=1)
    # Thirty days, of which the last happen to be a month.
    thirty = ranges(("2026-10-02", "2026-11-01"), ("2026-11-01", "2026-12-01"))
    assert step_of(thirty) == Step(time=dt.timedelta(days=30))
    assert step_of(ranges(("2025-01-01", "2026-01-01"))) == Step(months=12)
    assert step_of([Range(None, at("2026-01-01"))]) is None


def test_what_is_missing_begins_with_the_present_and_counts_what_is_there():
    days = ranges(("2026-03-01", "2026-03-02"), ("2026-03-02", "2026-03-03"))
    day = Step(time=dt.timedelta(days=1))
    found = list(missing(days, day, at("2026-03-05T12:00"), 2))
    assert [f"{starts:%d}" for starts, _ in found] == ["05", "06", "07"]
    later = [*days, *ranges(("2026-03-06", "2026-03-09"))]
    assert [f"{starts:%d}" for starts, _ in missing(later, day, at("2026-03-05T12:00"), 2)] == ["05", "09"]
    assert list(missing([*days, Range(at("2026-03-03"), None)], day, at("2026-03-02T12:00"), 9)) == []


@pytest.mark.parametrize(
    "known,starts,expected",
    [
        ("events_2026_11", "2026-12-01", ("events_2026_12", "")),
        ("events_y2026m11", "2026-12-01", ("events_y2026m12", "")),
        ("events_p20261101", "2026-12-01", ("events_p20261201", "")),
        ("p202611_events", "2026-12-01", ("p202612_events", "")),
        ("events_2026q4", "2027-01-01", ("events_2027q1", "")),
        ("events_2026", "2027-01-01", ("events_2027", "")),
        ("november", "2026-12-01", ("events", "_2026_12")),
    ],
)
def test_a_new_one_is_called_as_the_last_one(known, starts, expected):
    begins = "2026-10-01" if "q" in known else "2026-01-01" if known == "events_2026" else "2026-11-01"
    last = Range(at(begins), at(starts), known)
    assert name_like([last], Step(months=1), "events", at(starts)) == expected
