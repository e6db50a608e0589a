"""Marks that the sampler puts on a timeline by itself: each against what a real server did."""

import datetime as dt
import re

import pytest

from dbadmin.probes import PROBES
from monitoring.chart import since_of
from monitoring.ddl import DDL, SchemaWatch, heard
from monitoring.keeper import Keeper
from monitoring.models import Mark
from monitoring.texts import keep
from monitoring.upkeep import UpkeepWatch
from tests.fixtures.runtime import until
from tests.fixtures.servers import server_row
from tests.monitoring.test_epochs import Watcher

pytestmark = [pytest.mark.django_db, pytest.mark.servers]


@pytest.fixture
def watcher(server):
    """Looks at the shared server."""
    made = Watcher(server)
    yield made
    made.round.close()


@pytest.fixture
def changes(watcher, database):
    """changes(): what a round told of changes in the scratch database, texts fetched."""

    def look() -> list[str]:
        watcher.round.texts.next_at = 0
        batch = watcher.look("statements")
        assert [reading.problem for reading in batch.readings] == [None]
        return [
            mark.text for mark in batch.marks if mark.kind == "ddl" and mark.facts.get("database") == database
        ]

    look()
    return look


def test_a_change_of_the_schema_is_told_once_with_who_where_and_its_words(changes, make, database):
    make("create table orders (id int, note text)")
    make("/* deploy 7 */ create index orders_note\n    on orders (note)")
    make("insert into orders values (1, 'create table')")
    assert sorted(changes()) == [
        f"postgres in {database}: create index orders_note on orders (note)",
        f"postgres in {database}: create table orders (id int, note text)",
    ]
    assert changes() == []


def test_the_same_change_again_is_told_again_with_how_often(changes, make, database):
    make("create table kept (id int)")
    make("truncate kept")
    assert sorted(text.partition(": ")[2] for text in changes()) == [
        "create table kept (id int)",
        "truncate kept",
    ]
    for _ in range(3):
        make("truncate kept")
    assert changes() == [f"postgres in {database}: truncate kept (3 times)"]


def test_a_change_whose_text_comes_later_is_told_with_its_own_moment(watcher, changes, make, database):
    make("create table late (id int)")
    watcher.round.texts.next_at = 1e12
    batch = watcher.look("statements")
    assert [mark for mark in batch.marks if mark.kind == "ddl"] == []
    watcher.round.texts.next_at = 0
    later = watcher.look("statements")
    (mark,) = [mark for mark in later.marks if mark.facts.get("database") == database]
    assert mark.text == f"postgres in {database}: create table late (id int)"
    assert mark.at < later.taken_at


def test_the_look_before_a_change_stands_beside_the_one_that_found_it(watcher, make, target, database):
    make("create table kept (id int)")
    before = target.value("select clock_timestamp()")
    for _ in range(2):
        make("truncate kept")
        watcher.round.texts.next_at = 0
        batch = watcher.look("statements")
    (mark,) = [mark for mark in batch.marks if mark.facts.get("database") == database]
    assert before < since_of(mark.facts) < mark.at


def test_what_was_there_before_the_first_look_is_not_told(watcher, make, database):
    make("create table earlier (id int)")
    watcher.round.texts.next_at = 0
    assert [mark for mark in watcher.look("statements").marks if mark.kind == "ddl"] == []


def test_a_reset_of_the_statements_is_no_change_of_the_schema(changes, watcher, make, target):
    make("create table before_reset (id int)")
    assert len(changes()) == 1
    target.rows("select pg_stat_statements_reset()::text")
    make("select 1")
    assert changes() == []


def test_a_password_is_not_told(changes, make, database):
    make("create role seller login password 'kept secret'")
    try:
        (text,) = changes()
    finally:
        make("drop role seller")
    assert "kept secret" not in text
    assert text.startswith(f"postgres in {database}: create role seller login password ")


def test_another_sampler_knows_the_changes_that_the_store_has(watcher, make, server, database):
    make("create table handed (id int)")
    make("truncate handed")
    watcher.round.texts.next_at = 0
    keep(server, watcher.look("statements").texts)
    other = Watcher(server)
    other.round.schema = SchemaWatch(heard(server))
    other.round.texts.next_at = 1e12
    other.look("statements")
    make("truncate handed")
    (mark,) = [mark for mark in other.look("statements").marks if mark.facts.get("database") == database]
    other.round.close()
    assert mark.text == f"postgres in {database}: truncate handed"


def test_a_database_that_was_made_later_has_its_name(watcher, postgres, make):
    watcher.round.texts.next_at = 0
    watcher.look("statements")
    postgres.admin.execute("create database younger")
    try:
        with postgres.connect("younger") as connection:
            connection.execute("create table first (id int)")
        watcher.round.texts.next_at = 0
        told = [mark.text for mark in watcher.look("statements").marks if mark.kind == "ddl"]
    finally:
        postgres.admin.execute("drop database younger")
    assert "postgres in younger: create table first (id int)" in told


def test_many_changes_of_one_role_in_one_database_are_one_mark(changes, make, database):
    for number in range(6):
        make(f"-- a deployment\ncreate table made_{number} (id int)")
    assert changes() == [
        f"postgres in {database}: 6 changes of the schema in a row, the first: create table made_0 (id int)"
    ]


def test_a_few_changes_are_told_one_by_one(changes, make, database):
    for number in range(5):
        make(f"create table made_{number} (id int)")
    assert sorted(changes()) == [
        f"postgres in {database}: create table made_{number} (id int)" for number in range(5)
    ]


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("ALTER TABLE a ADD b int", True),
        ("  -- why\n/* and * how */ drop index i", True),
        ("grant select on a to b", True),
        ("create temp table t (id int)", False),
        ("CREATE TEMPORARY TABLE t AS SELECT 1", False),
        ("create or replace local temp view v as select 1", False),
        ("create or replace function f() returns int", True),
        ("refresh materialized view v", False),
        ("select 'create table'", False),
        ("created", False),
    ],
)
def test_only_what_changes_what_others_find_is_a_change(text, is_told):
    assert bool(DDL.match(text)) is is_told


def test_checkpoints_that_somebody_asked_for_are_told_when_they_begin(watcher, target, postgres):
    counted = (
        "select num_requested from pg_stat_checkpointer"
        if postgres.major >= 17
        else "select checkpoints_req from pg_stat_bgwriter"
    )
    watcher.look("checkpoints")
    assert kinds(watcher.look("checkpoints")) == []
    told = []
    for _ in range(2):
        target.rows("select pg_switch_wal()::text")
        before = target.rows(counted)
        target.connection.execute("checkpoint")
        until(lambda before=before: target.rows(counted) != before)  # PostgreSQL 14 counts half a second late
        told.extend(mark for mark in watcher.look("checkpoints").marks if mark.kind == "checkpoint")
    assert [mark.text.partition(" requested")[2] for mark in told] == [
        " before the time: by too much WAL for max_wal_size, or by somebody."
    ]


def kinds(batch):
    """The kinds of the marks of a round."""
    return [mark.kind for mark in batch.marks]


def test_a_long_autovacuum_is_told_once_at_the_moment_when_it_began(new_postgres, django_user_model):
    postgres = new_postgres(
        autovacuum_naptime="1", autovacuum_vacuum_cost_delay="100ms", autovacuum_vacuum_cost_limit="1"
    )
    row = server_row("slow", postgres)
    with postgres.connect() as connection:
        connection.execute(
            "create table orders (id int) with (autovacuum_vacuum_threshold = 1, autovacuum_analyze_threshold = 100000)"
        )
        connection.execute("insert into orders select generate_series(1, 100000)")
        connection.execute("delete from orders where id % 2 = 0")
    watcher, upkeep = Watcher(row), UpkeepWatch()

    def look():
        reading = PROBES["vacuum_progress"].read(session_of(watcher))
        return reading, list(upkeep.vacuums(reading, large=1, long=1e9))

    found = []
    until(lambda: found.append(look()) or found[-1][1], 60)
    reading, (mark,) = found[-1]
    assert (mark.kind, mark.facts) == ("vacuum", {"database": "postgres", "table": "public.orders"})
    assert re.fullmatch(r"Autovacuum of postgres\.public\.orders began: [\d.]+ MiB\.", mark.text)
    assert mark.at == reading.taken_at - dt.timedelta(seconds=reading.rows[0].running_seconds)
    assert look()[1] == []
    # A small table is not told of unless its vacuum takes long.
    assert list(UpkeepWatch().vacuums(reading)) == []
    assert len(list(UpkeepWatch().vacuums(reading, long=0.0))) == 1
    watcher.round.close()


def session_of(watcher):
    """The session of the rounds."""
    return watcher.round.open()


def test_marks_of_a_round_reach_the_timeline(server, watcher, changes, make, database):
    make("create table shown (id int)")
    watcher.round.texts.next_at = 0
    batch = watcher.look("statements")
    Keeper().keep(server, batch.samples, batch.holes, batch.marks)
    told = Mark.objects.filter(server=server, kind="ddl", facts__database=database)
    assert [mark.text for mark in told] == [f"postgres in {database}: create table shown (id int)"]
