"""Whatever a store does while a backup is read from it: the reason is said, nothing is left, nothing called damaged."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from backups.models import Backup, BackupKey, BaseBackup, Drill, RecoveredCluster, Store
from backups.physical.chains import recoverable
from backups.physical.scratch_cluster import recovered_folder
from dbadmin.models import Run, Server
from tests.backups.conftest import ROWS, queue
from tests.backups.cutting import Wire
from tests.backups.recovering import Source
from tests.backups.test_faults import DATA, databases, flip, sessions, when, worker
from tests.backups.test_point_in_time import numbers, recover, stop
from tests.backups.test_store_faults import EXPIRED
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@dataclass(frozen=True)
class Fault:
    """What a store says instead of doing what it is asked, and how we tell that behind its name."""

    says: str
    status: str
    body: str = ""

    def happen(self, made: Wire, what: str) -> None:
        """To every request from now on that matches."""
        made.refuse, made.status, made.says = what, self.status, self.body


FAULTS = {
    "500": Fault("refused: Internal Server Error.", "500 Internal Server Error"),
    "expired": Fault(
        "refused: The provided token has expired. The credentials have expired. Enter new ones in the store's "
        "settings.", "400 Bad Request", EXPIRED,
    ),
}  # fmt: skip
each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@pytest.fixture
def backed_up(
    run: Callable[..., Run], wired: tuple[Store, Wire], key: BackupKey, big: str
) -> tuple[Backup, Wire]:
    """A backup in a bucket behind a wire."""
    store, made = wired
    done = run("take_backup", database=big, store=store.name)
    return Backup.objects.get(pk=done.result["backup"]), made


@each_fault
@pytest.mark.parametrize("name", ["restore_backup", "verify_backup", "restore_tables"])
def test_a_store_that_fails_while_it_is_read_calls_no_backup_damaged_and_no_database_touched(
    name: str, fault: Fault, backed_up: tuple[Backup, Wire], server: Server, big: str, postgres: Postgres
) -> None:
    backup, made = backed_up
    params = {
        "restore_backup": {"into": "over", "database": big},
        "verify_backup": {"how": "restore"},
        "restore_tables": {"tables": "big", "database": big},
    }[name]
    queued = queue(server, name, {"backup": backup.pk, **params})
    fault.happen(made, f"^GET .*{DATA}")
    done = finished(queued)
    assert (done.status, done.message) == (
        Run.Status.FAILED,
        f"Step 1 of {len(queued.plan)} failed: The store {backup.store.endpoint}/{backup.store.bucket} {fault.says}",
    )
    assert databases(postgres, big) == [big]
    assert sessions(postgres, done) == 0
    with postgres.connect(big) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)
    backup.refresh_from_db()
    assert (backup.problem, backup.is_leased, backup.deleted_at) == ("", False, None)
    made.refuse = ""
    again = finished(queue(server, name, {"backup": backup.pk, **params}))
    assert again.status == Run.Status.SUCCEEDED, (again.message, log_of(again))


def finished(run: Run) -> Run:
    """By a worker of its own."""
    assert worker(run).wait(200) == 0
    run.refresh_from_db()
    return run


def test_a_store_that_hangs_while_a_backup_is_restored_keeps_nobody_from_ending_that(
    backed_up: tuple[Backup, Wire], server: Server, big: str, postgres: Postgres
) -> None:
    backup, made = backed_up
    made.bytes_per_second = 1 << 18
    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "over", "database": big})
    process = worker(run)
    when(lambda: (Run.objects.get(pk=run.pk).progress_done or 0) > 1 << 16)
    made.is_silent, made.bytes_per_second = True, 1
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now(), cancel_requested_by="maria")
    process.wait(30)
    made.hold.set()
    run.refresh_from_db()
    assert (run.status, run.message) == (Run.Status.CANCELLED, "Cancelled by maria.")
    assert databases(postgres, big) == [big]
    backup.refresh_from_db()
    assert (backup.problem, backup.is_leased) == ("", False)


@each_fault
def test_a_bucket_that_fails_while_a_server_is_recovered_from_it_leaves_nothing_and_calls_nothing_damaged(
    fault: Fault, make_source: Callable[..., Source], wired: tuple[Store, Wire]
) -> None:
    bucket, between = wired
    source = make_source(kept_in=bucket)
    source.insert(1)
    base = source.base()
    source.insert(2)
    source.covered()
    source.receivers[-1].end()
    said = f"The store {bucket.endpoint}/{bucket.bucket} {fault.says}"
    again = "Read it back again when the store answers."
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("recover_to_moment", {"kind": "latest"}, f"Step 1 of 5 failed: {said}"),
        ("drill_recovery", {}, said),
        ("verify_base_backup", {"base": base.pk}, f"Whether {base} is whole is not known: {said} {again}"),
    ]
    for name, params, says in asked:
        ready = operation(name, source.server, **params)
        fault.happen(between, "^GET .*base.tar")
        done = carry_out(ready)
        between.refuse = ""
        assert (done.status, done.message) == (Run.Status.FAILED, says), log_of(done)
        assert not list(recovered_folder().iterdir())
    base.refresh_from_db()
    assert (base.problem, base.is_leased) == ("", False)
    assert not RecoveredCluster.objects.exists()
    assert [(drill.problem, drill.rto_seconds) for drill in Drill.objects.all()] in ([], [(said, None)])
    assert recoverable(source.server).holes == []
    row = recover(source)
    assert numbers(row) == [1, 2]
    stop(source, row)


@each_fault
def test_a_bucket_that_fails_while_what_expired_is_deleted_ends_with_all_or_nothing_of_it(
    fault: Fault, make_source: Callable[..., Source], wired: tuple[Store, Wire]
) -> None:
    bucket, between = wired
    source = make_source(kept_in=bucket)
    first = source.base()
    source.switch()
    second = source.base()
    source.insert(1)
    source.covered()
    source.receivers[-1].end()
    for base, days in ((first, 18), (second, 9)):
        at = base.consistent_at - timedelta(days=days)
        BaseBackup.objects.filter(pk=base.pk).update(consistent_at=at)
    ready = operation("prune_point_in_time", source.server)
    fault.happen(between, "^DELETE ")
    done = carry_out(ready)
    between.refuse = ""
    assert done.status == Run.Status.FAILED
    assert f"The store {bucket.endpoint}/{bucket.bucket} {fault.says}" in done.message
    BaseBackup.objects.filter(pk=second.pk).update(consistent_at=second.consistent_at)
    row = recover(source)
    assert numbers(row) == [1]
    stop(source, row)
    BaseBackup.objects.filter(pk=second.pk).update(consistent_at=second.consistent_at - timedelta(days=9))
    source.do("prune_point_in_time")
    assert not list(bucket.open().items(f"{first.prefix}/"))
    assert list(bucket.open().items(f"{second.prefix}/"))


@pytest.mark.parametrize("harm", ["flipped", "in another order", "another's"])
def test_what_is_not_encrypted_is_held_to_its_hash_as_well(
    harm: str, run: Callable[..., Run], store: Store, big: str, postgres: Postgres
) -> None:
    """zstd alone takes a whole frame of somebody else, and pg_restore a dump with other rows."""

    def taken() -> Backup:
        return Backup.objects.get(pk=run("take_backup", database=big, store=store.name).result["backup"])

    first = taken()
    with postgres.connect(big) as connection:
        connection.execute("create table since (id int)")  # else two within a second are the same
    second = taken()
    name = f"{first.prefix}/{DATA.removesuffix('.age')}"
    path = store.path / name
    content = path.read_bytes()
    harmed = {
        "flipped": flip(content),
        "in another order": content[1 << 20 :] + content[: 1 << 20],
        "another's": path.parents[1].joinpath(second.prefix.rpartition("/")[2], path.name).read_bytes(),
    }[harm]
    path.write_bytes(harmed)
    done = run("restore_backup", backup=first.pk, into="over", database=big)
    assert done.status == Run.Status.FAILED
    assert done.message.startswith(
        ("Step 1 of 6 failed: The compressed stream is damaged: ", f"Step 1 of 6 failed: {name} ")
    ), done.message
    assert databases(postgres, big) == [big]
    with postgres.connect(big) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)
    found = run("verify_backup", backup=first.pk, how="read")
    assert found.status == Run.Status.FAILED
    first.refresh_from_db()
    assert first.problem == found.message
