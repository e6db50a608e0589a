"""A restore is taken back whatever happened since: late, among writers, twice, after another, without the original."""

import threading
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from backups.models import Backup, KeptDatabase
from dbadmin import runner
from dbadmin.connections import POOLS
from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY, Refused
from dbadmin.work import Work
from tests.backups.conftest import queue
from tests.backups.test_faults import databases
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def replaced(
    taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> Callable[[int], KeptDatabase]:
    """Restore a backup over a database whose table holds this number; what was put aside."""
    with postgres.connect(database) as connection:
        connection.execute("create table kept (n int)")
    backup = taken()

    def replace(number: int) -> KeptDatabase:
        with postgres.connect(database) as connection:
            connection.execute("insert into kept values (%s)", [number])
        done = run("restore_backup", backup=backup.pk, into="over", database=database)
        assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
        return KeptDatabase.objects.get(pk=done.result["kept"])

    return replace


def held(postgres: Postgres, database: str) -> list[int]:
    """The numbers in it, also when it is closed."""
    postgres.admin.execute(f'alter database "{database}" allow_connections true')
    with postgres.connect(database) as connection:
        return [number for (number,) in connection.execute("select n from kept order by 1")]


def undone(run: Callable[..., Run], kept: KeptDatabase) -> Run:
    """Taken back, which must succeed."""
    done = run("undo_restore", kept=kept.pk)
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    return done


def test_it_can_be_taken_back_after_its_time_as_long_as_the_old_one_is_there_and_not_when_it_is_dropped(
    replaced: Callable[[int], KeptDatabase],
    run: Callable[..., Run],
    server: Server,
    postgres: Postgres,
    database: str,
) -> None:
    first, second = replaced(1), replaced(2)
    KeptDatabase.objects.update(expires_at=timezone.now() - timedelta(days=1))
    undone(run, second)
    assert held(postgres, database) == [2]
    assert run("drop_expired_databases").status == Run.Status.SUCCEEDED
    with pytest.raises(Refused) as caught:
        REGISTRY["undo_restore"](server, {"kept": first.pk}).plan()
    assert str(caught.value) == "This database is not kept any more."
    (aside,) = KeptDatabase.present(server)  # what was undone is kept for a day
    assert databases(postgres, database) == [database, aside.name]


def test_it_is_taken_back_once(
    replaced: Callable[[int], KeptDatabase], run: Callable[..., Run], server: Server
) -> None:
    kept = replaced(1)
    undone(run, kept)
    with pytest.raises(Refused) as caught:
        REGISTRY["undo_restore"](server, {"kept": kept.pk}).plan()
    assert str(caught.value) == "This database is not kept any more."


def test_the_first_of_two_restores_is_taken_back_and_then_the_second(
    replaced: Callable[[int], KeptDatabase], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    first, second = replaced(1), replaced(2)
    undone(run, first)
    assert held(postgres, database) == [1]
    undone(run, second)
    assert held(postgres, database) == [2]
    assert len(databases(postgres, database)) == 3  # nothing is lost of either


def test_an_original_that_was_dropped_since_comes_back_under_its_name(
    replaced: Callable[[int], KeptDatabase],
    run: Callable[..., Run],
    server: Server,
    postgres: Postgres,
    database: str,
) -> None:
    kept = replaced(1)
    postgres.admin.execute(f"drop database {database} with (force)")
    for kind in ("monitor", "operate"):  # by way of another database
        server.seal_dsn(f"{kind}_dsn", postgres.dsn_for("postgres", f"dbadmin_{kind}"))
    server.save()
    POOLS.close(str(server.key))
    done = undone(run, kept)
    (planned,) = done.plan
    assert planned == (
        f"-- Nobody has the name {database} any more\n"
        f'ALTER DATABASE "{kept.name}" RENAME TO "{database}";\n'
        f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true;'
    )
    assert log_of(done)[0] == f"{database} is the old database again; there was none in its place."
    assert held(postgres, database) == [1]
    assert databases(postgres, database) == [database]
    assert not KeptDatabase.present(server).exists()
    KeptDatabase.objects.update(restored_at=None)  # as after a worker that died just then
    runner.operation_of(done).clean_up(Work(done))
    assert not KeptDatabase.present(server).exists()


def test_no_row_that_was_confirmed_to_a_client_is_lost_while_it_is_taken_back(
    replaced: Callable[[int], KeptDatabase],
    run: Callable[..., Run],
    server: Server,
    postgres: Postgres,
    database: str,
) -> None:
    kept, confirmed, over = replaced(-1), [], threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            try:
                with postgres.connect(database, user="dbadmin_operate") as connection:
                    while not over.is_set():
                        number += 1
                        connection.execute("insert into kept values (%s)", [number])
                        confirmed.append(number)
            except psycopg.Error:
                continue

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        undone(run, kept)
    finally:
        over.set()
        for writer in writers:
            writer.join()
    (aside,) = KeptDatabase.present(server)
    found = held(postgres, database) + held(postgres, aside.name)
    assert found.count(-1) == 1
    assert not [number for number in set(confirmed) if found.count(number) < confirmed.count(number)]


def test_an_undo_whose_worker_died_behind_the_fence_lets_clients_in_again_and_nobody_into_the_old_one(
    replaced: Callable[[int], KeptDatabase], server: Server, postgres: Postgres, database: str
) -> None:
    kept = replaced(1)
    run = queue(server, "undo_restore", {"kept": kept.pk})
    (oid,) = postgres.admin.execute("select oid from pg_database where datname = %s", [kept.name]).fetchone()  # type: ignore[misc]
    postgres.admin.execute(f"alter database {database} allow_connections false")
    facts = {"live": database, "aside": "x", "kept": kept.pk, "kept_oid": oid, "was_open": True}
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(status="lost", finished_at=now, clean_up_due_at=now, facts=facts)
    runner.clean_up(run.pk)
    rows = postgres.admin.execute(
        "select datallowconn from pg_database where datname = any(%s) order by datname",
        [[database, kept.name]],
    )
    assert rows.fetchall() == [(True,), (False,)]
    assert KeptDatabase.present(server).get() == kept
