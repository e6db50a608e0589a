"""A run that ended before it could say that it was done: what is done is said, and nothing proven is lost."""

import threading
from collections.abc import Callable

import pytest
from django.utils import timezone

from backups import swap
from backups.models import Backup, BackupKey, KeptDatabase, SideSchema, Store
from dbadmin import runner, runs
from dbadmin.connections import POOLS
from dbadmin.models import Run, Server
from tests.backups.conftest import queue
from tests.backups.test_faults import databases, when
from tests.backups.test_interrupted_restores import between
from tests.fixtures.servers import Postgres, server_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def shop(postgres: Postgres, database: str) -> str:
    """A table."""
    with postgres.connect(database) as connection:
        connection.execute("create table goods as select n from generate_series(1, 500) n")
    return database


def died_at_the_end(done: Run) -> Run:
    """As if its worker had died when all was done but the word of it, and another cleaned up."""
    now = timezone.now()
    Run.objects.filter(pk=done.pk).update(
        status="lost", clean_up_due_at=now, message=f"Its worker died.{runner.BEING_REMOVED}", result={}
    )
    runner.clean_up(done.pk)
    done.refresh_from_db()
    return done


def test_a_restore_to_a_new_name_whose_worker_died_when_it_had_the_name_says_so(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str, postgres: Postgres
) -> None:
    done = died_at_the_end(run("restore_backup", backup=taken().pk, into="new", database=f"{shop}_copy"))
    assert done.message == (
        f"Its worker died. The restored database is {shop}_copy, proven: it had its name before this ended."
    )
    assert done.result == {"database": f"{shop}_copy"}
    postgres.admin.execute(f"drop database {shop}_copy")


@pytest.mark.parametrize("is_written_down", [True, False])
def test_a_restore_in_place_whose_worker_died_after_the_swap_says_so_and_is_taken_back(
    is_written_down: bool, server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str
) -> None:
    done = run("restore_backup", backup=taken().pk, into="over", database=shop)
    if not is_written_down:
        KeptDatabase.objects.all().delete()
    died_at_the_end(done)
    (kept,) = KeptDatabase.objects.all()
    assert done.message == (
        f"Its worker died. {shop} is the restored database: the swap was complete before this ended. The old one is "
        f"kept as {kept.name}; the operation “Undo a restore” brings it back."
    )
    assert bool(kept.facts.get("counters")) == is_written_down  # what is known is not forgotten
    assert runs.undo_url(done) == f"/servers/shop/do/undo_restore/?kept={kept.pk}&preview=1"
    run("undo_restore", kept=kept.pk)
    run("drop_kept_database", kept=KeptDatabase.present(server).get().pk)


def test_an_undo_that_was_written_down_before_its_worker_died_says_so(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str
) -> None:
    run("restore_backup", backup=taken().pk, into="over", database=shop)
    done = died_at_the_end(run("undo_restore", kept=KeptDatabase.objects.get().pk))
    (kept,) = KeptDatabase.present(server)
    assert done.message == (
        f"Its worker died. The swap was complete before this ended: {shop} is the old database again. What was in its "
        f"place is kept as {kept.name}."
    )
    run("drop_kept_database", kept=kept.pk)


def test_tables_beside_whose_worker_died_while_they_were_compared_say_so(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str
) -> None:
    done = died_at_the_end(run("restore_tables", backup=taken().pk, tables="goods", database=shop))
    side = SideSchema.objects.get()
    assert done.message == (
        f"Its worker died. The tables are in the schema {side.name} of {shop}, all of them. Only their comparison with "
        "the live ones may be missing: the operation “Compare again” makes it."
    )


def test_a_proven_database_that_cannot_have_its_name_is_kept_and_named_later(
    db: None, new_postgres: Callable[..., Postgres], store: Store, key: BackupKey
) -> None:
    """Hours of work are not lost to a session of two seconds."""
    made = new_postgres(max_prepared_transactions="1")
    made.admin.execute("create database shop")
    server = server_row("prepared", made)
    backed_up = queue(server, "take_backup", {"database": "shop", "store": "shelf"})
    runner.execute(backed_up.pk)
    wanted = {"backup": Backup.objects.get().pk, "into": "new", "database": "copy"}
    restore = queue(server, "restore_backup", wanted)

    def meanwhile() -> None:
        (scratch,) = (name for name in databases(made, "shop") if "__restore_" in name)
        with made.connect(scratch) as connection:
            connection.execute("begin; create table mine (); prepare transaction 'mine'")

    done = between(restore, len(restore.plan), meanwhile)
    (kept,) = KeptDatabase.objects.all()
    assert done.status == Run.Status.FAILED
    assert done.message == (
        f'Step {len(restore.plan)} of {len(restore.plan)} failed: Database "{kept.name}" is being accessed by other '
        f"users. There is 1 prepared transaction using the database. End the sessions that use it, then run it "
        f"again. It was not named copy. The restored database, proven, is kept as {kept.name} for 72 hours. When "
        "nothing is in the way any more, the operation “Undo a restore” puts it in place."
    )
    assert (kept.original, kept.origin) == ("copy", "restored for copy")
    swap.allow(made.admin, kept.name, True)
    with made.connect(kept.name) as connection:
        connection.execute("rollback prepared 'mine'")
    made.admin.execute("create database copy")  # it was to replace nobody, and does not
    named = queue(server, "undo_restore", {"kept": kept.pk})
    runner.execute(named.pk)
    assert named.plan == [
        f'ALTER DATABASE "{kept.name}" CONNECTION LIMIT  -1;\n'
        "-- Nobody has the name copy_restored any more\n" + swap.move_texts("copy_restored", kept.name)
    ]
    rows = made.admin.execute(
        "select datname from pg_database where datallowconn and datname ~ '^(copy|shop)'"
    )
    assert sorted(name for (name,) in rows) == ["copy", "copy_restored", "shop"]
    POOLS.close(str(server.key))


def test_a_proven_database_outlives_the_session_that_was_to_name_it(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str, postgres: Postgres
) -> None:
    restore = queue(
        server, "restore_backup", {"backup": taken().pk, "into": "new", "database": f"{shop}_copy"}
    )
    holder = postgres.connect(shop)

    def meanwhile() -> None:
        (scratch,) = (name for name in databases(postgres, shop) if "__restore_" in name)
        holder.execute(f'begin; alter database "{scratch}" connection limit 3')
        threading.Thread(target=end, args=[scratch]).start()

    def end(scratch: str) -> None:
        name = f"dbadmin run {restore.pk}"
        waits = "select pid from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
        (pid,) = when(lambda: postgres.admin.execute(waits, [name]).fetchone())
        postgres.admin.execute("select pg_terminate_backend(%s)", [pid])
        holder.rollback()

    done = between(restore, len(restore.plan), meanwhile)
    holder.close()
    kept = KeptDatabase.present(server).get()
    assert done.status == Run.Status.FAILED
    assert done.message.endswith(
        f"The restored database, proven, is kept as {kept.name}; the operation “Undo a restore” puts it in place."
    )
    run("undo_restore", kept=kept.pk)
    assert databases(postgres, shop) == [shop, f"{shop}_copy"]
    postgres.admin.execute(f"drop database {shop}_copy")


def test_two_swaps_of_one_database_never_meet(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str, postgres: Postgres
) -> None:
    """Behind the fence of another dbadmin it looks closed, and would have stayed so for ever."""
    backup = taken()
    says = f"Somebody else swaps {shop} just now. Wait for the end of that, and look what is there then."
    first = run("restore_backup", backup=backup.pk, into="over", database=shop)
    kept = KeptDatabase.objects.get()
    with swap.alone(postgres.admin, shop):
        second = run("restore_backup", backup=backup.pk, into="over", database=shop)
        undo = run("undo_restore", kept=kept.pk)
    assert first.status == Run.Status.SUCCEEDED
    (restored,) = KeptDatabase.present(server).exclude(pk=kept.pk)
    assert second.message.endswith(
        f"{says} It was not swapped: the original is untouched. The restored database, proven, is kept as "
        f"{restored.name} for 72 hours. When nothing is in the way any more, the operation “Undo a restore” puts it in "
        "place."
    )
    assert (undo.status, undo.message) == (Run.Status.FAILED, says)
    is_open = postgres.admin.execute(
        "select datallowconn from pg_database where datname = %s", [shop]
    ).fetchone()
    assert is_open == (True,)
    assert run("undo_restore", kept=restored.pk).status == Run.Status.SUCCEEDED
    for one in KeptDatabase.present(server):
        run("drop_kept_database", kept=one.pk)
    assert databases(postgres, shop) == [shop]
