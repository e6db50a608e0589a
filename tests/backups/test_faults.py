"""Whatever dies, fills up or lies: a clear sentence, nothing half done, the original untouched."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection as control
from django.utils import timezone

from backups import logical
from backups.models import Backup, BackupKey, KeptDatabase, Store
from dbadmin import reconcile, runner, runs
from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY, Refused
from tests.backups.conftest import ROWS, queue, words_of_full
from tests.backups.cutting import Wire
from tests.fixtures.runtime import are_gone
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def worker(run: Run) -> subprocess.Popen[bytes]:
    """A process that executes a run, as a worker's child does."""
    code = "import sys, django; django.setup(); from dbadmin.runner import execute; execute(int(sys.argv[1]))"
    url = settings.DATABASES["default"]
    password = f":{url['PASSWORD']}" if url["PASSWORD"] else ""
    address = (
        f"postgresql://{url['USER']}{password}@{url['HOST']}:{url['PORT']}/{control.settings_dict['NAME']}"
    )
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dbadmin.settings",
        "DATABASE_URL": address,
        "SECRET_KEY": settings.SECRET_KEY,
        "DBADMIN_KEYS": settings.DBADMIN_KEYS,
        "DBADMIN_STATE": str(settings.DBADMIN_STATE),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, str(run.pk)], env=environment, stderr=subprocess.DEVNULL
    )


def when(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
    return found


def under_way(server: Server, operation: str, params: dict[str, Any]) -> tuple[Run, subprocess.Popen[bytes]]:
    """A run that has done more than a MiB, and its worker's process."""
    run = queue(server, operation, params)
    process = worker(run)
    when(lambda: (Run.objects.get(pk=run.pk).progress_done or 0) > 1 << 20)
    return run, process


def died(run: Run, process: subprocess.Popen[bytes]) -> Run:
    """Kill the worker's process, then do what the scheduler and another worker do about it."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What it wrote last may still be on its way to the control database: it may have ended by itself.
    when(lambda: reconcile.close_lost(run.pk) or Run.objects.get(pk=run.pk).status != Run.Status.RUNNING)
    run.refresh_from_db()
    if run.status != Run.Status.LOST:
        return run
    when(lambda: (runner.clean_up(run.pk), Run.objects.get(pk=run.pk).cleaned_at)[1])
    run.refresh_from_db()
    return run


def child_pid(pid: int, name: str) -> int:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if text.rpartition(")")[2].split()[1] == str(pid) and f"({name})" in text:
            return int(stat.parent.name)
    return 0


def sessions(postgres: Postgres, run: Run) -> int:
    with postgres.connect() as connection:
        found = connection.execute(
            "select count(*) from pg_stat_activity where application_name = %s", [f"dbadmin run {run.pk}"]
        ).fetchone()
    return int(found[0]) if found else 0


def databases(postgres: Postgres, name: str) -> list[str]:
    with postgres.connect() as connection:
        return [
            row[0]
            for row in connection.execute(
                "select datname from pg_database where datname = %s or datname like %s order by 1",
                [name, f"{name}\\_%"],
            )
        ]


def assert_store_is_empty(store: Store) -> None:
    opened = store.open()
    assert list(opened.items()) == []
    assert opened._open_uploads("") == [] if store.kind == Store.Kind.S3 else True  # type: ignore[attr-defined]


def test_a_killed_pg_dump_fails_the_run_and_leaves_nothing(
    server: Server, held: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres
) -> None:
    store, made = held
    run, process = under_way(server, "take_backup", {"database": huge, "store": store.name})
    tool = when(lambda: child_pid(process.pid, "pg_dump"))
    os.kill(tool, signal.SIGKILL)
    made.hold.set()
    process.wait()
    run.refresh_from_db()
    assert run.status == Run.Status.FAILED
    assert run.message == "Step 2 of 4 failed: pg_dump was killed by signal 9."
    assert_store_is_empty(store)
    assert not Backup.objects.exists()
    assert sessions(postgres, run) == 0


def test_an_ended_backend_fails_the_run_and_leaves_nothing(
    server: Server, held: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres
) -> None:
    store, made = held
    run, process = under_way(server, "take_backup", {"database": huge, "store": store.name})
    with postgres.connect() as connection:
        when(
            lambda: connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and query like 'COPY%%'",
                [huge],
            ).fetchone()
        )
    made.hold.set()
    process.wait()
    run.refresh_from_db()
    assert run.status == Run.Status.FAILED
    assert run.message.startswith("Step 2 of 4 failed: pg_dump failed: ")
    assert_store_is_empty(store)


def test_a_killed_worker_leaves_no_process_no_object_and_no_session(
    server: Server, held: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres
) -> None:
    store, made = held
    run, process = under_way(server, "take_backup", {"database": huge, "store": store.name})
    tool = when(lambda: child_pid(process.pid, "pg_dump"))
    process.kill()
    made.hold.set()
    run = died(run, process)
    assert run.status == Run.Status.LOST
    assert run.message.startswith("Its worker died in step 2 of 4. ")
    when(lambda: are_gone([tool]))
    assert_store_is_empty(store)
    assert sessions(postgres, run) == 0
    assert not Backup.objects.exists()


def test_a_backup_cancelled_leaves_nothing(
    server: Server, held: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres
) -> None:
    store, made = held
    run, process = under_way(server, "take_backup", {"database": huge, "store": store.name})
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now(), cancel_requested_by="tester")
    when(lambda: child_pid(process.pid, "pg_dump") == 0)  # the wish was seen, while the store still hangs
    made.hold.set()
    process.wait(60)
    run.refresh_from_db()
    assert run.status == Run.Status.CANCELLED, run.message
    assert_store_is_empty(store)
    assert sessions(postgres, run) == 0


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_a_restore_killed_in_any_step_leaves_the_original_as_it_was(
    server: Server, taken: Callable[..., Backup], big: str, postgres: Postgres, step: int
) -> None:
    backup = taken()
    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "over", "database": big})
    process = worker(run)
    when(lambda: process.poll() is not None or Run.objects.get(pk=run.pk).step >= step)
    alive = process.poll() is None
    if alive:
        run = died(run, process)
        assert run.status in (Run.Status.LOST, Run.Status.SUCCEEDED)
    with postgres.connect(big) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)
    kept = [one.name for one in KeptDatabase.present(server)]
    assert databases(postgres, big) == sorted([big, *kept])
    assert sessions(postgres, run) == 0
    backup.refresh_from_db()
    assert not backup.is_leased
    for name in kept:
        with postgres.connect() as connection:
            connection.execute(f'drop database "{name}"')


def test_a_database_that_was_closed_when_the_worker_died_is_opened_again(
    server: Server, taken: Callable[..., Backup], big: str, postgres: Postgres
) -> None:
    backup = taken()
    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "over", "database": big})
    facts = {"scratch": f"{big}__restore_1", "was_open": True, "live": big, "aside": f"{big}__before_1"}
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(
        status=Run.Status.LOST, finished_at=now, clean_up_due_at=now, facts=facts
    )
    with postgres.connect() as connection:
        connection.execute(f"create database {big}__restore_1")
        connection.execute(f"alter database {big} allow_connections false")
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [big])
    runner.clean_up(run.pk)
    run.refresh_from_db()
    assert run.cleaned_at
    assert databases(postgres, big) == [big]
    with postgres.connect(big) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_restore_cancelled_in_any_step_leaves_the_original_as_it_was(
    server: Server, taken: Callable[..., Backup], big: str, postgres: Postgres, step: int
) -> None:
    backup = taken()
    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "over", "database": big})
    process = worker(run)
    when(lambda: process.poll() is not None or Run.objects.get(pk=run.pk).step >= step)
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now(), cancel_requested_by="tester")
    process.wait(30)
    run.refresh_from_db()
    assert run.status == Run.Status.CANCELLED, run.message
    assert databases(postgres, big) == [big]
    with postgres.connect(big) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)


def test_a_restore_cancelled_while_it_swaps_has_swapped_or_has_not(
    server: Server, taken: Callable[..., Backup], big: str, postgres: Postgres
) -> None:
    """Never half: one database of that name, with all its rows, that takes connections."""
    backup = taken()
    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "over", "database": big})
    process = worker(run)
    when(lambda: process.poll() is not None or Run.objects.get(pk=run.pk).step >= 6)
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now(), cancel_requested_by="tester")
    process.wait(60)
    run.refresh_from_db()
    kept = [one.name for one in KeptDatabase.present(server)]
    assert run.status in (Run.Status.CANCELLED, Run.Status.SUCCEEDED), run.message
    assert databases(postgres, big) == sorted([big, *kept])
    for name in kept:
        postgres.admin.execute(f'alter database "{name}" allow_connections true')
    for name in (big, *kept):
        with postgres.connect(name) as connection:
            assert connection.execute("select count(*) from big").fetchone() == (ROWS,)
    for name in kept:
        with postgres.connect() as connection:
            connection.execute(f'drop database "{name}" with (force)')


def path_of(backup: Backup, name: str) -> Path:
    return backup.store.path / backup.prefix / name


DATA = "database.dump.zst.age"


def flip(old: bytes) -> bytes:
    """One bit, somewhere."""
    return old[: 1 << 20] + bytes([old[1 << 20] ^ 4]) + old[(1 << 20) + 1 :]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (flip, "{key} is not what was written: it cannot be decrypted (decryption error)."),
        (lambda old: old[:-1], "{key} has {less} bytes, the manifest says {size}."),
        (lambda old: old + b"\0", "{key} has {more} bytes, the manifest says {size}."),
        (None, "{key} is not in the store {store}."),
    ],
    ids=["flipped", "truncated", "appended to", "deleted"],
)
def test_damage_in_the_store_is_found_by_reading_back_and_stops_a_restore(
    taken: Callable[..., Backup], run: Callable[..., Run], big: str, postgres: Postgres,
    harm: Callable[[bytes], bytes] | None, words: str,
) -> None:  # fmt: skip
    backup = taken()
    path = path_of(backup, DATA)
    size = path.stat().st_size
    if harm is None:
        path.unlink()
    else:
        path.write_bytes(harm(path.read_bytes()))
    says = words.format(
        key=f"{backup.prefix}/{DATA}", store=backup.store.path, size=size, less=size - 1, more=size + 1
    )
    found = run("verify_backup", backup=backup.pk, how="read")
    assert (found.status, found.message) == (Run.Status.FAILED, says)
    backup.refresh_from_db()
    assert backup.problem == says
    done = run("restore_backup", backup=backup.pk, into="over", database=big)
    assert (done.status, done.message) == (Run.Status.FAILED, f"Step 1 of 6 failed: {says}")
    assert databases(postgres, big) == [big]
    with postgres.connect(big) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)


def test_another_key_is_named(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], big: str
) -> None:
    backup = taken()
    recipient = BackupKey.objects.get().recipient
    BackupKey.make("other", keep=True)
    BackupKey.objects.filter(recipient=recipient).update(sealed_identity="")
    into = {"backup": backup.pk, "into": "new", "database": f"{big}_again"}
    assert refusal(server, "restore_backup", **into) == (
        "The backup cannot be opened. It is encrypted for night, whose private half is not kept here. "
        "Bring it back on the page of keys first."
    )
    BackupKey.objects.filter(recipient=recipient).delete()
    assert refusal(server, "restore_backup", **into) == (
        f"The backup cannot be opened. It is encrypted for a key that is not known here: {recipient}. "
        "Add that key on the page of keys first."
    )
    found = run("verify_backup", backup=backup.pk, how="read")
    assert found.message == (
        "None of the private keys at hand opens this backup. Bring the key that it was made for."
    )


def refusal(server: Server, operation: str, **params: Any) -> str:
    kind = REGISTRY[operation]
    with pytest.raises(Refused) as caught:
        kind(server, params).plan()
    return str(caught.value)


def test_what_cannot_begin_is_refused_with_its_reason(server: Server, store: Store, big: str) -> None:
    common = {"store": store.name, "schemas": "", "tables": ""}
    assert (
        refusal(server, "take_backup", database="nowhere", **common)
        == "There is no database nowhere on shop."
    )
    assert refusal(server, "take_backup", **{**common, "database": big, "tables": "public.nothing"}) == (
        f"There is no table public.nothing in {big}. Write it as schema.table."
    )
    assert refusal(server, "take_backup", **{**common, "database": big, "schemas": "nowhere"}) == (
        f"There is no schema nowhere in {big}."
    )
    both = {"database": big, "schemas": "public", "tables": "public.big"}
    assert refusal(server, "take_backup", **{**common, **both}) == (
        "Choose schemas or tables, not both: pg_dump takes only the tables then. Take one backup of the schemas and "
        "one of the tables."
    )
    assert refusal(server, "take_backup", **{**common, "database": big, "tables": "public.big_text_idx"}) == (
        f"There is no table public.big_text_idx in {big}. Write it as schema.table."
    )
    store.directory = "/nonexistent/place"
    store.save()
    assert refusal(server, "take_backup", database=big, **common) == (
        "The store's directory /nonexistent/place is not there. Create it, or mount its disk."
    )


def test_a_role_without_rights_is_told_what_it_lacks(
    server: Server, store: Store, big: str, postgres: Postgres
) -> None:
    with postgres.connect(big) as connection:
        connection.execute("drop role if exists weak")
        connection.execute(f"create role weak login password '{postgres.password}'")
    server.seal_dsn("operate_dsn", postgres.dsn_for(big, "weak"))
    server.save()
    try:
        common = {"database": big, "store": store.name}
        assert refusal(server, "take_backup", **common) == (
            'weak may not read public.big, public.small. What mends it: GRANT pg_read_all_data TO "weak";'
        )
        with postgres.connect(big) as connection:
            connection.execute("grant pg_read_all_data to weak; alter table small enable row level security")
        assert refusal(server, "take_backup", **common) == (
            "Row security hides rows of public.small from weak, so a backup would lack them. "
            'What mends it: ALTER ROLE "weak" BYPASSRLS;'
        )
    finally:
        with postgres.connect(big) as connection:
            connection.execute("drop role weak")


def test_a_dump_waits_for_a_lock_only_so_long_and_names_the_table(
    store: Store, key: BackupKey, big: str, postgres: Postgres, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(logical, "LOCK_WAIT", "500ms")  # not a minute
    with postgres.connect(big) as connection, connection.transaction():
        connection.execute("lock table small in access exclusive mode")
        done = run("take_backup", database=big, store=store.name)
    assert done.status == Run.Status.FAILED
    before, _, named = done.message.partition(": LOCK TABLE ")
    assert before == (
        "Step 2 of 4 failed: pg_dump failed: query failed: ERROR:  canceling statement due to statement timeout. "
        "It waited too long for a lock that another session holds"
    )
    assert "public.small" in named  # later versions ask for many at once
    assert_store_is_empty(store)


def test_a_full_store_fails_the_run_and_leaves_nothing(
    server: Server, key: BackupKey, big: str, tiny_disk: Path, run: Callable[..., Run]
) -> None:
    store = Store.objects.create(name="tiny", directory=str(tiny_disk))
    done = run("take_backup", database=big, store=store.name)
    assert done.status == Run.Status.FAILED
    assert done.message.startswith(
        tuple(f"Step 2 of 4 failed: {words}" for words in words_of_full(tiny_disk))
    )
    assert_store_is_empty(store)


def test_a_dropped_database_is_named(
    server: Server, store: Store, key: BackupKey, big: str, postgres: Postgres
) -> None:
    queued = queue(server, "take_backup", {"database": big, "store": store.name})
    with postgres.connect() as connection:
        connection.execute(f"drop database {big} with (force)")
    server.seal_dsn("operate_dsn", postgres.dsn_for("postgres", "dbadmin_operate"))
    server.save()
    runner.execute(queued.pk)
    queued.refresh_from_db()
    assert queued.message == f"There is no database {big} on shop."
    assert queued.status == Run.Status.REFUSED


def test_missing_roles_are_made_and_rows_are_not_doubled(
    taken: Callable[..., Backup], run: Callable[..., Run], big: str, postgres: Postgres
) -> None:
    with postgres.connect(big) as connection:
        connection.execute("create role leaver; alter table small owner to leaver")
    backup = taken()
    with postgres.connect(big) as connection:
        connection.execute("reassign owned by leaver to postgres; drop role leaver")
        connection.execute("create view in_the_way as select * from big")
    done = run("restore_backup", backup=backup.pk, into="over", database=big)
    assert done.status == Run.Status.SUCCEEDED, done.message
    with postgres.connect(big) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)
        assert connection.execute(
            "select tableowner from pg_tables where tablename = 'small'"
        ).fetchone() == ("leaver",)
    for kept in KeptDatabase.objects.all():
        with postgres.connect() as connection:
            connection.execute(f'drop database "{kept.name}"')
            connection.execute(f"drop database {big} with (force)")
            connection.execute("drop role leaver")


def test_the_first_error_of_a_restore_is_understood_whatever_language_the_worker_speaks(
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    big: str,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with postgres.connect(big) as connection:
        connection.execute(
            f"create table stubborn as select 1 as n;"
            f"alter table stubborn add constraint here check (current_database() = '{big}')"
        )
    backup = taken()
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    done = run("restore_backup", backup=backup.pk, into="over", database=big)
    assert done.status == Run.Status.FAILED
    assert done.message.startswith("Step 3 of 6 failed: A constraint is violated: COPY failed for table ")
    assert databases(postgres, big) == [big]


def test_two_restores_at_once_are_refused(
    server: Server, taken: Callable[..., Backup], big: str, postgres: Postgres
) -> None:
    backup = taken()
    params = {"backup": backup.pk, "into": "over", "database": big, "keep_hours": 1, "jobs": 2}
    first = queue(server, "restore_backup", params)
    with pytest.raises(Refused) as caught:
        runs.start(REGISTRY["restore_backup"](server, params), None, Run.Door.COMMAND)
    assert str(caught.value).startswith(f"Run {first.pk} by tester is queued with the same: ")
