"""A server is recovered to exactly what was committed at a moment; what cannot be recovered is refused."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.test import Client
from django.urls import reverse

from backups import duties
from backups.models import Backup, BaseBackup, Drill, PointInTime, RecoveredCluster
from backups.physical.chains import recoverable
from backups.physical.scratch_cluster import recovered_folder
from dbadmin.connections import Session
from dbadmin.models import Run
from dbadmin.operations import REGISTRY, Refused
from dbadmin.probes import PROBES
from dbadmin.work import Work
from devtools import commands
from monitoring.models import Mark
from tests.backups.recovering import Source
from tests.carrying_out import carry_out, operation
from tests.fixtures.runtime import are_gone, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def recover(source: Source, moment: datetime | None = None) -> RecoveredCluster:
    """Recover, and give the cluster that stands."""
    kind = {"kind": "time", "moment": moment.isoformat()} if moment else {"kind": "latest"}
    return RecoveredCluster.objects.get(pk=source.do("recover_to_moment", **kind).result["recovered"])


def numbers(row: RecoveredCluster) -> list[int]:
    """The rows that it holds."""
    with psycopg.connect(row.dsn) as connection:
        return [number for (number,) in connection.execute("select number from moments order by 1")]


def sockets(folder: Path) -> Path:
    """The directory of the sockets of a recovered cluster: it lies elsewhere."""
    settings = dict(line.split(" = ") for line in (folder / "server.conf").read_text().splitlines())
    return Path(settings["unix_socket_directories"].strip("'"))


def stop(source: Source, row: RecoveredCluster) -> None:
    source.do("stop_recovered_cluster", cluster=row.pk)
    assert not Path(row.directory).exists()


def test_rows_are_exactly_those_that_were_committed_at_the_moment(source: Source) -> None:
    early = source.insert(1)
    base = source.base()
    assert base.read_at is not None
    moments = [source.insert(number) for number in (2, 3, 4)]
    source.switch()
    late = source.insert(5)
    source.covered()
    for moment in (early, late + timedelta(hours=1)):
        with pytest.raises(Refused) as refused:
            operation("recover_to_moment", source.server, kind="time", moment=moment.isoformat()).plan()
        assert str(refused.value).startswith(
            f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC cannot be recovered. What can: from "
            f"{base.consistent_at:%Y-%m-%d %H:%M:%S} to "
        )
    row = recover(source, moments[1])
    assert numbers(row) == [1, 2, 3]
    with psycopg.connect(row.dsn) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("insert into moments values (9)")
    stop(source, row)
    row = recover(source)
    assert numbers(row) == [1, 2, 3, 4, 5]
    stop(source, row)


def test_the_last_committed_second_survives_a_crash_of_the_source(source: Source) -> None:
    """Committed, the postmaster killed at once, its disk never seen again."""
    source.base()
    source.insert(1)
    with source.postgres.connect() as connection:
        connection.execute("set synchronous_commit = on")
        connection.execute("insert into moments values (2)")
        until(lambda: flushed(connection))
        os.kill(source.postgres.pid, signal.SIGKILL)
    until(lambda: source.point.problem.startswith("source-0 does not answer: "))
    row = recover(source)
    assert numbers(row) == [1, 2]
    stop(source, row)


def test_a_base_backup_waits_for_no_checkpoint_that_takes_its_time(source: Source) -> None:
    source.execute("create table much as select n, repeat('x', 1000) from generate_series(1, 15000) n")
    base = source.base()
    assert base.finished_at - base.started_at < timedelta(seconds=40)


def test_a_page_that_the_disk_of_the_source_altered_is_told_and_makes_no_base_backup(
    source: Source,
) -> None:
    """PostgreSQL itself looks at every page that it sends, where it has checksums."""
    with_checksums(source)
    source.execute("create table worn as select n, repeat('x', 500) from generate_series(1, 200) n")
    source.execute("checkpoint")
    file = source.postgres.data / source.execute("select pg_relation_filepath('worn')")[0]
    content = bytearray(file.read_bytes())
    content[12_000] ^= 1
    file.write_bytes(content)
    source.covered()
    failed = carry_out(operation("take_base_backup", source.server))
    assert failed.status == Run.Status.FAILED
    assert failed.message == (
        "Step 1 of 3 failed: The server broke the base backup off: checksum verification failure during base backup."
        " A page on the disk of the server is not what was written there. Its log names the file: restore what that"
        " belongs to, and look after the disk, before the backups from before expire."
    )
    assert not BaseBackup.objects.exists()
    assert list(source.store.open().items("source-0/_pitr/base/")) == []


def with_checksums(source: Source) -> None:
    """From now on, as in clusters that were made with them."""
    if source.execute("show data_checksums") == ("on",):
        return  # as initdb makes them since PostgreSQL 18
    cluster, data = source.postgres.cluster, source.postgres.data
    os.kill(source.postgres.pid, signal.SIGINT)
    source.postgres.running.process.wait(60)
    source.postgres.stop()
    commands.run(
        [cluster.programs.pg("pg_checksums"), "--enable", "-D", str(data)],
        log=cluster.log, says="There are no checksums.", account=cluster.account, cwd=data.parent,
    )  # fmt: skip
    source.postgres.start()


def flushed(connection: psycopg.Connection) -> bool:
    """The stream has brought all that is written; the source need do nothing more for it."""
    row = connection.execute(
        "select max(flush_lsn) >= pg_current_wal_insert_lsn() from pg_stat_replication"
    ).fetchone()
    return bool(row and row[0])


def test_a_missing_segment_is_refused_shown_and_healed_by_a_new_base_backup(
    source: Source, client_as: Callable[..., Client]
) -> None:
    source.base()
    source.insert(1)
    source.switch()
    source.insert(2)
    source.switch()
    late = source.insert(3)
    source.covered()
    segments = source.server.wal_segments.filter(kind="segment").order_by("-number")
    gone = segments[1]  # the newest is still in the spool, from which it would be sent again
    source.store.open().delete(gone.key)
    failed = carry_out(operation("recover_to_moment", source.server, kind="time", moment=late.isoformat()))
    assert failed.status == Run.Status.FAILED
    assert f"The WAL segment {gone.name} cannot be used" in failed.message
    with pytest.raises(Refused, match=f"cannot be recovered: the WAL segment {gone.name} is missing"):
        operation("recover_to_moment", source.server, kind="time", moment=late.isoformat()).plan()
    found = recoverable(source.server)
    assert [hole.missing for hole in found.holes] == [gone.name]
    page = client_as("admin").get(reverse("recovery", args=[source.server.name])).content.decode()
    assert gone.name in page
    (row,) = rows_of("wal_holes", source)
    assert row[0] == gone.name
    newest = BaseBackup.objects.latest("pk")
    reason = duties.why_due(source.point, found, newest.finished_at + timedelta(minutes=5))
    assert reason.startswith(f"The WAL segment {gone.name} is missing")
    source.base()
    source.covered()
    assert rows_of("wal_holes", source) == []
    assert recoverable(source.server).chain_for(source.point.covered_at) is not None


def test_what_happened_is_drawn_on_the_bar_with_the_moment_before_it(
    source: Source, client_as: Callable[..., Client]
) -> None:
    source.base()
    at = source.insert(1)
    source.covered()
    run, *_ = [
        Run.objects.create(
            server=source.server, server_name=source.server.name, operation=name, title=title, target=target, risk=risk,
            status="succeeded", started_at=at, finished_at=at + timedelta(minutes=5),
        ) for name, title, target, risk in [
            ("drop_index", "Drop index", "orders_note", "destroys"), ("drill_recovery", "Drill", "", "loads"),
            ("prune_backups", "Delete expired backups", "", "destroys"),
        ]
    ]  # fmt: skip
    Mark.objects.create(server=source.server, at=at, kind="deploy", text="Release 41")
    found = at + timedelta(milliseconds=1)
    since = {"since": (found - timedelta(seconds=60)).isoformat()}
    Mark.objects.create(server=source.server, at=found, kind="ddl", text="truncate orders", facts=since)
    early = at - timedelta(days=1)
    Mark.objects.create(server=source.server, at=early, kind="deploy", text="Release 40")
    page = client_as("admin").get(reverse("recovery", args=[source.server.name]))
    assert [(each.text, each.run) for each in page.context["happened"]] == [
        ("truncate orders", None),
        ("Drop index orders_note", run),
        ("Release 41", None),
    ]
    before = quote((at - timedelta(seconds=1)).isoformat())
    assert page.content.decode().count(f'href="?moment={before}#pick">Choose the moment before</a>') == 2
    before = quote((found - timedelta(seconds=61)).isoformat())
    assert page.content.decode().count(f'href="?moment={before}#pick">Choose the moment before</a>') == 1
    assert [
        bar.title.partition(" ")[2].partition(" ")[2]
        for bar in page.context["bars"]
        if bar.kind == "happened"
    ] == [
        "truncate orders",
        "Drop index orders_note",
        "Release 41",
    ]
    address = f'hx-get="{reverse("audit_losses", args=[source.server.name])}?since='
    assert address in page.content.decode()
    assert "Recover to it…" in page.content.decode()
    viewed = client_as("viewer").get(reverse("recovery", args=[source.server.name])).content.decode()
    assert address not in viewed
    assert "Recover to it…" not in viewed
    assert f"Only an admin of {source.server} recovers to it: tell them this moment." in viewed


def rows_of(name: str, source: Source) -> list[tuple[object, ...]]:
    """What a probe of ours answers."""
    with source.postgres.connect() as connection:
        return list(PROBES[name].read(Session(connection, source.server)).rows)


def test_an_altered_file_of_the_base_backup_is_named(source: Source) -> None:
    base = source.base()
    source.covered()
    opened = source.store.open()
    key = next(item.key for item in opened.items(f"{base.prefix}/base.tar"))
    path = opened.path(key)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    failed = carry_out(operation("recover_to_moment", source.server, kind="latest"))
    assert failed.status == Run.Status.FAILED
    assert failed.message == (
        f"Step 1 of 5 failed: {key} is not what was written: it cannot be decrypted (decryption error)."
    )
    assert not any(recovered_folder().iterdir())


def test_a_source_that_was_upgraded_is_another_cluster_and_nothing_is_mixed(source: Source) -> None:
    """A major upgrade makes a new cluster behind the same address: its WAL has nothing to do with the old one's."""
    base = source.base()
    now, before = source.point.system_id, "7000000000000000001"
    BaseBackup.objects.filter(pk=base.pk).update(system_id=before)
    PointInTime.objects.update(system_id=before)
    says = (
        f"source-0 is another cluster now (system identifier {now}, the WAL in the store belongs to {before}). "
        "Switch point-in-time recovery off and on again."
    )
    failed = carry_out(operation("take_base_backup", source.server))
    assert (failed.status, failed.message) == (Run.Status.FAILED, f"Step 1 of 3 failed: {says}")
    assert list(BaseBackup.objects.all()) == [base]


def test_a_segment_that_comes_with_other_bytes_than_are_stored_replaces_nothing(source: Source) -> None:
    """As when two servers write one timeline: what was stored first stays."""
    source.base()
    source.switch()
    segments = source.server.wal_segments.filter(kind="segment")
    newest = segments.latest("number")
    stored = source.store.open().get(newest.key)
    segments.filter(pk=newest.pk).update(plain_sha256="0" * 64)  # of what the other server had sent
    says = (
        f"{newest.name} is in the store with other bytes than the server sends now. Two servers write the same "
        "timeline, or this one was set back. Switch point-in-time recovery off and on again."
    )
    until(lambda: source.point.problem == says, 60)
    source.execute("select pg_logical_emit_message(true, 'test', 'more'), pg_switch_wal()")
    time.sleep(3)
    assert source.store.open().get(newest.key) == stored
    assert segments.latest("number").number == newest.number  # nothing is put behind it


def test_a_killed_receiver_loses_nothing(source: Source) -> None:
    source.base()
    source.insert(1)
    receiver = source.receivers[0]
    programs = receiver.descendants()
    receiver.kill()
    until(lambda: are_gone(programs))
    source.insert(2)
    source.execute("select pg_switch_wal()")
    source.insert(3)
    source.receive()
    row = recover(source)
    assert numbers(row) == [1, 2, 3]
    stop(source, row)
    assert recoverable(source.server).holes == []


def test_a_receiver_killed_while_it_lays_out_a_file_goes_on(source: Source) -> None:
    source.base()
    source.insert(1)
    source.covered()
    receiver = source.receivers[0]
    programs = receiver.descendants()
    receiver.kill()
    until(lambda: are_gone(programs))
    (partial,) = source.spool.glob("*.partial")
    partial.write_bytes(
        bytes(5 << 20)
    )  # what pg_receivewal leaves when it dies before its zeros are all written
    source.insert(2)
    source.receive()
    row = recover(source)
    assert numbers(row) == [1, 2]
    stop(source, row)
    assert recoverable(source.server).holes == []


def test_a_lost_spool_is_made_up_for_by_the_slot(source: Source) -> None:
    source.base()
    source.insert(1)
    programs = source.receivers[0].descendants()
    source.receivers[0].kill()
    until(lambda: are_gone(programs))
    # Received, but perhaps not sent: what has come since the base backup was taken is asked for again.
    source.server.wal_segments.filter(kind="segment").delete()
    source.execute("select pg_switch_wal()")
    source.insert(2)
    shutil.rmtree(source.spool)
    source.receive()
    assert recoverable(source.server).holes == []
    row = recover(source)
    assert numbers(row) == [1, 2]
    stop(source, row)


def test_a_recovered_database_is_backed_up_and_restored_beside_the_live_one(source: Source) -> None:
    source.base()
    moment = source.insert(1)
    source.insert(2)
    source.covered()
    row = recover(source, moment)
    run = source.do("dump_recovered_cluster", cluster=row.pk, database="postgres", store="shelf")
    backup = Backup.objects.get(pk=run.result["backup"])
    assert backup.database == f"postgres@{moment:%Y-%m-%dT%H:%M:%SZ}"
    assert backup.read_at
    source.do("restore_backup", backup=backup.pk, into="new", database="before")
    with psycopg.connect(source.postgres.dsn_for("before")) as connection:
        assert connection.execute("select array_agg(number) from moments").fetchone() == ([1],)
    stop(source, row)
    with pytest.raises(Refused, match=r"^This recovered cluster does not stand any more\. Recover again\.$"):
        REGISTRY["dump_recovered_cluster"](source.server, {"cluster": row.pk, "database": "postgres"}).plan()


def test_a_promotion_is_followed_to_its_new_timeline(source: Source) -> None:
    source.base()
    source.insert(1)
    source.covered()
    source.postgres.stop()
    (source.postgres.data / "standby.signal").touch()
    source.postgres.start()
    source.execute("select pg_promote()")
    source.insert(2)
    source.covered()
    assert source.server.wal_segments.filter(kind="history").get().name == "00000002.history"
    row = recover(source)
    assert numbers(row) == [1, 2]
    stop(source, row)


def lost_keeper(row: RecoveredCluster) -> None:
    """As after a restart of the host."""
    pid = int((Path(row.directory) / "keeper.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: are_gone([pid]))


def test_what_a_keeper_left_that_is_gone_goes_when_it_is_stopped_or_at_the_next_recovery(
    source: Source,
) -> None:
    source.base()
    source.insert(1)
    source.covered()
    gone = "Its keeper was gone, as after a restart of the host."
    first = recover(source)
    left = [sockets(Path(first.directory))]
    lost_keeper(first)
    stop(source, first)
    first.refresh_from_db()
    assert first.ended_why == gone
    second, third = recover(source), recover(source)
    for row in (second, third):
        left.append(sockets(Path(row.directory)))
        lost_keeper(row)
    assert [folder.is_dir() for folder in left] == [False, True, True]
    run = source.do("stop_recovered_cluster", cluster=third.pk, hand_over=True)
    assert run.message == (
        f"{third} is stopped. Its files are in {third.directory}/data on {third.host}. "
        "It was not shut down: PostgreSQL recovers it when it is started."
    )
    last = recover(source)
    second.refresh_from_db()
    assert second.ended_why == gone
    kept = {int(folder.name) for folder in recovered_folder().iterdir()}
    assert kept == {third.run_id, last.run_id}
    assert [folder for folder in left if folder.exists()] == []
    shutil.rmtree(third.directory)
    stop(source, last)


def test_a_drill_measures_and_leaves_nothing(source: Source) -> None:
    if sorted_elsewhere := source.postgres.major >= 15:
        source.execute("update pg_database set datcollversion = '1.1' where datname = 'postgres'")
    source.base()
    source.insert(1)
    time.sleep(3)
    source.covered()
    run = source.do("drill_recovery")
    drill = Drill.objects.get(run=run)
    assert drill.problem == ""
    assert drill.rto_seconds > 0
    assert drill.rpo_seconds is not None
    assert "Beat" in drill.says or "It ended at" in drill.says
    says = "Text of postgres was sorted by version 1.1 of its rules, this host has "
    assert (says in drill.says) is sorted_elsewhere
    assert not any(recovered_folder().iterdir())


def test_tablespaces_come_along_beside_the_data_directory(source: Source) -> None:
    place = source.postgres.data.parent / f"{source.postgres.data.name}-space"
    place.mkdir()
    shutil.chown(place, source.postgres.data.owner(), source.postgres.data.group())
    source.execute(f"create tablespace beside location '{place}'")
    source.execute("create table far (number int) tablespace beside")
    source.execute("insert into far values (7)")
    source.base()
    source.covered()
    row = recover(source)
    with psycopg.connect(row.dsn) as connection:
        assert connection.execute("select number from far").fetchone() == (7,)
        shown = connection.execute(
            "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'beside'"
        )
        assert str(shown.fetchone()[0]).startswith(row.directory)
    stop(source, row)
    source.execute("drop table far")
    source.execute("drop tablespace beside")


def test_names_that_need_quotes_come_along(source: Source) -> None:
    place = source.postgres.data.parent / f'{source.postgres.data.name} of \\ "a" Größe'
    place.mkdir()
    shutil.chown(place, source.postgres.data.owner(), source.postgres.data.group())
    source.execute(f"""create tablespace "it's ""far"" für" location '{place}'""")
    source.execute("""create database "it's ""my"" db für %s" tablespace "it's ""far"" für" """)
    with source.postgres.connect('it\'s "my" db für %s') as connection:
        connection.execute("""create table "ta'b""le ü" as select 7 as "n'""u" """)
    source.base()
    source.covered()
    row = recover(source)
    assert row.databases == ['it\'s "my" db für %s', "postgres"]
    with psycopg.connect(row.dsn, dbname='it\'s "my" db für %s') as connection:
        assert connection.execute("""select "n'""u" from "ta'b""le ü" """).fetchone() == (7,)
    done = source.do("dump_recovered_cluster", cluster=row.pk, database='it\'s "my" db für %s', store="shelf")
    assert Backup.objects.get(pk=done.result["backup"]).database.startswith('it\'s "my" db für %s@')
    stop(source, row)
    source.execute("""drop database "it's ""my"" db für %s" """)
    source.execute("""drop tablespace "it's ""far"" für" """)


def test_what_expired_goes_with_the_wal_that_only_it_needs(source: Source) -> None:
    first = source.base()
    source.switch()
    second = source.base()
    source.covered()
    with pytest.raises(Refused, match="Everything of source-0 is still needed"):
        operation("prune_point_in_time", source.server).plan()
    old = timedelta(days=9)
    for base, days in ((first, 2 * old), (second, old)):
        base.consistent_at -= days
        base.save()
    reading = Work(Run.objects.create(server=source.server, operation="recover_to_moment"))
    first.lease(reading)
    with pytest.raises(Refused, match="Everything of source-0 is still needed"):
        operation("prune_point_in_time", source.server).plan()
    first.release(reading)
    source.do("prune_point_in_time")
    assert [base.pk for base in BaseBackup.objects.present()] == [second.pk]
    kept = source.server.wal_segments.exclude(kind="history").values_list("end_lsn", flat=True)
    assert min(kept) > second.start_lsn
    assert not list(source.store.open().items(f"{first.prefix}/"))
    found = recoverable(source.server)
    assert (found.earliest, found.holes) == (second.consistent_at, [])
    stop(source, recover(source))
