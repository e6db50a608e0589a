"""The sampler through hung servers, killed processes and absent databases: each server keeps its cadence."""

import os
import socket
import threading
import time
from contextlib import closing, suppress
from copy import copy
from itertools import pairwise
from types import SimpleNamespace

import psycopg
import pytest
from django.db import connections
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from dbadmin import reading_store, readings, single_flight
from dbadmin.deadlines import DeadlinePassed, deadline
from dbadmin.models import Server, ServerState, StoredReading
from dbadmin.probes import PROBES, Problem, Reading
from monitoring.cadence import Cadence
from monitoring.cost import Budget
from monitoring.models import Gap, Minute, Statement
from monitoring.rounds import Round
from monitoring.sampler import Sampler
from tests.fixtures.runtime import Process, until
from tests.fixtures.servers import server_row
from tests.fixtures.stopwatch import took

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


class Proxy:
    """A door to a server that can be made to hang: connections stay, nothing passes."""

    def __init__(self, port: int) -> None:
        self.target, self.is_open = port, threading.Event()
        self.is_open.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self.is_open.wait()
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def dsn(self, dsn: str) -> str:
        """The same server through this door."""
        return make_conninfo(dsn, port=self.port)


@pytest.fixture
def proxy(postgres):
    """A door to the shared server."""
    made = Proxy(postgres.port)
    yield made
    made.is_open.set()
    made.listener.close()


@pytest.fixture
def hanging(proxy, postgres, database):
    """A server row that leads through the door."""
    row = Server(name="hanging", environment="development")
    row.seal_dsn("monitor_dsn", proxy.dsn(postgres.dsn_for(database, "dbadmin_monitor")))
    row.save()
    return row


@pytest.fixture
def sampler(tmp_path, redis_url):
    """sampler(): a sampler as a process of its own."""
    made: list[Process] = []

    def start() -> Process:
        made.append(Process(tmp_path / f"sampler-{len(made)}.log", "sampler", redis_url=redis_url))
        return made[-1]

    yield start
    for one in made:
        one.end()


def is_sampled(server):
    """Has anything been stored of it?"""
    return StoredReading.objects.filter(server=server, probe="server_vitals").exists()


def reached_at(server):
    """The last answer that was stored."""
    return ServerState.objects.get(server=server).reached_at


def samplers_of(*servers):
    """Which processes hold their leases."""
    rows = ServerState.objects.filter(server__in=servers).values_list("server__name", "sampler")
    return {name: int(sampler.rpartition(":")[2]) for name, sampler in rows if sampler}


def test_a_new_server_is_read_within_seconds_and_its_history_begins(server, postgres, database, sampler):
    sampler()
    until(lambda: is_sampled(server))
    until(lambda: database in readings.databases(server))
    until(lambda: StoredReading.objects.filter(server=server, probe="tables", database=database).exists())
    late = server_row("late", postgres, database)
    until(lambda: is_sampled(late), 8)
    until(lambda: Minute.objects.filter(source__server=server, source__probe="statements").exists())
    until(lambda: Statement.objects.filter(server=server, text__text__contains="pg_stat").exists())


def test_a_hung_server_delays_no_other(server, hanging, proxy, sampler):
    sampler()
    until(lambda: is_sampled(server) and is_sampled(hanging))
    proxy.is_open.clear()
    until(lambda: ServerState.objects.get(server=hanging).trouble, 75)
    before = reached_at(server)
    until(lambda: reached_at(server) > before, 70)
    state = ServerState.objects.get(server=hanging)
    assert state.trouble["kind"] == "unreachable"
    assert state.trouble["message"].startswith("The server does not answer: ")
    gap = Gap.objects.get(server=hanging, ended_at=None)
    assert (gap.cause, gap.started_at) == ("unreachable", state.reached_at)
    stored = readings.latest(hanging, "server_vitals")
    assert (len(stored.rows), stored.trouble.kind) == (1, "unreachable")
    proxy.is_open.set()
    until(lambda: not Gap.objects.filter(server=hanging, ended_at=None).exists(), 75)
    until(lambda: ServerState.objects.get(server=hanging).trouble is None)


def test_two_samplers_share_the_servers_and_one_takes_over_when_the_other_is_killed(
    postgres, server, database, sampler
):
    others = [server_row(f"more-{number}", postgres, database) for number in range(3)]
    first = sampler()
    until(lambda: len(samplers_of(server, *others)) == 4)
    second = sampler()
    until(lambda: sorted(samplers_of(server, *others).values()).count(second.pid) == 2, 60)
    assert sorted(samplers_of(server, *others).values()).count(first.pid) == 2
    first.kill()
    until(lambda: set(samplers_of(server, *others).values()) == {second.pid}, 60)
    silent = Gap.objects.filter(server__in=[server, *others], text="No sampler was reading this server.")
    until(silent.exists, 60)  # told with the first reading, which follows the lease


def test_ends_cleanly_when_told_to(server, sampler):
    process = sampler()
    until(lambda: is_sampled(server))
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in process.log.read_text()


def test_the_lease_connection_may_be_cut(server, sampler):
    process = sampler()
    until(lambda: is_sampled(server) and reached_at(server))
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as control:
        # The role of the control database may end its own sessions.
        control.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'dbadmin sampler' and pid <> pg_backend_pid()"
        )
    until(lambda: "The control database is away" in process.log.read_text())
    before = reached_at(server)
    until(lambda: reached_at(server) > before)
    assert process.popen.poll() is None
    # It went on reading and took its leases again: nothing was lost.
    assert process.log.read_text().count("is read by") == 1
    lost = [Gap.Cause.SILENT, Gap.Cause.UNREACHABLE, Gap.Cause.PROBLEM]
    assert not Gap.objects.filter(server=server, cause__in=lost).exists()


def test_cadence_does_not_drift_and_forgives_what_it_missed():
    clock = [1000.0]
    cadence = Cadence("shop", lambda: clock[0])
    assert cadence.take_due([("a", 60.0)]) == ["a"]
    moments = []
    for _ in range(5000):
        clock[0] += 0.1
        if cadence.take_due([("a", 60.0)]):
            moments.append(clock[0])
    steps = [after - before for before, after in pairwise(moments[1:])]
    assert steps == pytest.approx([60.0] * len(steps), abs=0.11)
    clock[0] += 600
    assert cadence.take_due([("a", 60.0)]) == ["a"]
    assert cadence.take_due([("a", 60.0)]) == []
    assert 0 < cadence.pause(100) <= 60


def test_what_a_hung_server_did_not_answer_is_asked_again_at_once_and_not_hours_later(hanging, proxy):
    clock, batches = [0.0], []
    one = Round(hanging, batches.append)
    one.cadence.clock = lambda: time.monotonic() + clock[0]
    one.run()
    asked = {(reading.probe.name, reading.database) for reading in batches[-1].readings}
    assert {"server_vitals", "sequences", "tablespaces"} <= {name for name, _ in asked}
    clock[0] += 100_000  # all is due
    proxy.is_open.clear()
    assert one.run() == 4.0
    assert (batches[-1].trouble.kind, batches[-1].readings) == ("unreachable", [])
    proxy.is_open.set()
    clock[0] += 5
    one.run()
    assert {(reading.probe.name, reading.database) for reading in batches[-1].readings} == asked
    one.close()


def test_a_question_that_breaks_the_connection_does_not_keep_the_others_from_being_asked(
    server, database, monkeypatch
):
    """Each time that it is asked the server ends the session."""
    clock, batches = [0.0], []
    one = Round(server, batches.append)
    one.cadence.clock = lambda: time.monotonic() + clock[0]
    one.run()
    clock[0] += 100_000
    breaking = copy(PROBES["tablespaces"])
    breaking.fetch = lambda session, _: session.rows("select pg_terminate_backend(pg_backend_pid())")
    monkeypatch.setitem(PROBES, "tablespaces", breaking)
    one.run()
    assert (batches[-1].trouble.kind, batches[-1].trouble.message) == (
        "unreachable",
        "The server does not answer: terminating connection due to administrator command",
    )
    clock[0] += 5
    one.run()
    names = {reading.probe.name for reading in batches[-1].readings}
    assert batches[-1].trouble is None
    assert {"server_vitals", "tables"} <= names
    assert "tablespaces" not in names
    one.close()


def test_too_much_of_our_own_cost_makes_us_slower_and_little_makes_us_fast_again(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("monitoring.cost.time.monotonic", lambda: clock[0])
    budget, slower = Budget(0.01), 1.0
    probe = PROBES["server_vitals"]
    shares = []
    for took_ms in (9000, 3000, 3000, 100, 100, 100):
        share, slower = budget.after([Reading(probe, "shop", "", None, took_ms)], slower)
        shares.append((round(share, 3) if share is not None else None, slower))
        clock[0] += 120
    assert shares == [(None, 1.0), (0.025, 2.0), (0.025, 4.0), (0.001, 2.0), (0.001, 1.0), (0.001, 1.0)]


def test_a_sampler_that_was_told_to_end_takes_up_no_more_servers(server):
    one = Sampler()
    one.stop()
    one.look()
    assert one.threads == {}
    one.leases.drop(lambda _: None)


def test_a_first_round_waits_for_its_turn_and_holds_it_no_longer_than_it_reads(server):
    batches, turn = [], threading.BoundedSemaphore(1)
    one = Round(server, batches.append, turn=turn)
    with turn:
        thread = threading.Thread(target=lambda: (one.run(), connections.close_all()))
        thread.start()
        until(lambda: one.connection)
        time.sleep(0.3)
        assert batches == []
        released = timezone.now()
    thread.join()
    assert batches[0].taken_at > released
    assert turn.acquire(blocking=False)
    one.cadence.due.clear()
    one.run()
    assert len(batches) == 2, "who was read once waits for nobody"
    one.close()


@pytest.mark.parametrize(("readers", "much"), [(1, (0.0833, 2.0)), (25, (0.0033, 1.0))])
def test_a_slow_way_to_a_server_that_counts_our_cost_makes_nothing_slower(monkeypatch, readers, much):
    clock = [0.0]
    monkeypatch.setattr("monitoring.cost.time.monotonic", lambda: clock[0])
    budget, slower, told = Budget(0.01), 1.0, []
    counts = (9.0, None, 10.0, None, None, 10.2, None, 30.2, 1.0, 1.1)
    for exec_seconds in counts:
        took_ms = 9000
        name = "server_vitals" if exec_seconds is None else "own_cost"
        rows = (
            [SimpleNamespace(exec_seconds_total=exec_seconds, readers_count=readers)] if exec_seconds else []
        )
        reading = Reading(PROBES[name], "shop", "", None, took_ms, [], rows)
        share, slower = budget.after([reading], slower)
        told.append((share if share is None else round(share, 4), slower))
        clock[0] += 120
    little = 0.2 / 360 / readers
    assert told[:7] == [(None, 1.0)] * 5 + [(round(little, 4), 1.0), (None, 1.0)]
    assert told[7] == much
    assert told[8] == (None, much[1]), "a reset says nothing"
    assert told[9] == (round(0.1 / 120 / readers, 4), 1.0)


def test_a_deadline_ends_a_statement_that_never_answers(proxy, postgres):
    with closing(psycopg.connect(proxy.dsn(postgres.dsn), autocommit=True)) as connection:
        proxy.is_open.clear()
        began = time.monotonic()
        with pytest.raises(DeadlinePassed, match=r"no answer within 0\.3 s"), deadline(connection, 0.3):
            connection.execute("select 1")
        assert time.monotonic() - began < 2
        assert connection.closed


def test_a_page_does_not_wait_for_a_hung_server(hanging, proxy):
    single_flight.FLIGHTS.forget()
    until(lambda: readings.live(hanging, "sessions", max_age=5).problem is None)
    fresh = readings.live(hanging, "sessions", max_age=60)
    until(lambda: readings.latest(hanging, "sessions") and not single_flight.FLIGHTS.under_way)
    single_flight.FLIGHTS.forget()
    proxy.is_open.clear()
    answers = []
    names = ("sessions", "blocked_sessions", "progress")
    ask = lambda: answers.extend(readings.live(hanging, name, max_age=0) for name in names)  # noqa: E731
    assert took(ask, 0.9) < 0.9
    assert (answers[0].rows, answers[0].taken_at) == (fresh.rows, fresh.taken_at)
    assert answers[0].trouble == Problem(
        "timeout", "The server has not answered in time; this is the last answer that we have."
    )
    assert answers[1].problem.message == "The server has not answered yet, and no earlier answer is stored."


def test_many_viewers_cost_one_question(server, postgres, database):
    single_flight.FLIGHTS.forget()
    # Since version 18 the text has lost the comment in front.
    asked = "select calls from pg_stat_statements where query like '%%session.backend_xmin%%'"

    def count():
        with postgres.connect() as connection:
            found = connection.execute(
                asked + " and dbid = (select oid from pg_database where datname = %s)", [database]
            ).fetchall()
        return sum(calls for (calls,) in found)

    before = count()
    threads = [
        threading.Thread(target=lambda: readings.live(server, "sessions", max_age=30)) for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count() - before == 1


def test_live_readings_need_no_redis(server, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    single_flight.FLIGHTS.forget()
    until(lambda: readings.live(server, "sessions", max_age=60).problem is None)
    assert took(lambda: readings.live(server, "sessions", max_age=600), 0.1) < 0.1
    until(lambda: not single_flight.FLIGHTS.under_way)  # it still stores what it brought
    single_flight.FLIGHTS.forget()


def test_a_reading_comes_back_from_the_store_as_it_was(server, target):
    for name in ("settings", "sessions", "server_facts", "tables", "databases"):
        given = PROBES[name].read(target)
        reading_store.store(server, given)
        reading_store.DECODED.clear()
        found = readings.latest(server, name, given.database)
        assert [column.name for column in found.columns] == [column.name for column in given.columns]
        assert [tuple(map(str, row)) for row in found.rows] == [tuple(map(str, row)) for row in given.rows]
        assert found.taken_at == given.taken_at
        assert readings.latest(server, name, given.database).rows is found.rows


def test_a_failure_in_passing_leaves_the_last_rows(server, target):
    given = PROBES["sessions"].read(target)
    reading_store.store(server, given)
    failed = PROBES["sessions"].read(target)
    failed.rows, failed.problem = [], Problem("timeout", "No answer within 2 s.")
    reading_store.store(server, failed)
    found = readings.latest(server, "sessions")
    assert (found.rows, found.taken_at, found.problem) == (given.rows, given.taken_at, None)
    assert found.trouble == Problem("timeout", "No answer within 2 s.")
    reading_store.store(server, PROBES["sessions"].read(target))
    assert readings.latest(server, "sessions").trouble is None
