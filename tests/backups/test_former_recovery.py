"""What a point-in-time recovery that is over left: it stays recoverable, and goes when somebody says so."""

import shutil
from pathlib import Path

import psycopg
import pytest

from backups.models import BaseBackup, Store
from backups.physical.chain_watch import Watch
from dbadmin.operations import Refused
from tests.backups.recovering import Source
from tests.backups.test_point_in_time import recover, stop
from tests.carrying_out import log_of, operation

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
