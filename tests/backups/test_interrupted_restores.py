"""Whatever happens to the server or to a name while a restore runs: no database is lost, and nothing is left over."""

from collections.abc import Callable, Iterator

import pytest
from django.utils import timezone

from backups.models import Backup, BackupKey, KeptDatabase, SideSchema, Store
from dbadmin import runner, runs
from dbadmin.connections import POOLS
from dbadmin.models import Run, Server
from tests.backups.conftest import queue
from tests.backups.test_faults import databases, when, worker
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres, server_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def shop(postgres: Postgres, database: str) -> str:
    """A table whose load waits until the row is let go, so that a restore is surely in the middle."""
    with postgres.connect(database) as connection:
        connection.execute(
            "create table goods as select n, md5(n::text) as text from generate_series(1, 5000) n"
        )
    return database


def between(run: Run, step: int, act: Callable[[], object]) -> Run:
    """Do the run, and this just before one of its steps begins."""
    work = runner.operation_of(run)
    steps = list(work.plan())
    original = type(work).plan

    class Watched(type(work)):  # type: ignore[misc]
        """The same operation, with somebody else at work before a step."""

        def plan(self):  # type: ignore[no-untyped-def]
            found = list(original(self))
            found[step - 1] = Before(found[step - 1], act)
            return found

    assert 1 <= step <= len(steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runner.REGISTRY, run.operation, Watched)
        runner.execute(run.pk)
    run.refresh_from_db()
    return run


class Before:
    """A step, and what somebody else does just before it."""

    def __init__(self, step, act) -> None:  # type: ignore[no-untyped-def]
        self.step, self.act, self.reverse = step, act, step.reverse

    def __str__(self) -> str:
        return str(self.step)

    def run(self, work) -> None:  # type: ignore[no-untyped-def]
        """First they, then we."""
        self.act()
        self.step.run(work)


def test_a_name_that_was_taken_meanwhile_is_left_alone_and_the_next_free_one_given(
    server: Server, taken: Callable[..., Backup], shop: str, postgres: Postgres
) -> None:
    run = queue(server, "restore_backup", {"backup": taken().pk, "into": "new", "database": f"{shop}_copy"})
    last = len(run.plan)
    done = between(run, last, lambda: postgres.admin.execute(f"create database {shop}_copy"))
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert log_of(done)[-2:] == [
        f"Somebody made a database {shop}_copy meanwhile; it is left alone.",
        f"The restored database is {shop}_copy_restored.",
    ]
    assert databases(postgres, shop) == [shop, f"{shop}_copy", f"{shop}_copy_restored"]
    with postgres.connect(f"{shop}_copy_restored") as connection:
        assert connection.execute("select count(*) from goods").fetchone() == (5000,)
    for name in ("copy", "copy_restored"):
        postgres.admin.execute(f"drop database {shop}_{name}")


def test_an_original_that_was_dropped_meanwhile_gets_its_name_back(
    server: Server, taken: Callable[..., Backup], shop: str, postgres: Postgres
) -> None:
    run = queue(server, "restore_backup", {"backup": taken().pk, "into": "over", "database": shop})
    done = between(run, len(run.plan), lambda: postgres.admin.execute(f"drop database {shop} with (force)"))
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert log_of(done)[-1] == (
        f"Somebody dropped or renamed {shop} meanwhile. The restored database has its name now."
    )
    assert databases(postgres, shop) == [shop]
    assert not KeptDatabase.objects.exists()
    with postgres.connect(shop) as connection:
        assert connection.execute("select count(*) from goods").fetchone() == (5000,)


def test_a_clean_up_ends_also_when_the_original_is_gone(
    server: Server, taken: Callable[..., Backup], shop: str, postgres: Postgres
) -> None:
    run = queue(server, "restore_backup", {"backup": taken().pk, "into": "over", "database": shop})
    facts = {
        "scratch": f"{shop}__restore_1",
        "live": f"{shop}_gone",
        "aside": f"{shop}__before_1",
    }
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(status="lost", finished_at=now, clean_up_due_at=now, facts=facts)
    runner.clean_up(run.pk)
    run.refresh_from_db()
    assert run.cleaned_at


@pytest.mark.parametrize("kind", ["new", "over"])
def test_a_server_that_stops_in_the_middle_has_its_original_and_nothing_else_when_it_comes_back(
    kind: str, db: None, new_postgres: Callable[..., Postgres], store: Store, key: BackupKey
) -> None:
    made = new_postgres()
    made.admin.execute("create database shop")
    with made.connect("shop") as connection:
        connection.execute("create table goods as select n from generate_series(1, 5000) n")
    server = server_row("falling", made)
    backed_up = queue(server, "take_backup", {"database": "shop", "store": "shelf"})
    runner.execute(backed_up.pk)
    backup = Backup.objects.get()
    run = queue(
        server,
        "restore_backup",
        {"backup": backup.pk, "into": kind, "database": "shop" if kind == "over" else "copy"},
    )
    done = between(run, 4, lambda: (made.stop(), POOLS.close(str(server.key))))
    assert done.status == Run.Status.FAILED
    assert done.message.endswith(" What it left is not removed yet; that is tried again until it succeeds.")
    made.start()
    POOLS.close(str(server.key))
    when(lambda: (runner.clean_up(run.pk), Run.objects.get(pk=run.pk).cleaned_at)[1])
    with made.connect("shop") as connection:
        assert connection.execute("select count(*) from goods").fetchone() == (5000,)
        rows = connection.execute(
            "select datname from pg_database where datname like 'shop%' or datname = 'copy'"
        )
        assert rows.fetchall() == [("shop",)]
    backup.refresh_from_db()
    assert not backup.is_leased
    POOLS.close(str(server.key))


def test_an_undo_whose_worker_died_after_the_swap_is_written_down(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str, postgres: Postgres
) -> None:
    done = run("restore_backup", backup=taken().pk, into="over", database=shop)
    kept = KeptDatabase.objects.get()
    undo = queue(server, "undo_restore", {"kept": kept.pk})
    oid = postgres.admin.execute("select oid from pg_database where datname = %s", [kept.name]).fetchone()
    aside = kept.name.replace("__before_", "__undone_")
    postgres.admin.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [shop]
    )
    postgres.admin.execute(f'alter database {shop} rename to "{aside}"')
    postgres.admin.execute(f'alter database "{kept.name}" rename to {shop}')
    postgres.admin.execute(f"alter database {shop} allow_connections true")
    now = timezone.now()
    facts = {"live": shop, "aside": aside, "kept": kept.pk, "kept_oid": oid and oid[0]}
    Run.objects.filter(pk=undo.pk).update(status="lost", finished_at=now, clean_up_due_at=now, facts=facts)
    runner.clean_up(undo.pk)
    undo.refresh_from_db()
    assert undo.message == (
        f"The swap was complete before this ended: {shop} is the old database again. What was in its place is kept as "
        f"{aside}."
    )
    assert [one.name for one in KeptDatabase.present(server)] == [aside]
    assert done.result["kept"] == kept.pk
    postgres.admin.execute(f'drop database "{aside}"')


def test_a_restore_in_place_is_taken_back_from_the_page_of_its_run(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str, postgres: Postgres
) -> None:
    done = run("restore_backup", backup=taken().pk, into="over", database=shop)
    kept = KeptDatabase.objects.get()
    assert runs.undo_url(done) == f"/servers/shop/do/undo_restore/?kept={kept.pk}&preview=1"
    postgres.admin.execute(f'drop database "{kept.name}"')


def test_a_schema_that_was_made_meanwhile_is_left_alone(
    server: Server, taken: Callable[..., Backup], shop: str, postgres: Postgres
) -> None:
    run = queue(
        server, "restore_tables", {"backup": taken().pk, "tables": "goods", "database": shop, "schema": "old"}
    )

    def make() -> None:
        with postgres.connect(shop) as connection:
            connection.execute("create schema old; create table old.goods as select 1 as mine")

    done = between(run, 5, make)
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    assert "Somebody made a schema old meanwhile; it is left alone." in log_of(done)
    with postgres.connect(shop) as connection:
        assert connection.execute("select mine from old.goods").fetchone() == (1,)
        assert connection.execute(f"select count(*) from old_{run.pk}.goods").fetchone() == (5000,)
    assert SideSchema.objects.get().name == f"old_{run.pk}"


def test_two_restores_of_one_backup_go_on_side_by_side(
    server: Server, taken: Callable[..., Backup], shop: str, postgres: Postgres
) -> None:
    """One in the place of the original, one beside it, each by a worker of its own."""
    backup = taken()
    wanted = [{"into": "over", "database": shop}, {"into": "new", "database": f"{shop}_copy"}]
    both = [queue(server, "restore_backup", {"backup": backup.pk, **params}) for params in wanted]
    for process in [worker(run) for run in both]:
        process.wait(120)
    for run in both:
        run.refresh_from_db()
        assert run.status == Run.Status.SUCCEEDED, (run.message, log_of(run))
    kept = KeptDatabase.objects.get()
    assert databases(postgres, shop) == sorted([shop, f"{shop}_copy", kept.name])
    for name in (shop, f"{shop}_copy"):
        with postgres.connect(name) as connection:
            assert connection.execute("select count(*) from goods").fetchone() == (5000,)
    backup.refresh_from_db()
    assert not backup.is_leased
    postgres.admin.execute(f'drop database "{kept.name}"')
    postgres.admin.execute(f"drop database {shop}_copy")


COMPARE_LATER = (
    "{} of {}, all of them. Only their comparison with the live ones may be missing: the operation “Compare again” "
    "makes it."
)


@pytest.mark.parametrize("step", range(1, 7))  # what is wished in the last step may come too late
def test_tables_that_are_not_wanted_any_more_leave_nothing_in_whatever_step(
    step: int, server: Server, taken: Callable[..., Backup], shop: str, postgres: Postgres
) -> None:
    backup = taken()
    run = queue(server, "restore_tables", {"backup": backup.pk, "tables": "goods", "database": shop})
    asked = {"cancel_requested_at": timezone.now(), "cancel_requested_by": "maria"}
    done = between(run, step, lambda: Run.objects.filter(pk=run.pk).update(**asked))
    assert done.status == Run.Status.CANCELLED
    assert done.message.partition(" The tables are in the schema ")[::2] == (
        "Cancelled by maria.",
        "".join(COMPARE_LATER.format(*made) for made in SideSchema.objects.values_list("name", "database")),
    )
    assert databases(postgres, shop) == [shop]
    with postgres.connect(shop) as connection:
        rows = connection.execute(
            "select nspname from pg_namespace where nspname like 'restored%'"
        ).fetchall()
    # What is in the live database whole and written down is kept: only the comparison is not made.
    assert [name for (name,) in rows] == [side.name for side in SideSchema.objects.all()]
    assert step == 5 or bool(rows) == (step > 5)  # in the middle of that step, either
    backup.refresh_from_db()
    assert not backup.is_leased


def bind(postgres: Postgres, shop: str) -> None:
    """What forbids a swap."""
    with postgres.connect(shop) as connection:
        connection.execute(
            "create subscription follower connection 'dbname=nowhere' publication daily with (connect = false)"
        )


def unbind(postgres: Postgres, shop: str) -> None:
    """Nothing forbids it any more."""
    with postgres.connect(shop) as connection:
        connection.execute("alter subscription follower set (slot_name = none)")
        connection.execute("drop subscription follower")


def test_a_proven_database_that_cannot_be_swapped_in_is_kept_beside_the_original_and_swapped_in_later(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str, postgres: Postgres
) -> None:
    backup = taken()
    restore = queue(server, "restore_backup", {"backup": backup.pk, "into": "over", "database": shop})

    def meanwhile() -> None:
        bind(postgres, shop)
        with postgres.connect(shop) as connection:
            connection.execute("delete from goods where n > 10")

    done = between(restore, len(restore.plan), meanwhile)
    kept = KeptDatabase.objects.get()
    assert done.status == Run.Status.FAILED
    assert done.message == (
        f"Step {len(restore.plan)} of {len(restore.plan)} failed: {shop} has 1 subscriptions, which a swap would cut "
        "off. End them first, or restore to a new name. It was not swapped: the original is untouched. The restored "
        f"database, proven, is kept as {kept.name} for 72 hours. When nothing is in the way any more, the operation "
        "“Undo a restore” puts it in place."
    )
    assert (kept.original, kept.backup, kept.origin) == (shop, backup, f"restored for {shop}")
    assert databases(postgres, shop) == [shop, kept.name]
    with postgres.connect(shop) as connection:
        assert connection.execute("select count(*) from goods").fetchone() == (10,)
    backup.refresh_from_db()
    assert not backup.is_leased

    unbind(postgres, shop)
    swapped = run("undo_restore", kept=kept.pk)
    (old,) = KeptDatabase.present(server)
    assert log_of(swapped)[-1] == f"{shop} is the restored database now; the old one is kept as {old.name}."
    assert old.name == kept.name.replace("__restore_", "__before_")
    assert databases(postgres, shop) == [shop, old.name]
    with postgres.connect(shop) as connection:
        assert connection.execute("select count(*) from goods").fetchone() == (5000,)
    run("undo_restore", kept=old.pk)
    with postgres.connect(shop) as connection:
        assert connection.execute("select count(*) from goods").fetchone() == (10,)
    (undone,) = KeptDatabase.present(server)
    run("drop_kept_database", kept=undone.pk)
    assert databases(postgres, shop) == [shop]


def lost_before_the_swap(server: Server, backup: Backup, shop: str, postgres: Postgres) -> Run:
    """A run whose worker died behind its fence, with a restored database beside the original."""
    restore = queue(server, "restore_backup", {"backup": backup.pk, "into": "over", "database": shop})
    scratch = f"{shop}__restore_1"
    postgres.admin.execute(f"create database {scratch}")
    row = postgres.admin.execute("select oid from pg_database where datname = %s", [scratch]).fetchone()
    facts = {
        "scratch": scratch, "scratch_oid": row and row[0], "live": shop, "aside": f"{shop}__before_1",
        "keep_hours": 72, "was_open": True, "connection_limit": 12,
    }  # fmt: skip
    now = timezone.now()
    Run.objects.filter(pk=restore.pk).update(status="lost", finished_at=now, clean_up_due_at=now, facts=facts)
    postgres.admin.execute(f"alter database {shop} allow_connections false")
    return restore


def test_a_proven_database_outlives_the_worker_that_died_before_it_was_swapped_in(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], shop: str, postgres: Postgres
) -> None:
    restore, scratch = lost_before_the_swap(server, taken(), shop, postgres), f"{shop}__restore_1"
    runner.clean_up(restore.pk)
    assert log_of(restore) == [
        f"The restored database, proven, is kept as {scratch}; the operation “Undo a restore” puts it in place.",
        f"{shop} is as it was and takes connections.",
        "What the run left is removed.",
    ]
    kept = KeptDatabase.present(server).get()
    assert (kept.name, kept.original, kept.is_restored) == (scratch, shop, True)
    placed = run("undo_restore", kept=kept.pk)
    assert f'ALTER DATABASE "{scratch}" CONNECTION LIMIT 12;\n-- Swap;' in placed.plan[0]
    (old,) = KeptDatabase.present(server)
    limits = "select datname, datconnlimit from pg_database where datname = any(%s) order by 1"
    rows = postgres.admin.execute(limits, [[shop, old.name]]).fetchall()
    assert rows == [(shop, 12), (old.name, -1)]
    run("drop_kept_database", kept=old.pk)
    assert databases(postgres, shop) == [shop]


def test_a_proven_database_goes_with_the_run_that_a_person_cancelled(
    server: Server, taken: Callable[..., Backup], shop: str, postgres: Postgres
) -> None:
    restore = lost_before_the_swap(server, taken(), shop, postgres)
    Run.objects.filter(pk=restore.pk).update(cancel_requested_at=timezone.now(), cancel_requested_by="maria")
    runner.clean_up(restore.pk)
    assert log_of(restore) == [
        f"Dropped {shop}__restore_1, if it was there.",
        f"{shop} is as it was and takes connections.",
        "What the run left is removed.",
    ]
    assert databases(postgres, shop) == [shop]
    assert not KeptDatabase.objects.exists()


@pytest.fixture
def leaver(postgres: Postgres, shop: str, taken: Callable[..., Backup]) -> Iterator[tuple[str, Backup]]:
    """A role that a backup names and that is gone since."""
    name = f"leaver_{shop}"
    with postgres.connect(shop) as connection:
        connection.execute(f"create role {name}; alter table goods owner to {name}")
        backup = taken()
        connection.execute(f"alter table goods owner to postgres; drop role {name}")
    yield name, backup
    postgres.admin.execute(f"drop role if exists {name}")


def roles(postgres: Postgres, name: str) -> int:
    return len(postgres.admin.execute("select from pg_roles where rolname = %s", [name]).fetchall())


@pytest.mark.parametrize("step", [3, 5])
def test_a_role_that_was_made_for_a_restore_goes_with_it_when_it_fails(
    step: int, server: Server, shop: str, postgres: Postgres, leaver: tuple[str, Backup]
) -> None:
    name, backup = leaver
    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "new", "database": f"{shop}_copy"})
    asked = {"cancel_requested_at": timezone.now(), "cancel_requested_by": "maria"}

    def cancel() -> None:
        assert roles(postgres, name) == 1
        Run.objects.filter(pk=run.pk).update(**asked)

    done = between(run, step, cancel)
    assert (done.status, done.message) == (Run.Status.CANCELLED, "Cancelled by maria.")
    assert roles(postgres, name) == 0
    assert f"Dropped the role {name}, which this run had made." in log_of(done)
    assert databases(postgres, shop) == [shop]


def test_a_role_that_somebody_uses_by_then_stays_and_what_drops_it_is_told(
    server: Server, shop: str, postgres: Postgres, leaver: tuple[str, Backup]
) -> None:
    name, backup = leaver
    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "new", "database": f"{shop}_copy"})

    def use() -> None:
        with postgres.connect(shop) as connection:
            connection.execute(f"grant select on goods to {name}")
        Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now(), cancel_requested_by="maria")

    done = between(run, 4, use)
    assert done.message == (
        f'Cancelled by maria. The role {name}, which this run had made, stays: Role "{name}" cannot be dropped because '
        f"some objects depend on it. privileges for table public.goods. When nothing uses it any "
        f'more: DROP ROLE "{name}";'
    )
    with postgres.connect(shop) as connection:
        connection.execute(f"revoke all on goods from {name}")


def test_a_stranger_of_the_name_of_a_role_that_was_made_is_left_alone(
    server: Server, shop: str, postgres: Postgres, leaver: tuple[str, Backup]
) -> None:
    name, backup = leaver
    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "new", "database": f"{shop}_copy"})
    done = between(run, 2, lambda: postgres.admin.execute(f"create role {name}"))
    assert done.status == Run.Status.FAILED
    assert roles(postgres, name) == 1


def test_a_proof_by_a_restore_leaves_no_role(
    run: Callable[..., Run], shop: str, postgres: Postgres, leaver: tuple[str, Backup]
) -> None:
    name, backup = leaver
    done = run("verify_backup", backup=backup.pk, how="restore")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert log_of(done)[-1] == f"Dropped the role {name}, which this run had made."
    assert roles(postgres, name) == 0
    assert databases(postgres, shop) == [shop]
