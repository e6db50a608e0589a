"""Counters of a real server through all that can happen: never a spike, never a negative, always a cause."""

import datetime as dt
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace

import psycopg
import pytest
from django.utils import timezone

from dbadmin.connections import Session, connect
from dbadmin.models import Server
from dbadmin.probes import PROBES
from monitoring.epochs import Evidence, server_break
from monitoring.marks import changed_settings, epoch_marks
from monitoring.recorder import Moment, Recorder
from monitoring.rounds import Batch, Past, Round
from tests.fixtures.runtime import until
from tests.fixtures.servers import server_row

pytestmark = [pytest.mark.django_db, pytest.mark.servers]
COUNTED = "select 'counted by the test' as text, 4711"


class Watcher:
    """A sampler's rounds on one server, when the test says so."""

    def __init__(self, row: Server, past: Past | None = None) -> None:
        self.row = row
        self.round = Round(row, lambda batch: None, past)

    def look(self, *probes: str) -> Batch:
        """One round with these probes; a lost connection is opened anew, as the sampler does."""
        batch = Batch(self.row)
        for _ in range(100):
            try:
                self.round.read_all(self.round.open(), [("", probe) for probe in probes], batch)
                return batch
            except psycopg.OperationalError:
                self.round.close()
                time.sleep(0.1)
        raise AssertionError("the server did not come back")

    def calls(self, batch: Batch) -> int | None:
        """The increase of the test's own statement; None when it is not known."""
        (sample,) = [sample for sample in batch.samples if sample.probe == "statements"] or [None]
        if sample is None:
            return None
        with connect(self.row) as connection:
            found = connection.execute(
                "select queryid from public.pg_stat_statements where query like '%% as text, $2'"
                " and query not like '%%pg_stat%%'"
            ).fetchall()
        ids = {query_id for (query_id,) in found}
        place = sample.columns.index("calls_total")
        for line, values in zip(sample.lines, sample.values, strict=True):
            if line.key[2] in ids:
                return values[place]
        return 0


@pytest.fixture
def watcher(server):
    """Looks at the shared server."""
    made = Watcher(server)
    yield made
    made.round.close()


@pytest.fixture
def own(new_postgres, db):
    """A server of the test's own: (postgres, watcher)."""

    def start(**settings):
        postgres = new_postgres(**settings)
        return postgres, Watcher(server_row("own", postgres))

    return start


def run(postgres, times, database="postgres"):
    """Execute the counted statement."""
    with postgres.connect(database) as connection:
        for _ in range(times):
            connection.execute(COUNTED)


def make_durable(postgres):
    """The servers of the tests do not wait for the disk; what a crash must not lose is written now."""
    with postgres.connect() as connection:
        connection.execute("checkpoint")


def settle(session):
    """Until version 14 what statistics tell is up to half a second old."""
    if session.major < 15:
        time.sleep(1.5)


def causes(batch):
    """Cause and words of each gap."""
    return {(hole.why.cause.value, hole.why.text) for hole in batch.holes}


def test_increases_are_exactly_what_was_done(postgres, watcher):
    run(postgres, 1)
    assert watcher.look("statements").samples == []
    for times in (7, 0, 3):
        run(postgres, times)
        batch = watcher.look("statements")
        assert watcher.calls(batch) == times
        assert causes(batch) == set()


def test_a_statement_that_is_new_counts_in_full(postgres, watcher):
    with postgres.connect() as connection:
        connection.execute("select pg_stat_statements_reset()")
    watcher.look("statements")
    run(postgres, 5)
    assert watcher.calls(watcher.look("statements")) == 5


def test_a_clean_restart_is_a_gap_and_a_mark(own):
    postgres, watcher = own()
    run(postgres, 3)
    watcher.look("statements", "databases")
    os.kill(postgres.pid, signal.SIGINT)
    postgres.running.process.wait()
    scratch_forget(postgres)
    postgres.start()
    run(postgres, 4)
    batch = watcher.look("statements", "databases")
    assert watcher.calls(batch) is None
    assert causes(batch) == {("restart", "The server was restarted.")}
    assert [(mark.kind, mark.text) for mark in batch.marks] == [("restart", "The server was restarted.")]
    run(postgres, 2)
    assert watcher.calls(watcher.look("statements")) == 2


def scratch_forget(postgres):
    """Tell the supervisor that the process it started has ended as it was meant to."""
    from tests.running import scratch

    running = scratch().supervisor.running
    if postgres.running in running:
        running.remove(postgres.running)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (signal.SIGINT, ("restart", "The server was restarted.")),
        (signal.SIGQUIT, ("crash", "The server went down without a clean stop and lost its statistics.")),
        (None, ("reset", "The statistics of pg_stat_bgwriter were reset.")),
    ],
)
def test_another_sampler_tells_what_happened_while_none_was_there(own, end, told):
    postgres, watcher = own()
    watcher.look("databases")
    make_durable(postgres)
    left_at = timezone.now()
    if end is None:
        with postgres.connect() as connection:
            connection.execute("select pg_stat_reset_shared('bgwriter')")
    else:
        os.kill(postgres.pid, end)
        postgres.running.process.wait()
        scratch_forget(postgres)
        postgres.start()
    back_at = timezone.now()
    watcher.round.close()
    other = Watcher(watcher.row, Past(reached_at=left_at))
    (mark,) = other.look("databases").marks
    assert (mark.kind, mark.text) == told
    assert left_at < mark.at < back_at
    assert other.look("databases").marks == []
    other.round.close()
    still = Watcher(watcher.row, Past(reached_at=timezone.now()))
    assert still.look("databases").marks == []
    still.round.close()


def test_an_immediate_stop_is_a_crash(own):
    postgres, watcher = own()
    run(postgres, 3)
    watcher.look("statements", "databases")
    make_durable(postgres)
    os.kill(postgres.pid, signal.SIGQUIT)
    postgres.running.process.wait()
    scratch_forget(postgres)
    postgres.start()
    run(postgres, 4)
    batch = watcher.look("statements", "databases")
    assert watcher.calls(batch) is None
    text = "The server went down without a clean stop and lost its statistics."
    assert causes(batch) == {("crash", text)}
    assert (batch.marks[0].kind, batch.marks[0].text) == ("crash", text)


def test_a_killed_backend_is_a_crash_although_the_server_never_stopped(own):
    postgres, watcher = own()
    run(postgres, 3)
    watcher.look("statements", "databases")
    make_durable(postgres)
    with postgres.connect() as connection, postgres.connect() as other, suppress(psycopg.OperationalError):
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        until(lambda: other.execute("select 1") is None)  # the server ends it when it has noticed
    wait_for(postgres)
    run(postgres, 4)
    batch = watcher.look("statements", "databases")
    assert watcher.calls(batch) is None
    text = "A process crashed; the server started over and lost its statistics."
    assert causes(batch) == {("crash", text)}


def wait_for(postgres):
    """Until it takes connections again."""
    until(lambda: answers(postgres))


def answers(postgres):
    with suppress(psycopg.OperationalError):
        postgres.connect().close()
        return True
    return False


def test_a_reset_of_all_statements_is_a_gap(own):
    postgres, watcher = own()
    run(postgres, 30)
    watcher.look("statements")
    with postgres.connect() as connection:
        connection.execute("select pg_stat_statements_reset()")
    run(postgres, 40)
    batch = watcher.look("statements")
    assert watcher.calls(batch) is None
    assert causes(batch) == {("reset", "pg_stat_statements was reset.")}
    run(postgres, 2)
    assert watcher.calls(watcher.look("statements")) == 2


def test_the_reset_of_one_statement_is_a_gap_of_that_statement(own):
    postgres, watcher = own()
    run(postgres, 3)
    watcher.look("statements")
    with postgres.connect() as connection:
        connection.execute(
            "select pg_stat_statements_reset(userid, dbid, queryid) from pg_stat_statements"
            " where query like '%% as text, $2' and query not like '%%pg_stat%%'".replace("%%", "%")
        )
    run(postgres, 2)
    batch = watcher.look("statements")
    assert watcher.calls(batch) is None
    ((hole),) = batch.holes
    assert (hole.why.cause, len(hole.lines)) == ("reset", 1)


def test_evicted_statements_never_count_twice(own):
    postgres, watcher = own(**{"pg_stat_statements.max": "100"})
    run(postgres, 3)
    watcher.look("statements")
    with postgres.connect() as connection:
        for number in range(400):
            connection.execute(f"select {', '.join('1' for _ in range(number + 1))}")
    run(postgres, 4)
    batch = watcher.look("statements")
    # It was forgotten and counted anew, or it was kept: the increase is unknown, or right.
    assert watcher.calls(batch) in {None, 4}
    sample = next(sample for sample in batch.samples if sample.probe == "statements")
    place = sample.columns.index("calls_total")
    assert all(values[place] is None or 0 <= values[place] <= 10 for values in sample.values)
    assert "eviction" in {cause for cause, _ in causes(batch)}


def test_a_reset_of_a_database_touches_its_own_counters_only(postgres, target, watcher):
    settle(target)
    watcher.look("databases", "statements")
    target.rows("select pg_stat_reset()")
    settle(target)
    run(postgres, 4)
    batch = watcher.look("databases", "statements")
    assert watcher.calls(batch) == 4
    (hole,) = [hole for hole in batch.holes if hole.probe == "databases"]
    assert ([line.key for line in hole.lines], hole.why.cause) == ([(target.database,)], "reset")


def test_a_reset_of_shared_statistics_is_said(own):
    postgres, watcher = own()
    with postgres.connect() as connection:
        settle(Session(connection))
        watcher.look("checkpoints", "server_vitals")
        connection.execute("select pg_stat_reset_shared('bgwriter')")
        settle(Session(connection))
    batch = watcher.look("checkpoints", "server_vitals")
    assert [(mark.kind, mark.text) for mark in batch.marks] == [
        ("reset", "The statistics of pg_stat_bgwriter were reset.")
    ]


def test_an_extension_that_was_dropped_is_a_problem_and_then_a_gap(postgres, target, watcher):
    watcher.look("statements")
    with postgres.connect(target.database) as connection:
        connection.execute("drop extension pg_stat_statements")
    batch = watcher.look("statements")
    assert batch.samples == []
    assert batch.readings[0].problem.kind == "extension"
    assert batch.readings[0].problem.remedy == "CREATE EXTENSION pg_stat_statements;"
    with postgres.connect(target.database) as connection:
        connection.execute("create extension pg_stat_statements")
    run(postgres, 1)
    assert watcher.look("statements").samples[0].length > 0


def test_a_role_without_rights_gets_a_problem_not_wrong_numbers(own):
    postgres, _ = own()
    with postgres.connect() as connection:
        connection.execute("create role nobody_much login password 'x'")
    row = Server(name="poor")
    row.seal_dsn(
        "monitor_dsn", psycopg.conninfo.make_conninfo(postgres.dsn, user="nobody_much", password="x")
    )
    row.save()
    watcher = Watcher(row)
    run(postgres, 3)
    watcher.look("statements")
    run(postgres, 3)
    batch = watcher.look("statements")
    assert batch.samples == []
    assert batch.readings[0].problem.kind == "privilege"
    assert batch.readings[0].problem.remedy == 'GRANT pg_read_all_stats TO "nobody_much";'


def test_a_changed_setting_is_a_mark(own):
    postgres, watcher = own()
    began = timezone.now()
    watcher.look("settings")
    looked = timezone.now()
    with postgres.connect() as connection:
        connection.execute("alter system set random_page_cost = 1.5")
        connection.execute("select pg_reload_conf()")
        until(lambda: connection.execute("show random_page_cost").fetchone() == ("1.5",))
    batch = watcher.look("settings")
    assert [mark.text for mark in batch.marks] == ["random_page_cost was changed from 4 to 1.5."]
    facts = batch.marks[0].facts
    assert began <= dt.datetime.fromisoformat(facts.pop("since")) <= looked
    assert facts == {"setting": "random_page_cost", "before": "4", "after": "1.5"}


def test_what_our_own_sessions_choose_is_no_change_of_the_server(own):
    _, watcher = own()
    reading = watcher.look("settings").readings[0]
    before = [row._replace(value="UTF8") if row.name == "client_encoding" else row for row in reading.rows]
    assert [row.value for row in reading.rows if row.name == "client_encoding"] == [None]
    assert list(changed_settings(replace(reading, rows=before), reading)) == []


NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
BEFORE = Evidence(NOON, NOON, 150018, "7", True, (("pg_stat_bgwriter", NOON),), (("shop", None),), 0, NOON)


@pytest.mark.parametrize(
    "change, kind, text",
    [
        ({"in_recovery": False}, "promoted", "The standby was promoted; it is a primary now."),
        ({"version": 150019}, "upgrade", "Version 15.18 became 15.19."),
        ({"version": 170002}, "upgrade", "The server was upgraded from 15 to 17."),
        ({"identity": "8"}, "replaced", "Another server answers at this address."),
        (
            {"databases": ()},
            "reset",
            "There is no database shop any more: dropped, with its statistics, or renamed.",
        ),
    ],
)
def test_what_happened_to_a_server_is_a_mark(change, kind, text):
    (mark,) = epoch_marks(BEFORE, replace(BEFORE, **change), NOON)
    assert (mark.kind, mark.text) == (kind, text)


def test_a_promotion_does_not_end_the_counting():
    assert server_break(BEFORE, replace(BEFORE, in_recovery=False)) is None


def test_a_moved_clock_is_a_gap(target):
    recorder, start = Recorder(), time.monotonic()
    for seconds, wall, expected in (
        (0, NOON, set()),
        (60, NOON + dt.timedelta(seconds=60), set()),
        (120, NOON + dt.timedelta(hours=1), {("clock", "Our clock was moved by +3480 s.")}),
        (180, NOON + dt.timedelta(hours=1, seconds=60), set()),
    ):
        reading = replace(PROBES["databases"].read(target), taken_at=wall)
        _, holes = recorder.record(reading, Moment(wall, start + seconds, BEFORE, BEFORE))
        assert {(hole.why.cause.value, hole.why.text) for hole in holes} == expected


def test_a_reset_during_a_round_makes_two_ticks_unknown(target):
    recorder = Recorder()
    changed = replace(BEFORE, statements=NOON + dt.timedelta(hours=1))
    found = []
    for tick, (before, after) in enumerate(
        [(BEFORE, BEFORE), (BEFORE, changed), (changed, changed), (changed, changed)]
    ):
        wall = NOON + dt.timedelta(minutes=tick)
        reading = replace(PROBES["statements"].read(target), taken_at=wall)
        sample, holes = recorder.record(reading, Moment(wall, 60.0 * tick, before, after))
        found.append((sample is not None, [hole.why.text for hole in holes]))
    said = "Statistics were reset while they were read."
    assert found == [(False, []), (False, [said]), (False, [said]), (True, [])]


@pytest.mark.parametrize(
    ("what", "databases"),
    [
        ("created", (("shop", None), ("younger", None))),
        ("first used, before version 15", (("shop", NOON),)),
        ("dropped", ()),
        ("reset", (("shop", NOON + dt.timedelta(minutes=1)),)),
    ],
)
def test_what_becomes_of_a_database_during_a_round_leaves_the_statements_known(target, what, databases):
    recorder, version = Recorder(), 140018 if "15" in what else 150018
    before = replace(BEFORE, version=version)
    after = replace(before, databases=databases)
    for tick, evidence in enumerate([(before, before), (before, after), (after, after)]):
        wall = NOON + dt.timedelta(minutes=tick)
        reading = replace(PROBES["statements"].read(target), taken_at=wall)
        sample, holes = recorder.record(reading, Moment(wall, 60.0 * tick, *evidence))
        assert ((sample is not None), holes) == (tick > 0, [])


def test_a_database_made_during_a_round_leaves_the_sums_over_all_known(target):
    recorder = Recorder()
    after = replace(BEFORE, databases=(*BEFORE.databases, ("younger", None)))
    for tick, evidence in enumerate([(BEFORE, BEFORE), (BEFORE, after), (after, after)]):
        wall = NOON + dt.timedelta(minutes=tick)
        reading = replace(PROBES["databases"].read(target), taken_at=wall)
        assert recorder.record(reading, Moment(wall, 60.0 * tick, *evidence))[1] == []
