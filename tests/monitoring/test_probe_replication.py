"""Replication: a standby that is cut off says so, whatever the usual formula would say."""

import datetime as dt
import shutil
import subprocess
import threading
import time
from dataclasses import replace

import psycopg
import pytest

from backups import logical
from dbadmin import readings
from dbadmin.connections import Session, limit
from dbadmin.models import Server
from dbadmin.probes import PROBES
from devtools import ports
from tests.fixtures.servers import Postgres, server_row
from tests.monitoring.test_epochs import Watcher
from tests.running import scratch

pytestmark = pytest.mark.servers


def standby_of(primary):
    """A standby, as a copy of the stopped primary's files, so that no client program is needed."""
    primary.stop()
    data = primary.data.with_name(f"{primary.data.name}-standby")
    subprocess.run(["cp", "-a", str(primary.data), str(data)], check=True)
    signal = data / "standby.signal"
    signal.touch()
    shutil.chown(signal, primary.data.stat().st_uid, primary.data.stat().st_gid)
    primary.start()
    follows = f"{primary.cluster.conninfo()} password={primary.cluster.password} application_name=follower"
    settings = {**primary.cluster.settings, "primary_conninfo": follows, "wal_receiver_status_interval": "1"}
    cluster = replace(primary.cluster, data=data, port=ports.any_free(1)[0], settings=settings)
    return Postgres(cluster, scratch().start(cluster))


@pytest.fixture
def pair(new_postgres):
    """A primary with a table, and its standby."""
    primary = new_postgres()
    with primary.connect() as connection:
        connection.execute("create table notes (id int)")
        connection.execute("checkpoint")
    standby = standby_of(primary)
    yield primary, standby
    if standby.running in scratch().supervisor.running:
        standby.stop()
    shutil.rmtree(standby.data)


def read(server, name):
    with server.connect() as connection:
        limit(connection)
        return PROBES[name].read(Session(connection))


def until(question, seconds=60):
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "It did not come to pass."
        time.sleep(0.1)
    return answer


def lag(standby, state):
    return until(
        lambda: next((row for row in read(standby, "replication_lag").rows if row.state == state), None)
    )


def test_standby_that_follows_is_at_zero_and_seen_from_the_primary(pair):
    primary, standby = pair
    row = lag(standby, "following")
    assert (row.lag_bytes, row.lag_seconds) == (0, 0)
    seen = until(lambda: read(primary, "standbys").rows)
    assert [(one.application, one.state) for one in seen] == [("follower", "streaming")]
    assert until(lambda: read(primary, "standbys").rows[0].replay_lag_bytes == 0)


def test_a_long_transaction_that_is_replayed_at_once_is_no_lag(pair):
    """Nothing is committed while it loads: the age of the last commit grows, the standby is near all the time."""
    primary, standby = pair
    with primary.connect() as connection:
        connection.execute("insert into notes values (0)")
    until(lambda: read(standby, "replication_lag").rows[0].replayed_at)
    loaded = threading.Event()

    def load():
        with primary.connect() as connection, connection.transaction():
            while not loaded.is_set():
                connection.execute("insert into notes select generate_series(1, 20000)")

    loader = threading.Thread(target=load)
    loader.start()

    def is_near():
        (row,) = read(standby, "replication_lag").rows
        age = (dt.datetime.now(dt.UTC) - row.replayed_at).total_seconds()
        return row.state == "catching up" and age > 3 and row.lag_seconds < 3

    try:
        until(is_near, seconds=60)
    finally:
        loaded.set()
        loader.join()


def test_archiving_is_judged_where_wal_is_archived(new_postgres):
    primary = new_postgres(archive_mode="on")
    (row,) = read(primary, "archiver").rows
    assert (row.state, row.failing_count) == ("no command", 1)
    for command, state in (("true", "working"), ("false", "failing")):
        primary.admin.execute(f"alter system set archive_command = '{command}'")
        primary.admin.execute("select pg_reload_conf()")
        primary.admin.execute("select pg_logical_emit_message(true, 'a', 'b')")
        primary.admin.execute("select pg_switch_wal()")
        until(lambda state=state: read(primary, "archiver").rows[0].state == state)
    assert read(primary, "archiver").rows[0].failing_count == 1
    standby = standby_of(primary)
    try:
        (row,) = read(standby, "archiver").rows
        assert (row.state, row.failing_count) == ("off", None)
    finally:
        standby.stop()
        shutil.rmtree(standby.data)


def test_what_only_receives_wal_has_no_lag_of_replay(new_postgres, tmp_path):
    primary = new_postgres()
    receiver = subprocess.Popen(
        [logical.choose(primary.major).path("pg_receivewal"), "-D", tmp_path, "-s", "1", "-d", primary.dsn],
    )
    try:
        with primary.connect() as connection:

            def lags():
                connection.execute("select pg_logical_emit_message(true, 'x', 'y')")
                return connection.execute(
                    "select replay_lag from pg_stat_replication where replay_lag > interval '1 s'"
                ).fetchone()

            until(lags)
        (row,) = read(primary, "standbys").rows
        assert (row.application, row.state) == ("pg_receivewal", "streaming")
        assert (row.replay_lag_bytes, row.replay_lag_seconds) == (None, None)
        assert row.send_lag_bytes is not None
    finally:
        receiver.kill()
        receiver.wait()


def test_time_of_sessions_does_not_begin_in_the_year_2000(new_postgres):
    """So counts PostgreSQL a session that failed before it began, such as over a wrong option."""
    primary = new_postgres()
    with pytest.raises(psycopg.OperationalError, match="requires a value"):
        psycopg.connect(primary.dsn, options="-c wrong")
    until(lambda: sum(row.commits_total for row in read(primary, "databases").rows) > 5)
    for _ in range(20):
        for row in read(primary, "databases").rows:
            assert row.session_seconds_total is None or row.session_seconds_total < 1000
        time.sleep(0.1)


def test_standby_without_a_connection_never_says_zero(pair):
    """All that it received is replayed, so the usual formula gives 0 while the primary runs ahead."""
    primary, standby = pair
    with primary.connect() as connection:
        connection.execute("insert into notes values (1)")
    assert until(lambda: read(standby, "replication_lag").rows[0].replayed_at)
    with standby.connect() as connection:
        connection.execute("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
        connection.execute("select pg_reload_conf()")
    row = lag(standby, "cut off")
    with primary.connect() as connection:
        connection.execute("insert into notes select generate_series(1, 50000)")
    with standby.connect() as connection:
        usual = "select pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
        assert until(lambda: connection.execute(usual).fetchone()[0])
    row = lag(standby, "cut off")
    assert (row.lag_bytes, row.cut_off_count) == (None, 1)
    assert row.lag_seconds > 0
    assert PROBES["replication_lag"].state_of(row) == "critical"
    assert read(primary, "standbys").rows == []


def test_paused_replay_is_called_paused_with_its_lag(pair):
    primary, standby = pair
    lag(standby, "following")
    with standby.connect() as connection:
        connection.execute("select pg_wal_replay_pause()")
    with primary.connect() as connection:
        connection.execute("insert into notes select generate_series(1, 50000)")
    assert until(lambda: read(standby, "replication_lag").rows[0].lag_bytes > 1_000_000)
    assert read(standby, "replication_lag").rows[0].state == "replay paused"
    seen = until(lambda: [one for one in read(primary, "standbys").rows if one.replay_lag_bytes > 1_000_000])
    assert seen[0].flush_lag_bytes < seen[0].replay_lag_bytes


def test_a_standby_whose_query_keeps_dead_rows_is_named_and_its_sender_not_offered_to_be_ended(pair):
    """To end the sender only interrupts the replication: the query goes on."""
    primary, standby = pair
    with standby.connect() as reader:
        reader.execute("alter system set hot_standby_feedback = on")
        reader.execute("select pg_reload_conf()")
        reader.execute("begin isolation level repeatable read")
        reader.execute("select count(*) from notes")
        (row,) = until(lambda: [one for one in read(primary, "xmin_horizon").rows if one.kind == "standby"])
    assert (row.name, row.pid, row.remedy) == ("follower", None, "end the long queries on the standby")


def test_standby_leaves_empty_what_it_does_not_count(pair):
    primary, standby = pair
    with primary.connect() as connection:
        connection.execute("insert into notes select generate_series(1, 1000)")
        connection.execute("analyze notes")
        connection.execute("checkpoint")
    until(lambda: next((row for row in read(standby, "tables").rows if row.live_rows == 1000), None))
    (row,) = read(standby, "tables").rows
    assert row.live_rows == 1000
    assert (row.dead_rows, row.inserted_rows_total, row.dead_ratio) == (None, None, None)
    assert (
        read(standby, "vacuum_state").problem.message == "Only a primary can tell; this server is a standby."
    )
    assert read(standby, "standby_conflicts").problem is None


def test_every_reading_answers_on_a_standby(pair):
    _, standby = pair
    with standby.connect() as connection:
        limit(connection)
        session = Session(connection)
        for probe in PROBES.values():
            if probe.app in {"monitoring", "maintenance"} and probe.source == "postgres":
                problem = probe.read(session).problem
                assert problem is None or problem.kind in {"unsupported", "extension"}, (probe.name, problem)


def test_forgotten_slot_shows_what_it_keeps(new_postgres):
    server = new_postgres()
    with server.connect() as connection:
        connection.execute("select pg_create_physical_replication_slot('forgotten', true)")
        connection.execute("create table notes (id int)")
        connection.execute("insert into notes select generate_series(1, 50000)")
        connection.execute("checkpoint")
    (row,) = read(server, "replication_slots").rows
    assert (row.slot, row.is_active, row.wal_status) == ("forgotten", False, "reserved")
    assert row.retained_bytes > 1_000_000
    assert row.unconfirmed_bytes is None, "only a logical slot confirms"


@pytest.mark.django_db
def test_a_promoted_standby_says_so_and_its_counting_goes_on(pair):
    _, standby = pair
    watcher = Watcher(server_row("promoted", standby))
    watcher.look("databases")
    with standby.connect() as connection:
        connection.execute("select pg_promote()")
    promoted = watcher.look("databases")
    assert [(mark.kind, mark.text) for mark in promoted.marks] == [
        ("promoted", "The standby was promoted; it is a primary now.")
    ]
    assert promoted.holes == []
    assert [sample.length > 0 for sample in promoted.samples] == [True]
    assert watcher.look("databases").marks == []
    watcher.round.close()


@pytest.fixture
def group(pair, db, monkeypatch):
    """Both as servers of ours, with an index that nobody has used; judge() looks at both and gives the verdict."""
    primary, standby = pair
    monkeypatch.setattr(PROBES["unused_indexes"].module, "LONG_ENOUGH", 0.0)
    with primary.connect() as connection:
        connection.execute("insert into notes select generate_series(1, 60000)")
        connection.execute("create index report on notes (id)")
        connection.execute("analyze notes")
    head = server_row("shop", primary)
    replica = server_row("replica", standby, primary=head)
    until(lambda: read(standby, "replication_lag").rows[0].lag_seconds == 0)

    def judge(*told):
        for server, postgres in ((replica, standby), (head, primary)):
            with postgres.connect() as connection:
                session = Session(connection, server)
                found = [PROBES[name].read(session) for name in ("indexes", "unused_indexes")]
            if server in told:
                readings.store_many(server, found)
        assert found[1].problem is None
        return next((row.verdict for row in found[1].rows if row.index == "report"), None)

    return head, replica, judge


def test_an_index_can_be_dropped_only_when_every_server_of_the_group_says_so(group, pair):
    _, replica, judge = group
    assert judge() == "unused here, not known of replica"
    assert judge(replica) == "can be dropped"
    Server.objects.filter(pk=replica.pk).update(primary=None)
    assert judge(replica) == "unused here, ask the standbys", "one that we do not know follows it"


def test_an_index_that_only_a_replica_uses_is_not_called_unused(group, pair):
    _, replica, judge = group
    _, standby = pair
    assert judge(replica) == "can be dropped"

    def used():
        with standby.connect() as connection:
            connection.execute("set enable_seqscan = off; set enable_bitmapscan = off")
            connection.execute("select count(*) from notes where id = 5")
        return next(row.scans_total for row in read(standby, "indexes").rows if row.index == "report")

    until(used)
    assert judge(replica) is None


def test_one_who_copies_wal_is_no_standby_that_could_use_an_index(new_postgres, db, monkeypatch):
    monkeypatch.setattr(PROBES["unused_indexes"].module, "LONG_ENOUGH", 0.0)
    primary = new_postgres()
    with primary.connect() as connection:
        connection.execute("create table notes as select generate_series(1, 60000) as id")
        connection.execute("create index report on notes (id)")
        connection.execute("analyze notes")
        here = connection.execute("select pg_current_wal_flush_lsn()::text").fetchone()[0]
    receiver = psycopg.connect(primary.dsn, application_name="pg_receivewal", replication="true")
    receiver.pgconn.exec_(f"START_REPLICATION {here}".encode())
    assert [row.application for row in until(lambda: read(primary, "standbys").rows)] == ["pg_receivewal"]
    assert [row.verdict for row in read(primary, "unused_indexes").rows] == ["can be dropped"]
    receiver.close()
