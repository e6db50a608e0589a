"""A store that is away or empty is not taken for one whose backups are gone."""

import shutil
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from backups import catalogue, seen_stores
from backups.models import Backup, BaseBackup, Policy, Store
from backups.physical.chains import recoverable
from backups.seen_stores import Sight
from backups.stores import StoreError
from backups.stores.local import LocalStore
from dbadmin import beats
from dbadmin.models import Run, Server, WorkerBeat
from tests.backups.recovering import Source
from tests.backups.test_copies import DATA, shop, twice, vault
from tests.backups.test_faults import refusal
from tests.carrying_out import carry_out, operation
from tests.fixtures.runtime import until

__all__ = ["shop", "twice", "vault"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def away(store: Store) -> str:
    """What is said of a marked disk that is not mounted."""
    return (
        f"The disk of the store {store.path} is not mounted: the file {store.mark} that lies on it is not there. "
        "Mount it. If it is lost, tick “Take what is there now for its disk” in the store's settings."
    )


def test_a_disk_that_is_not_mounted_is_no_empty_store_and_its_backups_are_there_when_it_is_back(
    server: Server, taken: Callable[..., Backup], store: Store, database: str, run: Callable[..., Run]
) -> None:
    older, backup, disk = taken(), taken(), Path(store.directory)
    store.refresh_from_db()
    elsewhere = disk.rename(disk.with_name("unmounted"))
    disk.mkdir()  # the directory on which it would be mounted
    (disk / "left" / "over").mkdir(parents=True)  # as from one that wrote there all the same
    bare = away(store)
    with pytest.raises(StoreError) as refused:
        catalogue.reread(store)
    assert str(refused.value) == bare
    assert refusal(server, "take_backup", database=database, store="shelf") == bare
    failed = carry_out(operation("delete_backup", server, backup=older.pk))
    assert (failed.status, failed.message) == (Run.Status.FAILED, bare)
    for attempt in (lambda: store.open().head("shop/x"), lambda: list(store.open().items("shop/"))):
        with pytest.raises(StoreError) as unanswered:
            attempt()
        assert str(unanswered.value) == bare
    shutil.rmtree(disk)
    gone = f"The store's directory {disk} is not there. Create it, or mount its disk."
    for attempt in (lambda: store.open().head("shop/x"), lambda: store.open().delete("shop/x")):
        with pytest.raises(StoreError) as absent:
            attempt()
        assert str(absent.value) == gone
    elsewhere.rename(disk)
    assert not Backup.objects.exclude(deleted_at=None, problem="").exists()
    done = run("verify_backup", backup=backup.pk, how="read")
    assert done.status == Run.Status.SUCCEEDED, done.message


def test_a_backup_that_was_missed_and_is_there_again_is_in_the_catalogue_again(
    taken: Callable[..., Backup], store: Store, tmp_path: Path
) -> None:
    backup = taken()
    store.refresh_from_db()
    (store.path / "README").write_text("There is something else as well.")
    shutil.move(store.path / "shop", tmp_path / "carried_away")
    assert catalogue.reread(store) == (0, 1, [])
    backup.refresh_from_db()
    assert backup.deleted_why == "Its manifest is no longer in the store."
    shutil.move(tmp_path / "carried_away", store.path / "shop")
    assert catalogue.reread(store) == (1, 0, [])
    backup.refresh_from_db()
    assert (backup.deleted_at, backup.deleted_why) == (None, "")


def unmounted(store: Store) -> Path:
    """Take its disk away and leave the place where it is mounted; where the content is now."""
    elsewhere = store.path.rename(store.path.with_name(f"{store}_unmounted"))
    store.path.mkdir()
    return elsewhere


def mounted(store: Store, elsewhere: Path) -> None:
    store.path.rmdir()  # nothing was written to where it would be hidden
    elsewhere.rename(store.path)


def test_no_wal_is_written_below_a_disk_that_is_not_mounted_and_none_is_taken_for_lost(
    source: Source,
) -> None:
    base = source.base()
    source.insert(1)
    source.switch()
    source.covered()
    elsewhere, bare = unmounted(source.store), away(source.store)
    moment = source.insert(2)
    source.execute("select pg_switch_wal()")
    until(lambda: source.point.problem == bare)
    assert refusal(source.server, "take_base_backup") == (
        f"{bare} Without the WAL from its beginning on, a base backup cannot be recovered. "
        "Start manage.py wal_receiver."
    )
    failed = carry_out(operation("verify_base_backup", source.server, base=base.pk))
    assert (failed.status, failed.message) == (
        Run.Status.FAILED,
        f"Whether {base} is whole is not known: {bare} Read it back again when the store answers.",
    )
    assert BaseBackup.objects.get().problem == ""
    mounted(source.store, elsewhere)
    source.covered()
    assert source.point.problem == ""
    assert not source.server.wal_segments.exclude(problem="").exists()
    found = recoverable(source.server)
    assert (found.holes, bool(found.chain_for(moment))) == ([], True)


def test_a_damaged_copy_is_not_mended_below_a_disk_that_is_not_mounted(
    twice: Policy, vault: Store, taken: Callable[..., Backup], run: Callable[..., Run], server: Server, shop: str
) -> None:  # fmt: skip
    backup = taken(store="")
    path = vault.path / backup.prefix / DATA
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run("verify_backup", backup=backup.pk, how="read").status == Run.Status.FAILED
    damage = backup.copies.get().problem
    elsewhere, bare = unmounted(vault), away(vault)
    done = run("copy_backups", backup=backup.pk, store="vault")
    assert (done.status, done.message) == (
        Run.Status.FAILED,
        (
            f"Step 2 of 2 failed: {backup} was not copied to vault: {bare} The rest was copied. "
            "Run this again when that is mended."
        ),
    )
    found = run("verify_backup", backup=backup.pk, how="read")
    assert found.message == (
        f"Whether {backup} is whole in vault is not known: {bare} It is whole in shelf. "
        "Read it back again when the store answers."
    )
    assert backup.copies.get().problem == damage
    mounted(vault, elsewhere)
    done = run("copy_backups", backup=backup.pk, store="vault")
    assert done.status == Run.Status.SUCCEEDED, done.message


def as_before_marks(store: Store) -> None:
    """As an older version left it."""
    (store.path / store.mark).unlink()
    Store.objects.filter(pk=store.pk).update(is_marked=False)


def test_a_store_of_an_older_version_is_marked_once_its_disk_is_known_and_not_where_others_left_something(
    taken: Callable[..., Backup], store: Store, server: Server, database: str
) -> None:
    taken()
    as_before_marks(store)
    elsewhere = unmounted(store)
    (store.path / "left" / "over").mkdir(parents=True)
    assert refusal(server, "take_backup", database=database, store="shelf") == (
        f"The store shelf ({store.path}) holds none of the backups that the catalogue lists there: its disk may not be "
        "mounted. Mount it. If they are lost, tick “Take what is there now for its disk” in the store's settings."
    )
    assert sorted(path.name for path in store.path.rglob("*")) == ["left", "over"]
    shutil.rmtree(store.path)
    elsewhere.rename(store.path)
    taken()
    assert store.open().head(store.mark)
    store.refresh_from_db()
    assert store.is_marked


def test_a_trial_of_a_store_changes_nothing_there_and_nothing_in_the_catalogue(
    taken: Callable[..., Backup], store: Store, client_as: Callable[[str], Client]
) -> None:
    taken()
    as_before_marks(store)
    store.refresh_from_db()
    tested_at = store.tested_at
    before = {path: path.stat().st_mtime_ns for path in store.path.rglob("*") if path.is_file()}
    form = {"name": "shelf", "kind": "local", "directory": str(store.path), "lock_days": "0", "enabled": "on"}
    page = client_as("admin").post(reverse("store", args=["shelf"]), {**form, "action": "test"})
    assert "Read a part of it" in page.content.decode()
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*") if path.is_file()} == before
    store.refresh_from_db()
    assert (store.is_marked, store.tested_at) == (False, tested_at)


def test_a_disk_that_was_lost_is_replaced_where_somebody_says_so(
    taken: Callable[..., Backup], store: Store, server: Server, database: str, client_as: Callable[[str], Client]
) -> None:  # fmt: skip
    backup = taken()
    unmounted(store)
    admin = client_as("admin")
    form = {"name": "shelf", "kind": "local", "directory": str(store.path), "lock_days": "0", "enabled": "on"}
    page = admin.post(reverse("store", args=["shelf"]), form, follow=True).content.decode()
    assert f"shelf is saved, but it does not work yet. Reach the store: {escape(away(store))}" in page
    assert list(store.path.iterdir()) == []
    page = admin.post(
        reverse("store", args=["shelf"]), {**form, "is_its_disk": "on"}, follow=True
    ).content.decode()
    assert "shelf is saved and works: written, listed, read, deleted." in page
    assert [path.name for path in store.path.iterdir()] == [store.mark]
    page = admin.post(reverse("store_reread", args=["shelf"]), follow=True).content.decode()
    assert "shelf holds 0 backups; 1 of the catalogue are no longer there." in page
    backup.refresh_from_db()
    assert backup.deleted_why == "Its manifest is no longer in the store."
    taken()


def test_the_command_that_adds_a_store_marks_its_disk_and_takes_another_only_when_told_so(
    tmp_path: Path,
) -> None:
    directory = str(tmp_path / "new")
    call_command("add_store", "shelf", directory=directory)
    store = Store.objects.get()
    assert (store.is_marked, [path.name for path in store.path.iterdir()]) == (True, [store.mark])
    shutil.rmtree(store.path)
    store.path.mkdir()
    with pytest.raises(CommandError) as refused:
        call_command("add_store", "shelf", directory=directory)
    assert str(refused.value) == f"Reach the store: {away(store)}"
    call_command("add_store", "shelf", "--its-disk", directory=directory)
    assert [path.name for path in store.path.iterdir()] == [store.mark]


def test_the_page_of_stores_tells_which_host_has_another_disk_at_its_path(
    taken: Callable[..., Backup], store: Store, bucket: Store, client_as: Callable[[str], Client]
) -> None:
    taken()
    beats.beat(WorkerBeat.Kind.WORKER, "one", ["backups"])
    elsewhere = unmounted(store)
    beats.beat(WorkerBeat.Kind.WORKER, "two", ["backups"])
    WorkerBeat.objects.filter(name="two").update(host="another")
    mounted(store, elsewhere)
    shown = dict(client_as("admin").get(reverse("stores")).context["stores"])
    here = socket.gethostname()
    assert shown[store] == sorted([Sight("another", away(store)), Sight(here, "")], key=lambda one: one.host)
    assert shown[bucket] == []
    WorkerBeat.objects.update(seen_at=timezone.now() - timedelta(minutes=4))
    assert dict(client_as("admin").get(reverse("stores")).context["stores"])[store] == [Sight(here, "")]


def test_a_directory_that_hangs_holds_up_no_heartbeat(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(LocalStore, "must_be_there", lambda self: goes_on.wait(30))
    assert [seen_stores.here(), seen_stores.here()] == [{"shelf": seen_stores.SILENT}] * 2
    goes_on.set()
    until(lambda: seen_stores.here() == {"shelf": ""})
