"""What is changed while a backup is at work: policies, keys, stores, and the databases themselves."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from psycopg import sql

from backups.models import Backup, BackupKey, Policy, Store
from dbadmin.models import Run, Server
from tests.backups.conftest import queue
from tests.backups.test_faults import when, worker
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

NAMES = ("aa_first", "bb_dropped", "cc_renamed", "dd_last")


@pytest.fixture
def others(postgres: Postgres, database: str) -> Iterator[list[str]]:
    """More databases of the server, each with a table."""
    for name in NAMES:
        with postgres.connect() as connection:
            connection.execute(f"create database {name}")
        with postgres.connect(name) as connection:
            connection.execute("create table kept as select n from generate_series(1, 7) n")
    yield list(NAMES)
    with postgres.connect() as connection:
        for name in (*NAMES, "cc_new_name", "ee_made"):
            connection.execute(f"drop database if exists {name} with (force)")


@contextmanager
def stopped(run: Run, postgres: Postgres, database: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker does the run, and its pg_dump waits in this database as long as the block lasts."""
    with postgres.connect(database) as holder, holder.transaction():
        holder.execute("lock table kept in access exclusive mode")
        process = worker(run)
        try:
            with postgres.connect() as watcher:
                waits = sql.SQL(
                    "select true from pg_stat_activity where datname = {} and wait_event_type = 'Lock'"
                ).format(sql.Literal(database))
                when(lambda: watcher.execute(waits).fetchone())
            yield process
        except BaseException:
            process.kill()
            raise
    process.wait(120)
    run.refresh_from_db()


def all_of(server: Server, others: list[str], postgres: Postgres, **params: Any) -> Run:
    """Every one of the others, and none of what else the server has."""
    with postgres.connect() as connection:
        rest = connection.execute(
            "select datname from pg_database where datname <> all(%s)", [others]
        ).fetchall()
    return queue(server, "take_all_backups", {"leave_out": ", ".join(row[0] for row in rest), **params})


def test_a_policy_that_is_edited_or_deleted_holds_for_the_next_backup_and_the_key_that_was_shown_for_this(
    server: Server,
    store: Store,
    key: BackupKey,
    others: list[str],
    postgres: Postgres,
    tmp_path: Path,
) -> None:
    vault = Store.objects.create(name="vault", directory=str(tmp_path))
    policy = Policy.objects.create(name="nightly", server=server, store=store, compression=2)
    policy.keys.add(key)
    policy.copies.add(vault)
    run = all_of(server, others, postgres)
    assert run.plan[0].endswith(
        " to shelf, encrypt for night, with its roles, and read it back; copy it to vault."
    )
    with stopped(run, postgres, "aa_first"):
        policy.delete()
        BackupKey.objects.update(retired_at=timezone.now())
    assert run.status == Run.Status.SUCCEEDED, (run.message, log_of(run))
    made = Backup.objects.filter(run=run)
    assert sorted(backup.database for backup in made) == others
    for backup in made:
        manifest = backup.manifest()
        assert (manifest.recipients, manifest.compression) == ([key.recipient], "zstd 2")
        assert [copy.store for copy in backup.copies.all()] == [vault]


def test_a_store_that_is_switched_off_meanwhile_still_gets_what_was_begun(
    server: Server, store: Store, key: BackupKey, others: list[str], postgres: Postgres
) -> None:
    run = all_of(server, others, postgres, store="shelf")
    with stopped(run, postgres, "aa_first"):
        Store.objects.update(enabled=False)
    assert run.status == Run.Status.SUCCEEDED, (run.message, log_of(run))
    assert Backup.objects.filter(run=run).count() == len(others)


def test_a_store_does_not_move_while_something_is_written_there_nor_away_from_its_backups(
    server: Server,
    store: Store,
    key: BackupKey,
    others: list[str],
    postgres: Postgres,
    client_as: Callable[..., Client],
    tmp_path: Path,
) -> None:
    admin, before = client_as("admin"), store.directory
    (tmp_path / "new").mkdir()
    form = {
        "name": "shelf",
        "kind": "local",
        "directory": str(tmp_path / "new"),
        "lock_days": 0,
        "enabled": "on",
    }
    moved = {"path": reverse("store", args=["shelf"]), "data": {**form, "action": "save"}}
    run = queue(server, "take_backup", {"database": "aa_first", "store": "shelf"})
    with stopped(run, postgres, "aa_first"):
        page = admin.post(**moved)
        says = (
            f"Run {run.pk} (Take a backup) writes to {before} now. Wait for its end, switch it off, or add another "
            "store."
        )
        assert (page.status_code, says in page.content.decode()) == (422, True)
    assert run.status == Run.Status.SUCCEEDED, run.message
    backup = Backup.objects.get(run=run)
    page = admin.post(**moved)
    says = (
        f"{before} holds backups, and {tmp_path / 'new'} does not hold {backup.prefix}/manifest.json. Copy everything "
        "there first, or add another store."
    )
    assert (page.status_code, says in page.content.decode()) == (422, True)
    store.refresh_from_db()
    assert store.directory == before
    subprocess.run(["cp", "-r", f"{before}/.", str(tmp_path / "new")], check=True)
    assert admin.post(**moved).status_code == 302
    assert backup.manifest().database == "aa_first"
    backup.refresh_from_db()
    assert str(backup.store.path) == str(tmp_path / "new")


def test_databases_that_are_dropped_renamed_or_made_meanwhile_keep_no_other_from_its_backup(
    server: Server, store: Store, key: BackupKey, others: list[str], postgres: Postgres
) -> None:
    run = all_of(server, others, postgres, store="shelf")
    with stopped(run, postgres, "aa_first"), postgres.connect() as connection:
        connection.execute("drop database bb_dropped with (force)")
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'cc_renamed'"
        )
        connection.execute("alter database cc_renamed rename to cc_new_name")
        connection.execute("create database ee_made")
    assert run.status == Run.Status.FAILED
    there = "The connection to shop failed: There is no database {0} on the server. Run it again when that is mended."
    assert run.message == (
        f"Step 5 of 5 failed: 2 of 4 databases failed. bb_dropped: {there.format('bb_dropped')} cc_renamed: "
        f"{there.format('cc_renamed')} The others are backed up."
    )
    assert sorted(backup.database for backup in Backup.objects.filter(run=run)) == ["aa_first", "dd_last"]
    assert {item.key.split("/")[1] for item in store.open().items()} == {"aa_first", "dd_last"}
