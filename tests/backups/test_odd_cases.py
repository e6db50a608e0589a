"""What nobody thinks of: names, empty and closed databases, a worker's disk that fills up in the middle."""

import os
import subprocess
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from backups import restoring
from backups.models import Backup, Store
from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY, Refused
from tests.backups.test_faults import databases
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def made(postgres: Postgres, database: str) -> Iterator[Callable[[str], None]]:
    """Make a database of any name; it goes with the test."""
    names: list[str] = []

    def make(name: str) -> None:
        names.append(name)
        with postgres.connect() as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

    yield make
    with postgres.connect() as connection:
        for name in names:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )


@pytest.mark.parametrize("name", ['odd "name ü$%s', "two\nlines"])
def test_a_database_of_any_name_is_backed_up_and_comes_back_in_its_place(
    name: str,
    made: Callable[[str], None],
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    postgres: Postgres,
) -> None:
    made(name)
    with psycopg.connect(postgres.dsn, dbname=name, autocommit=True) as connection:
        connection.execute("create table kept as select n from generate_series(1, 9) n")
    backup = taken(database=name)
    with psycopg.connect(postgres.dsn, dbname=name, autocommit=True) as connection:
        connection.execute("delete from kept")
    done = run("restore_backup", backup=backup.pk, into="over", database=name)
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    with psycopg.connect(postgres.dsn, dbname=name, autocommit=True) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (9,)
    undone = run("undo_restore", kept=done.result["kept"])
    assert undone.status == Run.Status.SUCCEEDED, (undone.message, log_of(undone))
    with psycopg.connect(postgres.dsn, dbname=name, autocommit=True) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


def test_a_database_without_any_table_is_given_back(
    database: str, taken: Callable[..., Backup], run: Callable[..., Run]
) -> None:
    done = run("restore_backup", backup=taken().pk, into="new", database=f"{database}_again")
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    assert "All 0 tables with 0 rows, and every definition, are as in the backup." in log_of(done)


def test_a_database_that_takes_no_connections_is_refused(
    made: Callable[[str], None], server: Server, store: Store, postgres: Postgres
) -> None:
    made("closed")
    with postgres.connect() as connection:
        connection.execute("alter database closed allow_connections false")
    with pytest.raises(Refused) as refused:
        REGISTRY["take_backup"](server, {"database": "closed", "store": store.name}).plan()
    assert str(refused.value) == "The database closed of shop accepts no connections."


def test_a_workers_disk_that_fills_up_in_the_middle_of_a_restore_is_named(
    huge: str,
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backup = taken(database=huge)
    if os.geteuid() != 0:
        pytest.skip("needs to mount a small disk, which only root may")
    folder = tmp_path_factory.mktemp("spool")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    try:
        monkeypatch.setattr(restoring, "spool_folder", lambda: folder)
        failed = run("restore_backup", backup=backup.pk, into="over", database=huge)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    assert failed.status == Run.Status.FAILED
    assert failed.message == (
        "Step 1 of 6 failed: The archive cannot be unpacked on this worker: No space left on device. Free space in "
        f"{folder} and restore again. The original is untouched."
    )
    with postgres.connect(huge) as connection:
        assert connection.execute("select count(*) from huge").fetchone() == (6000,)
    assert databases(postgres, huge) == [huge]
