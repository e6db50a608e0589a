"""A restored subscription follows nobody and holds no slot of its original, and is in no database's way."""

from collections.abc import Callable, Iterator

import pytest

from backups.models import Backup, BackupKey, KeptDatabase, Store
from dbadmin import runner
from dbadmin.connections import POOLS
from dbadmin.models import Run, Server
from tests.backups.conftest import queue
from tests.backups.test_before_restore import looked
from tests.backups.test_interrupted_restores import between
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres, server_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def cluster(new_postgres: Callable[..., Postgres]) -> Postgres:
    """A publisher, and a subscriber that follows it; on one server, so the slot is made before."""
    made = new_postgres(wal_level="logical")
    for name in ("press", "shop"):
        made.admin.execute(f"create database {name}")
    with made.connect("press") as connection:
        connection.execute("create table news (n int primary key); create publication daily for table news")
        connection.execute("select pg_create_logical_replication_slot('reader', 'pgoutput')")
    with made.connect("shop") as connection:
        connection.execute("create table news (n int primary key); insert into news values (1), (2)")
        connection.execute(
            f"create subscription reader connection '{made.dsn_for('press')}' publication daily"
            " with (create_slot = false, copy_data = false)"
        )
        connection.execute("create function forbid() returns event_trigger language plpgsql as"
                           " 'begin raise exception ''no more changes''; end'")  # fmt: skip
        connection.execute("create event trigger forbid on ddl_command_start execute function forbid()")
    return made


@pytest.fixture
def reader(db: None, cluster: Postgres) -> Iterator[Server]:
    """The server whose database subscribes."""
    row = server_row("reader", cluster)
    yield row
    POOLS.close(str(row.key))


@pytest.fixture
def do(reader: Server) -> Callable[..., Run]:
    """Run an operation that must succeed."""

    def done(operation: str, **params: object) -> Run:
        run = queue(reader, operation, dict(params))
        runner.execute(run.pk)
        run.refresh_from_db()
        assert run.status == Run.Status.SUCCEEDED, (run.message, log_of(run))
        return run

    return done


@pytest.fixture
def backup(do: Callable[..., Run], store: Store, key: BackupKey) -> Backup:
    """Of the database that subscribes."""
    return Backup.objects.get(pk=do("take_backup", database="shop", store="shelf").result["backup"])


def subscriptions(cluster: Postgres) -> list[tuple[str, bool, str | None]]:
    """Where each is, whether it follows, and its slot at the publisher."""
    return cluster.admin.execute("""
        select d.datname, s.subenabled, s.subslotname
        from pg_subscription s join pg_database d on d.oid = s.subdbid order by 1""").fetchall()


def shops(cluster: Postgres) -> list[str]:
    return [
        name
        for (name,) in cluster.admin.execute(
            "select datname from pg_database where datname like 'shop%' order by 1"
        )
    ]


SLOTS = (
    "-- The slots belong to the original; the publisher is not asked\n"
    'ALTER SUBSCRIPTION "reader" SET (slot_name = NONE);\n'
)


def test_a_backup_with_a_subscription_is_proven_and_leaves_nothing(
    cluster: Postgres, do: Callable[..., Run], backup: Backup
) -> None:
    do("verify_backup", backup=backup.pk, how="restore")
    assert shops(cluster) == ["shop"]
    assert subscriptions(cluster) == [("shop", True, "reader")]
    slot = "select slot_name, database from pg_replication_slots"
    assert cluster.admin.execute(slot).fetchall() == [("reader", "press")]


def test_a_copy_has_its_subscription_without_the_slot_of_the_original(
    cluster: Postgres, do: Callable[..., Run], backup: Backup
) -> None:
    cluster.admin.execute("alter database shop set default_transaction_read_only = on")
    done = do("restore_backup", backup=backup.pk, into="new", database="shop_copy")
    assert (
        done.plan[-1]
        == f"{SLOTS}Name the proven database shop_copy. Only then its limit of connections holds."
    )
    assert subscriptions(cluster) == [("shop", True, "reader"), ("shop_copy", False, None)]
    assert (
        "The subscription reader is disabled here and has no slot: reader at its publisher belongs to the original. "
        "Where that is gone, this lets it follow, without what was sent since the backup: "
        """ALTER SUBSCRIPTION "reader" SET (slot_name = 'reader'); ALTER SUBSCRIPTION "reader" ENABLE;"""
    ) in log_of(done)


def test_a_failed_restore_leaves_no_database_with_a_subscription(
    cluster: Postgres, reader: Server, backup: Backup
) -> None:
    run = queue(reader, "restore_backup", {"backup": backup.pk, "into": "new", "database": "shop_copy"})

    def fill() -> None:
        (scratch,) = [name for name in shops(cluster) if "__restore_" in name]
        with cluster.connect(scratch) as connection:
            connection.execute("delete from news")

    done = between(run, 5, fill)
    assert done.status == Run.Status.FAILED
    assert done.message == (
        "Step 5 of 6 failed: The restored database differs from the backup: public.news: has 0 rows, the backup 2. The "
        "original is untouched."
    )
    assert shops(cluster) == ["shop"]
    assert subscriptions(cluster) == [("shop", True, "reader")]


def test_a_proven_database_whose_slots_cannot_be_taken_is_kept_and_has_none_once_it_is_put_in_place(
    cluster: Postgres, reader: Server, do: Callable[..., Run], store: Store, key: BackupKey
) -> None:
    cluster.admin.execute("alter database shop connection limit 7")
    backup = Backup.objects.get(pk=do("take_backup", database="shop", store="shelf").result["backup"])
    run = queue(reader, "restore_backup", {"backup": backup.pk, "into": "new", "database": "shop_copy"})

    def change(how: str) -> None:
        (scratch,) = [name for name in shops(cluster) if "__restore_" in name]
        cluster.admin.execute(f'alter database "{scratch}" allow_connections true')
        with cluster.connect(scratch) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute(f"alter subscription reader {how}")

    done = between(run, 6, lambda: change("enable"))
    (kept,) = KeptDatabase.present(reader)
    assert done.status == Run.Status.FAILED
    assert done.message == (
        "Step 6 of 6 failed: Cannot set slot_name = NONE for enabled subscription. It was not named shop_copy. The "
        f"restored database, proven, is kept as {kept.name} for 72 hours. When nothing is in the way any more, the "
        "operation “Undo a restore” puts it in place."
    )
    assert shops(cluster) == ["shop", kept.name]
    assert subscriptions(cluster)[0] == ("shop", True, "reader")

    change("disable")
    cluster.admin.execute(f'alter database "{kept.name}" allow_connections false')
    placed = do("undo_restore", kept=kept.pk)
    assert placed.plan[0].startswith(
        f'{SLOTS}ALTER DATABASE "{kept.name}" CONNECTION LIMIT 7;\n-- Nobody has the name shop_copy any more\n'
    )
    assert subscriptions(cluster) == [("shop", True, "reader"), ("shop_copy", False, None)]
    limits = (
        "select datname, datconnlimit, datallowconn from pg_database where datname like 'shop%' order by 1"
    )
    assert cluster.admin.execute(limits).fetchall() == [("shop", 7, True), ("shop_copy", 7, True)]


def test_a_database_is_replaced_once_its_subscription_has_ended_and_the_restore_taken_back(
    cluster: Postgres, do: Callable[..., Run], backup: Backup
) -> None:
    with cluster.connect("shop") as connection:
        connection.execute("alter event trigger forbid disable")
        connection.execute("alter subscription reader disable")
        connection.execute("alter subscription reader set (slot_name = none)")
    do("restore_backup", backup=backup.pk, into="over", database="shop")
    kept = KeptDatabase.objects.get()
    assert [each[1:] for each in subscriptions(cluster)] == [(False, None)] * 2
    do("undo_restore", kept=kept.pk)
    (undone,) = KeptDatabase.present(kept.server)
    do("drop_kept_database", kept=undone.pk)
    assert shops(cluster) == ["shop"]
    assert subscriptions(cluster) == [("shop", False, None)]


def test_it_is_told_before_what_becomes_of_a_subscription_and_who_may_make_one(
    cluster: Postgres, reader: Server, backup: Backup
) -> None:
    checks, refusal = looked(reader, "restore_backup", backup=backup.pk, into="new", database="shop_copy")
    assert (checks["Subscriptions"].state, refusal) == ("warning", "")
    assert checks["Subscriptions"].message == (
        "reader comes back disabled and without its slot, which belongs to the original. The log of the run says what "
        "lets it follow where the original is gone."
    )
    cluster.admin.execute(f"create role keeper login createdb password '{cluster.password}'")
    reader.seal_dsn("operate_dsn", cluster.dsn_for("postgres", "keeper"))
    reader.save()
    POOLS.close(str(reader.key))
    checks, refusal = looked(reader, "verify_backup", backup=backup.pk, how="restore")
    assert (
        "Only a superuser may create event trigger forbid, subscription reader. Let dbadmin operate as one for this "
        'restore. What mends it: ALTER ROLE "keeper" SUPERUSER; -- NOSUPERUSER again afterwards'
    ) in refusal, refusal
