"""WAL that the source gave up before it was received is a hole: red, refused, and ended by a new base backup."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from backups import catalogue
from backups.models import BaseBackup, PointInTime, RecoveredCluster, Store
from backups.physical.chain_watch import Watch
from backups.physical.chains import recoverable
from dbadmin.operations import Refused
from tests.backups.recovering import Source
from tests.backups.test_point_in_time import numbers, recover, rows_of, stop
from tests.backups.test_store_away import away, mounted, unmounted
from tests.carrying_out import operation
from tests.fixtures.runtime import Process, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def give_up(source: Source) -> None:
    """The server writes more than its slot may keep back."""
    for _ in range(8):
        source.execute("select pg_logical_emit_message(true, 'test', 'there is something in it')")
        source.execute("select pg_switch_wal()")
        source.execute("checkpoint")
    assert source.execute("select wal_status from pg_replication_slots") == ("lost",)


def test_a_slot_that_the_server_gave_up_is_a_hole_until_the_next_base_backup(
    make_source: Callable[..., Source],
) -> None:
    source = make_source(max_slot_wal_keep_size="16MB", max_wal_size="32MB", min_wal_size="32MB")
    source.base()
    before = source.insert(1)
    source.switch()
    source.covered()
    source.receivers.pop().end()
    give_up(source)
    source.receive()
    lost = source.insert(2)
    source.covered()
    found = recoverable(source.server)
    (hole,) = found.holes
    assert (hole.end, bool(hole.missing)) == (None, True)
    assert [row[0] for row in rows_of("wal_holes", source)] == [hole.missing]
    with pytest.raises(Refused, match=f"cannot be recovered: the WAL segment {hole.missing} is missing"):
        operation("recover_to_moment", source.server, kind="time", moment=lost.isoformat()).plan()
    row = recover(source, before)
    assert numbers(row) == [1]
    stop(source, row)
    source.base()
    source.covered()
    row = recover(source)
    assert numbers(row) == [1, 2]
    stop(source, row)
    assert PointInTime.objects.get().problem == ""


def test_a_slot_that_was_given_up_since_nobody_received_is_made_anew_and_nothing_is_lost(
    since_18: None, make_source: Callable[..., Source]
) -> None:
    source = make_source(idle_replication_slot_timeout="1s")
    source.base()
    source.receivers.pop().end()
    reason = "select invalidation_reason from pg_replication_slots"
    until(lambda: source.execute("checkpoint") or source.execute(reason) == ("idle_timeout",), 30)
    source.insert(1)
    source.receive()
    assert (
        "source-0: The server had given the slot dbadmin_source_0 up, since no receiver was at work for as long as"
        " idle_replication_slot_timeout allows; it was made anew."
    ) in source.log.read_text()
    assert recoverable(source.server).holes == []


@pytest.mark.parametrize("of_an_older_version", [False, True])
def test_what_was_received_before_the_slot_was_given_up_is_sent_when_the_store_is_back(
    make_source: Callable[..., Source], of_an_older_version: bool
) -> None:
    source = make_source(max_slot_wal_keep_size="16MB", max_wal_size="32MB", min_wal_size="32MB")
    source.base()
    source.covered()
    elsewhere = unmounted(source.store)
    source.insert(1)
    segment, received = source.execute(
        "select pg_walfile_name(pg_current_wal_insert_lsn()), pg_current_wal_insert_lsn()::text"
    )
    source.execute("select pg_switch_wal()")
    until((source.spool / segment).exists, 60)
    source.receivers.pop().end()
    give_up(source)
    bare = away(source.store)
    if of_an_older_version:
        (elsewhere / source.store.mark).unlink()
        Store.objects.update(is_marked=False)
        bare = (
            f"The store shelf ({source.store.path}) holds none of the base backups that the catalogue lists there: its "
            "disk may not be mounted. Mount it. If they are lost, tick “Take what is there now for its disk” in the "
            "store's settings."
        )
    source.receivers.append(Process(source.log, "wal_receiver", redis_url="redis://127.0.0.1:1/0"))
    until(lambda: source.point.problem == bare, 60)
    told_at = source.point.seen_at
    until(lambda: source.point.seen_at > told_at + timedelta(seconds=8), 60)  # it has tried to go on
    mounted(source.store, elsewhere)
    source.covered()
    run = source.do("recover_to_moment", kind="lsn", text=received)
    row = RecoveredCluster.objects.get(pk=run.result["recovered"])
    assert numbers(row) == [1]
    stop(source, row)


def test_a_base_backup_that_vanished_makes_no_window_until_it_is_back(source: Source, tmp_path: Path) -> None:
    base = source.base()
    source.covered()
    for process in source.receivers:
        process.end()
    assert recoverable(source.server).windows
    away = shutil.move(source.store.path / base.prefix, tmp_path / "away")
    for look in (
        lambda: Watch(source.point).look(source.store.open()),
        lambda: catalogue.reread(source.store),
    ):
        BaseBackup.objects.update(problem="")
        look()
        assert BaseBackup.objects.get().problem == "It is no longer in the store."
        assert recoverable(source.server).windows == []
    shutil.move(away, source.store.path / base.prefix)
    Watch(source.point).look(source.store.open())
    assert BaseBackup.objects.get().problem == ""
    assert recoverable(source.server).windows
