"""Who dies, or loses the control database, between an act and its word: nothing is forgotten, nothing half."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta

import pytest

from backups.models import Backup, BaseBackup, KeptDatabase, Policy, Store
from dbadmin.models import Run, Server
from tests.backups.conftest import ROWS, queue
from tests.backups.holding import held, session, waiting
from tests.backups.recovering import Source
from tests.backups.test_faults import databases, died, when, worker
from tests.backups.test_point_in_time import numbers, recover, stop
from tests.backups.test_policies import FEW
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def killed_at(run: Run, row: BaseBackup | Backup) -> Run:
    """Its worker dies when the manifest is gone and the catalogue is told so, when it says what comes then."""
    says = [
        'UPDATE "dbadmin_run" SET "facts"%',
        "COMMIT",
    ]  # of lines of the log, which are held to their run last
    table = row._meta.db_table
    with ExitStack() as until_dead:
        with held(f"select from {table} where id = %s for update", row.pk):
            process = worker(run)
            when(waiting(f'UPDATE "{table}" SET "deleted_at"%'))
            until_dead.enter_context(held("select from dbadmin_run where id = %s for update", run.pk))
        when(waiting(*says))
        process.kill()
        process.wait()
    return died(run, process)


def test_of_a_base_backup_nothing_stays_for_ever(source: Source) -> None:
    first = source.base()
    source.switch()
    second = source.base()
    source.insert(1)
    source.covered()
    for base, days in ((first, 18), (second, 9)):
        at = base.consistent_at - timedelta(days=days)
        BaseBackup.objects.filter(pk=base.pk).update(consistent_at=at)
    run = killed_at(queue(source.server, "prune_point_in_time", {}), first)
    assert run.status == Run.Status.LOST
    first.refresh_from_db()
    if first.deleted_at is None:
        source.do("prune_point_in_time")
    assert not list(source.store.open().items(f"{first.prefix}/"))
    assert not BaseBackup.objects.present().filter(pk=first.pk).exists()
    BaseBackup.objects.filter(pk=second.pk).update(consistent_at=second.consistent_at)
    row = recover(source)
    assert numbers(row) == [1]
    stop(source, row)


def test_of_a_backup_nothing_stays_for_ever(
    taken: Callable[..., Backup], run: Callable[..., Run], store: Store, server: Server
) -> None:
    first, second = taken(), taken()
    assert run("verify_backup", backup=second.pk, how="read").status == Run.Status.SUCCEEDED
    Policy.objects.create(name="few", server=server, rules=FEW)
    lost = killed_at(queue(server, "prune_backups", {}), first)
    assert lost.status == Run.Status.LOST
    assert not list(store.open().items(f"{first.prefix}/"))
    assert Backup.objects.present().get() == second
    assert run("verify_backup", backup=second.pk, how="restore").status == Run.Status.SUCCEEDED


def test_a_swap_whose_word_cannot_be_written_is_told_afterwards_and_taken_back(
    taken: Callable[..., Backup], run: Callable[..., Run], server: Server, big: str, postgres: Postgres
) -> None:
    """The control database goes away when the databases have their names and nobody knows it yet."""
    restore = queue(server, "restore_backup", {"backup": taken().pk, "into": "over", "database": big})
    with held("lock table backups_keptdatabase in exclusive mode"):
        process = worker(restore)
        pid = when(waiting('%"backups_keptdatabase"%'))
        (aside,) = [name for name in databases(postgres, big) if "__before_" in name]
        with session() as other:
            other.execute("select pg_terminate_backend(%s)", [pid])
    assert process.wait(60) == 0
    restore.refresh_from_db()
    assert restore.status == Run.Status.FAILED
    assert restore.message.endswith(
        f" {big} is the restored database: the swap was complete before this ended. The old one is kept as {aside}; "
        "the operation “Undo a restore” brings it back."
    )
    assert databases(postgres, big) == [big, aside]
    (kept,) = KeptDatabase.present(server)
    assert kept.name == aside
    assert run("undo_restore", kept=kept.pk).status == Run.Status.SUCCEEDED
    with postgres.connect(big) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)
