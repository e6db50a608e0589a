"""A store that is away or empty is not taken for one whose backups are gone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backups import catalogue
from backups.models import Backup, Store
from backups.stores import StoreError
from dbadmin.models import Run, Server
from tests.backups.test_faults import refusal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def test_a_disk_that_is_not_mounted_is_no_empty_store_and_its_backups_are_there_when_it_is_back(
    server: Server, taken: Callable[..., Backup], store: Store, database: str, run: Callable[..., Run]
) -> None:
    backup, disk = taken(), Path(store.directory)
    elsewhere = disk.rename(disk.with_name("unmounted"))
    disk.mkdir()  # the directory on which it would be mounted
    bare = (
        f"The store shelf ({disk}) is empty, though the catalogue lists backups there: its disk may not be mounted. "
        "Mount it. If they are lost, delete them here first, or use another store."
    )
    with pytest.raises(StoreError) as refused:
        catalogue.reread(store)
    assert str(refused.value) == bare
    assert refusal(server, "take_backup", database=database, store="shelf") == bare
    disk.rmdir()
    gone = f"The store's directory {disk} is not there. Create it, or mount its disk."
    for attempt in (lambda: store.open().head("shop/x"), lambda: store.open().delete("shop/x")):
        with pytest.raises(StoreError) as away:
            attempt()
        assert str(away.value) == gone
    elsewhere.rename(disk)
    backup.refresh_from_db()
    assert (backup.deleted_at, backup.problem) == (None, "")
    done = run("verify_backup", backup=backup.pk, how="read")
    assert done.status == Run.Status.SUCCEEDED, done.message


def test_a_backup_that_was_missed_and_is_there_again_is_in_the_catalogue_again(
    taken: Callable[..., Backup], store: Store, tmp_path: Path
) -> None:
    backup = taken()
    (store.path / "README").write_text("There is something else as well.")
    shutil.move(store.path / "shop", tmp_path / "carried_away")
    assert catalogue.reread(store) == (0, 1, [])
    backup.refresh_from_db()
    assert backup.deleted_why == "Its manifest is no longer in the store."
    shutil.move(tmp_path / "carried_away", store.path / "shop")
    assert catalogue.reread(store) == (1, 0, [])
    backup.refresh_from_db()
    assert (backup.deleted_at, backup.deleted_why) == (None, "")
