"""A backup lies in several stores: the same bytes, each proven, and one lost store loses nothing."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from backups import catalogue, copies
from backups.models import Backup, BackupKey, Copy, Policy, Store
from backups.recovery_kit import kit_lines
from backups.stores import StoreError
from dbadmin.models import Run, Server
from dbadmin.work import Work
from tests.backups.cutting import Wire
from tests.backups.test_faults import DATA, refusal
from tests.backups.test_store_faults import EXPIRED, LEFT, assert_tidied_later
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def vault(store: Store, tmp_path: Path) -> Store:
    """A second store."""
    (tmp_path / "vault").mkdir()
    return Store.objects.create(name="vault", directory=str(tmp_path / "vault"))


@pytest.fixture
def twice(server: Server, store: Store, vault: Store) -> Policy:
    """A policy that wants each backup in both."""
    policy = Policy.objects.create(name="twice", server=server, store=store)
    policy.copies.add(vault)
    return policy


@pytest.fixture
def shop(postgres: Postgres, database: str) -> str:
    """A small database."""
    with postgres.connect(database) as connection:
        connection.execute("create table orders as select n, md5(n::text) from generate_series(1, 500) n")
    return database


def tree(folder: Path, prefix: str) -> dict[str, bytes]:
    """What a store holds of a backup."""
    return {
        path.name: path.read_bytes()
        for path in (folder / prefix).iterdir()
        if not path.name.startswith("proof")
    }


def text_of(run: Run) -> list[str]:
    return [line.text for line in run.lines.all()]


def test_a_backup_is_written_to_every_store_of_its_policy_byte_for_byte(
    twice: Policy, vault: Store, taken: Callable[..., Backup], shop: str
) -> None:
    backup = taken(store="")
    assert [copy.store for copy in backup.copies.all()] == [vault]
    assert tree(backup.store.path, backup.prefix) == tree(vault.path, backup.prefix)
    assert backup.run is not None
    assert backup.run.plan[-1] == (
        f"Copy it to vault ({vault.path}), as the policy twice says, and compare every byte there."
    )


def test_the_printed_kit_fetches_from_the_copy_where_the_first_store_is_lost(
    twice: Policy, vault: Store, taken: Callable[..., Backup], shop: str, tmp_path: Path
) -> None:
    backup = taken(store="")
    (_, fetched), (_, checked), *_ = kit_lines(backup, backup.manifest())
    first, remark, others = (
        fetched[: len(fetched) // 2],
        fetched[len(fetched) // 2],
        fetched[len(fetched) // 2 + 1 :],
    )
    assert remark == "# Where that is lost, from vault:"
    assert others == [f"# {line.replace(str(backup.store.path), str(vault.path))}" for line in first]
    shutil.rmtree(backup.store.path)
    (tmp_path / "here").mkdir()
    script = "\n".join([*(line.removeprefix("# ") for line in others), *checked])
    subprocess.run(["bash", "-ec", script], cwd=tmp_path / "here", check=True)


def test_a_restore_takes_the_copy_when_the_first_store_is_lost(
    twice: Policy, store: Store, taken: Callable[..., Backup], run: Callable[..., Run], shop: str, postgres: Postgres
) -> None:  # fmt: skip
    backup = taken(store="")
    shutil.rmtree(backup.store.path)
    done = run("restore_backup", backup=backup.pk, into="new", database=f"{shop}_again")
    assert done.status == Run.Status.SUCCEEDED, (done.message, text_of(done))
    assert (
        f"The store's directory {backup.store.path} is not there. Create it, or mount its disk. "
        "The copy in vault is read instead."
    ) in text_of(done)
    with postgres.connect(f"{shop}_again") as connection:
        assert connection.execute("select count(*) from orders").fetchone() == (500,)
    with postgres.connect() as connection:
        connection.execute(f"drop database {shop}_again")
    backup.refresh_from_db()
    assert (backup.store, backup.problem, backup.rung) == (
        store,
        "",
        Backup.Rung.RESTORED,
    )  # it may be mounted again


def test_a_damaged_place_is_named_replaced_by_the_whole_one_and_mended(
    twice: Policy, store: Store, vault: Store, taken: Callable[..., Backup], run: Callable[..., Run], shop: str
) -> None:  # fmt: skip
    backup = taken(store="")
    path = store.path / backup.prefix / DATA
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    found = run("verify_backup", backup=backup.pk, how="read")
    assert found.status == Run.Status.FAILED
    assert found.message == (
        f"In shelf it is damaged: {backup.copies.get().problem} In vault it is whole, and read from there now. "
        "What mends it: the operation “Copy backups” to shelf."
    )
    backup.refresh_from_db()
    assert (backup.store, backup.problem, backup.copies.get().store) == (vault, "", store)
    assert Backup.objects.good().get() == backup
    mended = run("copy_backups", backup=backup.pk, store="shelf")
    assert mended.status == Run.Status.SUCCEEDED, (mended.message, text_of(mended))
    assert path.read_bytes() == content
    assert backup.copies.get().problem == ""
    again = run("verify_backup", backup=backup.pk, how="read")
    assert again.status == Run.Status.SUCCEEDED, again.message
    assert "The same bytes lie in vault and shelf." in " ".join(text_of(again))


def test_a_store_that_is_away_costs_the_copy_and_not_the_backup_and_a_schedule_makes_it_later(
    twice: Policy, vault: Store, key: BackupKey, run: Callable[..., Run], server: Server, shop: str
) -> None:
    hidden = vault.path.rename(vault.path.with_name("unmounted"))
    done = run("take_backup", database=shop, store="")
    backup = Backup.objects.get()
    assert done.status == Run.Status.FAILED
    assert done.message == (
        f"Step 5 of 5 failed: {backup} was not copied to vault: The store's directory {vault.path} is not there. "
        "Create it, or mount its disk. It is whole in shelf. What makes the copy: the operation “Copy backups”, "
        f"by hand or on a schedule. The backup of {backup} was written completely before this ended; it is in the "
        "catalogue."
    )
    assert backup.rung == Backup.Rung.READ
    hidden.rename(vault.path)
    later = run("copy_backups")
    assert later.status == Run.Status.SUCCEEDED, (later.message, text_of(later))
    assert tree(backup.store.path, backup.prefix) == tree(vault.path, backup.prefix)
    assert refusal(server, "copy_backups", backup=None, store="") == (
        "Nothing is to be copied: every good backup of shop lies whole where its policy asks for."
    )


def test_a_store_that_does_not_answer_is_unknown_and_no_damage(
    twice: Policy, store: Store, vault: Store, taken: Callable[..., Backup], run: Callable[..., Run], shop: str
) -> None:  # fmt: skip
    backup = taken(store="")
    read_at = backup.copies.get().read_at
    away = f"The store's directory {vault.path} is not there. Create it, or mount its disk."
    hidden = vault.path.rename(vault.path.with_name("unmounted"))
    found = run("verify_backup", backup=backup.pk, how="read")
    assert (found.status, found.message) == (
        Run.Status.FAILED,
        (
            f"Whether {backup} is whole in vault is not known: {away} It is whole in shelf. "
            "Read it back again when the store answers."
        ),
    )
    backup.refresh_from_db()
    assert (backup.store, backup.problem, backup.copies.get().problem) == (store, "", "")
    assert backup.copies.get().read_at == read_at
    assert "Every one of" in " ".join(text_of(found))  # the other place was read, and that is kept
    hidden.rename(vault.path)
    again = run("verify_backup", backup=backup.pk, how="read")
    assert again.status == Run.Status.SUCCEEDED, again.message


def test_what_a_broken_copy_left_is_removed_when_its_store_takes_us_again(
    run: Callable[..., Run], store: Store, wired: tuple[Store, Wire], key: BackupKey, huge: str, server: Server
) -> None:  # fmt: skip
    bucket, made = wired
    Policy.objects.create(name="twice", server=server, store=store).copies.add(bucket)
    made.refuse_from, made.status, made.says = "partNumber=2", "400 Bad Request", EXPIRED
    done = run("take_backup", database=huge, store="")
    assert done.status == Run.Status.FAILED
    assert done.message.endswith(LEFT), done.message
    assert Backup.objects.get().rung == Backup.Rung.READ
    made.refuse_from = made.refuse = ""
    assert bucket.open()._open_uploads("") != []  # type: ignore[attr-defined]
    assert_tidied_later(done, bucket)


def test_what_an_interrupted_mending_left_on_a_disk_that_is_away_is_not_forgotten(
    twice: Policy, vault: Store, taken: Callable[..., Backup], run: Callable[..., Run], shop: str
) -> None:
    """Of a store of an older version only what the catalogue lists there tells whether its disk is mounted."""
    backup = taken(store="")
    for path in vault.path.glob("dbadmin-store-*"):
        path.unlink()
    Store.objects.filter(pk=vault.pk).update(is_marked=False)
    elsewhere = vault.path.rename(vault.path.with_name("unmounted"))
    vault.path.mkdir()
    half = Run.objects.create(
        server=backup.server, operation="copy_backups", title="Copy backups", risk="loads", status="failed",
        facts={"half_copies": [[vault.pk, backup.prefix]]},
    )  # fmt: skip
    work = Work(half)
    with pytest.raises(StoreError, match="holds none of the backups that the catalogue lists there"):
        copies.clean_up(work)
    assert Copy.objects.filter(backup=backup, store=vault).exists()
    vault.path.rmdir()
    elsewhere.rename(vault.path)
    copies.clean_up(work)
    assert text_of(half)[-1] == f"{backup.prefix} in vault is whole and stays."


def test_deleting_removes_every_copy(
    twice: Policy, vault: Store, taken: Callable[..., Backup], run: Callable[..., Run], shop: str
) -> None:
    first, _second = taken(store=""), taken(store="")
    done = run("delete_backup", backup=first.pk)
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert not (vault.path / first.prefix).exists()
    assert not (first.store.path / first.prefix).exists()
    assert done.plan[0].startswith(f"Remove {first} from shelf and vault: ")


def test_the_catalogue_knows_a_copy_from_another_backup_and_survives_a_lost_store(
    twice: Policy, store: Store, vault: Store, taken: Callable[..., Backup], shop: str
) -> None:
    backup = taken(store="")
    Copy.objects.all().delete()
    assert catalogue.reread(vault) == (1, 0, [])
    assert Backup.objects.get() == backup
    assert backup.copies.get().store == vault
    shutil.rmtree(store.path / backup.prefix)
    for place in (store, vault):
        place.refresh_from_db()  # its disk bears a mark now
    catalogue.reread(store)
    backup.refresh_from_db()
    assert (backup.store, backup.deleted_at, backup.copies.count()) == (vault, None, 0)
    shutil.rmtree(vault.path / backup.prefix)
    catalogue.reread(vault)
    backup.refresh_from_db()
    assert backup.deleted_why == "Its manifest is no longer in the store."


def test_a_bucket_holds_a_copy_of_a_directory(
    server: Server, bucket: Store, taken: Callable[..., Backup], run: Callable[..., Run], shop: str
) -> None:
    backup = taken()
    done = run("copy_backups", backup=backup.pk, store="bucket")
    assert done.status == Run.Status.SUCCEEDED, (done.message, text_of(done))
    there = {
        item.key.rpartition("/")[2]: item.size_bytes for item in bucket.open().items(f"{backup.prefix}/")
    }
    assert {
        name: len(data) for name, data in tree(backup.store.path, backup.prefix).items()
    }.items() <= there.items()


def test_every_page_says_where_a_backup_lies(
    twice: Policy, taken: Callable[..., Backup], client_as: Callable[..., Client], server: Server, shop: str
) -> None:
    backup = taken(store="")
    page = client_as("admin").get(backup.get_absolute_url()).content.decode()
    assert "The same bytes in each; a restore takes the first that is whole." in page
    assert "shelf, vault" in client_as("viewer").get(reverse("backups", args=[server.name])).content.decode()


@pytest.fixture
def only(key: BackupKey) -> BackupKey:
    """Another key than the one that everybody uses."""
    return BackupKey.make("only", keep=True)[0]


def test_a_policy_chooses_for_whom_its_backups_are_encrypted(
    twice: Policy, only: BackupKey, taken: Callable[..., Backup], server: Server, shop: str
) -> None:
    twice.keys.add(only)
    assert taken(store="").manifest().recipients == [only.recipient]
    only.retired_at = only.created_at
    only.save()
    assert refusal(server, "take_backup", database=shop, store="") == (
        "Every key that the policy twice encrypts for is retired. Choose another key in the policy."
    )
