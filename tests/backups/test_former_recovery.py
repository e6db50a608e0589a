"""What a point-in-time recovery that is over left: it stays recoverable, and goes when somebody says so."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backups import catalogue
from backups.models import BaseBackup, PointInTime, Store
from backups.physical import layers
from backups.physical.chain_watch import Watch
from backups.physical.manifest import NAME
from dbadmin.models import Run, Server
from dbadmin.operations import Refused
from dbadmin.work import Work
from tests.backups.recovering import Source
from tests.backups.test_point_in_time import recover, stop
from tests.backups.test_store_away import as_before_marks, mounted, unmounted
from tests.carrying_out import carry_out, log_of, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers, pytest.mark.slow]


def switched_off(source: Source) -> None:
    for process in source.receivers:
        process.end()
    source.do("switch_off_point_in_time")


def test_wal_in_a_former_store_is_not_missed_in_the_new_one_and_leads_on_into_it(
    source: Source, tmp_path: Path
) -> None:
    base = source.base()
    source.insert(1)
    source.switch()
    switched_off(source)
    (tmp_path / "vault").mkdir()
    vault = Store.objects.create(name="vault", directory=str(tmp_path / "vault"))
    source.do("switch_on_point_in_time", store="vault", ship_seconds=1, heartbeat=True, database="postgres")
    source.receive()
    source.insert(2)
    source.switch()
    source.covered()
    watch = Watch(source.point)
    watch.look(vault.open())
    assert watch.problem == ""
    assert not source.server.wal_segments.exclude(problem="").exists()
    assert {row.store.name for row in source.server.wal_segments.filter(kind="segment")} == {"shelf", "vault"}
    row = recover(source)
    with psycopg.connect(row.dsn) as connection:
        assert connection.execute("select array_agg(number order by number) from moments").fetchone() == (
            [1, 2],
        )
    assert row.base == base
    stop(source, row)
    source.store.path.rename(tmp_path / "away")
    operation("take_base_backup", source.server).plan()  # asks the former store for nothing


def test_wal_of_another_dbadmin_in_the_same_place_is_not_written_over(source: Source) -> None:
    source.switch()
    switched_off(source)
    rows = list(source.server.wal_segments.all())
    source.server.wal_segments.all().delete()  # so another dbadmin sees it
    wanted = {"store": "shelf", "ship_seconds": 1, "heartbeat": True, "database": "postgres"}
    with pytest.raises(Refused) as refusal:
        operation("switch_on_point_in_time", source.server, **wanted).plan()
    assert str(refusal.value) == (
        f"{source.point.folder} in the store shelf holds WAL that is not in this catalogue: of another dbadmin that "
        "writes there, or of a server that was removed from this one. Choose a store with a prefix or directory of "
        "its own, or remove that folder when nobody needs it."
    )
    type(rows[0]).objects.bulk_create(rows)
    operation("switch_on_point_in_time", source.server, **wanted).plan()
    source.do("delete_former_recovery")
    assert list(source.store.open().items(f"{source.point.folder}/")) == []
    operation("switch_on_point_in_time", source.server, **wanted).plan()


def test_all_of_a_recovery_that_is_off_can_be_deleted_also_what_was_lost_with_its_disk(
    source: Source,
) -> None:
    with pytest.raises(Refused) as refusal:
        operation("delete_former_recovery", source.server).plan()
    assert str(refusal.value) == (
        "Nothing is left of a former point-in-time recovery of source-0. What is on now goes when it expires "
        "(“Delete expired”); to delete all of it, switch it off first."
    )
    base = source.base()
    source.switch()
    switched_off(source)
    BaseBackup.objects.filter(pk=base.pk).update(keep=True)
    with pytest.raises(Refused) as refusal:
        operation("delete_former_recovery", source.server).plan()
    assert str(refusal.value) == f"The {base} is marked to be kept. Take the mark away first."
    BaseBackup.objects.filter(pk=base.pk).update(keep=False)
    shutil.rmtree(source.store.path / source.server.name)  # the disk was replaced, and the new one is empty
    run = source.do("delete_former_recovery")
    assert log_of(run)[-1].startswith("Removed ")
    assert not BaseBackup.objects.present().exists()
    assert not source.server.wal_segments.exists()


def test_nothing_of_a_former_recovery_is_struck_off_while_the_disk_of_an_older_version_is_not_mounted(
    source: Source,
) -> None:
    base = source.base()
    source.switch()
    switched_off(source)
    before = source.server.wal_segments.count()
    as_before_marks(source.store)
    elsewhere = unmounted(source.store)
    failed = carry_out(operation("delete_former_recovery", source.server))
    assert (failed.status, failed.message) == (
        Run.Status.FAILED,
        (
            f"Step 1 of 2 failed: The store shelf ({source.store.path}) holds none of the base backups that the "
            "catalogue lists there: its disk may not be mounted. Mount it. If they are lost, tick “Take what is there "
            "now for its disk” in the store's settings."
        ),
    )
    assert list(BaseBackup.objects.present()) == [base]
    base.delete()
    failed = carry_out(operation("delete_former_recovery", source.server))
    assert (failed.status, source.server.wal_segments.count()) == (Run.Status.FAILED, before)
    mounted(source.store, elsewhere)
    assert carry_out(operation("delete_former_recovery", source.server)).status == Run.Status.SUCCEEDED
    assert not source.server.wal_segments.exists()


def test_wal_of_a_base_backup_that_is_needed_since_the_plan_stays_with_it(source: Source) -> None:
    base = source.base()
    source.switch()
    switched_off(source)
    before = source.server.wal_segments.count()
    *steps, wal = operation("delete_former_recovery", source.server).plan()
    BaseBackup.objects.update(keep=True)
    run = Run.objects.create(server=source.server, operation="delete_former_recovery", params={})
    for step in steps:
        step.run(Work(run))
    with pytest.raises(Refused) as refusal:
        wal.run(Work(run))
    assert (
        str(refusal.value)
        == f"The {base} stays, and all WAL with it: somebody needs it now. Run this again later."
    )
    assert source.server.wal_segments.count() == before


def test_a_store_is_not_moved_to_where_its_base_backups_and_wal_are_not(
    source: Source, tmp_path: Path, client_as: Callable[[str], Client]
) -> None:
    source.switch()
    switched_off(source)
    wal = source.server.wal_segments.order_by("stored_at").first()
    (tmp_path / "new").mkdir()
    form = {
        "name": "shelf",
        "kind": "local",
        "directory": str(tmp_path / "new"),
        "lock_days": "0",
        "enabled": "on",
    }
    answer = client_as("admin").post(reverse("store", args=["shelf"]), form)
    assert answer.status_code == 422
    assert answer.context["form"].errors["directory"] == [
        (
            f"{source.store.path} holds segments of WAL, and {tmp_path / 'new'} does not hold {wal.key}. "
            "Copy everything there first, or add another store."
        )
    ]
    source.store.refresh_from_db()
    assert source.store.directory != str(tmp_path / "new")


def base_of(point: PointInTime, days: int) -> BaseBackup:
    """One that was taken so many days ago."""
    moment = timezone.now() - timedelta(days=days)
    return BaseBackup.objects.create(
        server=point.server, store=point.store, prefix=f"shop/{days}", system_id=point.system_id, timeline=1,
        start_lsn=0, end_lsn=1, started_at=moment, consistent_at=moment, finished_at=moment, read_at=moment,
        stored_bytes=1, plain_bytes=1, files_count=1,
    )  # fmt: skip


def test_a_base_backup_that_is_known_to_be_gone_is_not_looked_for_where_the_disk_is_to_be_known(
    server: Server, store: Store
) -> None:
    point = PointInTime.objects.create(server=server, store=store, slot="s", system_id="1")
    lost, there = base_of(point, 2), base_of(point, 1)
    store.open().put(f"{there.prefix}/{NAME}", b"{}")
    layers.look_for(lost)
    catalogue.must_be_mounted(store)
    assert store.is_marked


def test_a_look_for_a_base_backup_leaves_what_was_found_wrong_with_it_meanwhile(
    server: Server, store: Store
) -> None:
    base = base_of(PointInTime.objects.create(server=server, store=store, slot="s", system_id="1"), 1)
    store.open().put(f"{base.prefix}/{NAME}", b"{}")
    BaseBackup.objects.update(problem="It is damaged.")
    layers.look_for(base)
    assert BaseBackup.objects.get().problem == "It is damaged."


def test_nothing_expires_while_no_wal_comes(server: Server, store: Store) -> None:
    now = timezone.now()
    point = PointInTime.objects.create(server=server, store=store, slot="s", system_id="1", keep_days=7)
    for days in (30, 22):
        base_of(point, days)
        store.open().put(f"shop/{days}/base.json", b"{}")
    for covered_at, says in (
        (None, "No WAL of shop has been received yet: everything stays until that is so."),
        (now - timedelta(days=20), "Everything of shop is still needed: the oldest that is needed is the"),
    ):
        PointInTime.objects.filter(pk=point.pk).update(covered_at=covered_at)
        with pytest.raises(Refused) as refusal:
            operation("prune_point_in_time", server).plan()
        assert str(refusal.value).startswith(says)
    PointInTime.objects.filter(pk=point.pk).update(covered_at=now)
    assert len(operation("prune_point_in_time", server).plan()) == 2
