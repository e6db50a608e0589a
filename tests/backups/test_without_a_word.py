"""What other tools pass over without a word is said here, or cannot be."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from backups import catalogue, policies
from backups.manifest import NAME
from backups.models import Backup, BackupKey, Policy, Store
from backups.pipeline import fetch_bytes
from backups.stores import StoreError
from dbadmin import runner
from dbadmin.connections import POOLS
from dbadmin.models import Run, Server
from tests.backups.conftest import queue
from tests.backups.cutting import Wire
from tests.backups.test_faults import assert_store_is_empty, databases, refusal, under_way
from tests.backups.test_interrupted_restores import between
from tests.backups.test_policies import FEW
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"port": 9}, "Nothing listens at this host and port: connection refused."),
        (
            {"password": "not that one"},
            "The password of dbadmin_operate is wrong, or the server has no such role.",
        ),
    ],
    ids=["unreachable", "wrong password"],
)
def test_a_server_that_lets_nobody_in_has_no_backup_of_no_bytes(
    server: Server,
    store: Store,
    key: BackupKey,
    big: str,
    postgres: Postgres,
    change: dict[str, Any],
    why: str,
) -> None:
    queued = queue(server, "take_backup", {"database": big, "store": store.name})
    server.seal_dsn("operate_dsn", make_conninfo(postgres.dsn_for(big, "dbadmin_operate"), **change))
    server.save()
    POOLS.close(str(server.key))
    runner.execute(queued.pk)
    queued.refresh_from_db()
    assert (queued.status, queued.message) == (
        Run.Status.FAILED,
        f"The connection to shop failed: {why} Run it again when that is mended.",
    )
    assert not Backup.objects.exists()
    assert_store_is_empty(store)
    assert policies.is_failing(server, big)


def test_no_password_stands_in_the_arguments_of_a_process(
    server: Server, held: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres
) -> None:
    store, made = held
    _, process = under_way(server, "take_backup", {"database": huge, "store": store.name})
    lines = [text for folder in Path("/proc").glob("[0-9]*") if (text := arguments(folder))]
    made.hold.set()
    process.wait()
    assert [line for line in lines if "pg_dump" in line]
    assert [line for line in lines if postgres.password in line] == []
    assert [line for line in lines if "PGPASSWORD" in line] == []


def arguments(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize("encrypted", [True, False])
def test_roles_come_along_and_their_password_hashes_only_where_they_are_encrypted(
    run: Callable[..., Run], store: Store, database: str, postgres: Postgres, encrypted: bool
) -> None:
    if encrypted:
        BackupKey.make("night", keep=True)
    role = f"clerk_{database}"
    postgres.admin.execute(f"create role {role} login password 'of the clerk'")
    try:
        done = run("take_backup", database=database, store=store.name)
    finally:
        postgres.admin.execute(f"drop role {role}")
    assert done.status == Run.Status.SUCCEEDED, done.message
    backup = Backup.objects.get()
    volumes = backup.manifest().pieces["globals"].volumes
    text = fetch_bytes(store.open(), volumes, BackupKey.identities() if encrypted else []).decode()
    assert f"CREATE ROLE {role};" in text
    assert ("SCRAM-SHA-256$" in text) is encrypted
    words = "with" if encrypted else "without"
    assert f"Roles, their settings and tablespaces written, {words} password hashes." in log_of(done)


def test_rules_count_the_backups_of_each_database_for_themselves(server: Server, store: Store) -> None:
    Policy.objects.create(name="few", server=server, rules=FEW)
    for hours, database in enumerate(["busy", "busy", "busy", "quiet", "quiet"]):
        at = timezone.now() - timedelta(days=30, hours=hours)
        Backup.objects.create(
            server=server, server_name="shop", database=database, store=store, prefix=f"{hours}", started_at=at,
            finished_at=at, written_at=at, read_at=at, stored_bytes=1, plain_bytes=1, server_version="15",
            tool="pg_dump 15", tables_count=1, total_rows=1, selection={"schemas": [], "tables": []},
        )  # fmt: skip
    kept = {
        verdict.database: [backup.prefix for backup, decision in verdict.decisions if decision.keep]
        for verdict in policies.verdicts(server)
    }
    assert kept == {"busy": ["0"], "quiet": ["3"]}


def test_what_has_no_manifest_is_no_backup(taken: Callable[..., Backup], big: str, store: Store) -> None:
    backup = taken()
    opened = store.open()
    opened.put("shop/other/20990101T000000Z-1/database.dump.zst.age", b"half of it")
    assert catalogue.reread(store) == (1, 0, [])
    opened.delete(f"{backup.prefix}/{NAME}")
    assert catalogue.reread(store) == (0, 1, [])
    assert list(Backup.objects.present()) == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("404 Not Found", "The store took {key} but does not list it."),
        (
            "200 OK\r\nLast-Modified: Sat, 28 Nov 2026 12:00:00 GMT",
            "The store holds 0 bytes of {key}, but 6 were sent.",
        ),
    ],
    ids=["nothing", "no bytes"],
)
def test_what_a_store_says_it_took_is_looked_at(wired: tuple[Store, Wire], answer: str, says: str) -> None:
    store, made = wired
    opened = store.open()
    made.refuse, made.status = "^HEAD ", answer
    with pytest.raises(StoreError) as refused:
        opened.put("shop/wal/1", b"record")
    made.refuse = ""
    assert str(refused.value) == says.format(key="shop/wal/1")


def test_large_objects_that_may_not_be_read_are_told_before(
    server: Server, store: Store, big: str, postgres: Postgres
) -> None:
    role = f"reader_{big}"
    with postgres.connect(big) as connection:
        connection.execute(f"create role {role} login password '{postgres.password}'")
        connection.execute(f"grant pg_read_all_data to {role}; select lo_from_bytea(0, 'x')")
    try:
        server.seal_dsn("operate_dsn", postgres.dsn_for(big, role))
        server.save()
        assert refusal(server, "take_backup", database=big, store=store.name) == (
            f"{role} may not read 1 large objects, which need their owner or a superuser. "
            f'What mends it: GRANT SELECT ON LARGE OBJECT … TO "{role}"; or another role.'
        )
    finally:
        POOLS.close(str(server.key))
        with postgres.connect(big) as connection:
            connection.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (
            "update small set one = 2",
            "public.small: has the same 1 rows, but other values or another order.",
        ),
        ("delete from small", "public.small: has 0 rows, the backup 1."),
        ("insert into small values (2)", "public.small: has 2 rows, the backup 1."),
        (
            "select lo_put(7, 0, 'y')",
            "large objects: has the same 1 rows, but other values or another order.",
        ),
        ("drop index big_text_idx", "index public.big_text_idx: is missing."),
        ("alter table small drop constraint sure", "constraint public.small sure: is missing."),
        ("select setval('numbers', 41)", "sequence set public.numbers: has another value."),
    ],
)
def test_what_is_not_as_in_the_backup_after_a_restore_is_found_before_anybody_uses_it(
    server: Server, taken: Callable[..., Backup], big: str, postgres: Postgres, harm: str, says: str
) -> None:
    with postgres.connect(big) as connection:
        connection.execute("create sequence numbers; select setval('numbers', 42)")
        connection.execute("alter table small add constraint sure unique (one); select lo_from_bytea(7, 'x')")
    backup = taken()

    def spoil() -> None:
        (scratch,) = [name for name in databases(postgres, big) if "__restore_" in name]
        with postgres.connect(scratch) as connection:
            connection.execute(harm)

    run = queue(server, "restore_backup", {"backup": backup.pk, "into": "over", "database": big})
    done = between(run, 5, spoil)
    assert done.status == Run.Status.FAILED
    assert done.message == (
        f"Step 5 of 6 failed: The restored database differs from the backup: {says} The original is untouched."
    )
    assert databases(postgres, big) == [big]
    backup.refresh_from_db()
    assert backup.problem == says
