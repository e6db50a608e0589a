"""What tests of backups are given: a store, a key, and operations that really run."""

import json
import logging
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from backups.models import Backup, BackupKey, Store
from backups.stores.s3 import MIB, S3Settings
from dbadmin.connections import Session
from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY
from dbadmin.runner import execute
from dbadmin.steps import Step
from tests.backups.cutting import Wire, wire
from tests.fixtures.servers import Postgres

ROWS = 100_000


@pytest.fixture
def store(db: None, tmp_path: Path) -> Store:
    """A local store in a directory of its own."""
    folder = tmp_path / "store"
    folder.mkdir()
    return Store.objects.create(name="shelf", kind=Store.Kind.LOCAL, directory=str(folder))


@pytest.fixture
def bucket(db: None, s3: dict[str, str]) -> Iterator[Store]:
    """A bucket of an S3 server, below a prefix of its own."""
    row = Store(
        name="bucket", kind=Store.Kind.S3, endpoint=s3["endpoint"], bucket=s3["bucket"], prefix="dbadmin/test"
    )
    row.seal("access_key", s3["key"])
    row.seal("secret_key", s3["secret"])
    row.save()
    yield row
    opened = row.open()
    opened.abort_stale("", timedelta(0))  # a test that failed half-way spoils no other one
    for item in list(opened.items()):
        opened.delete(item.key)


@pytest.fixture(scope="session")
def moto() -> S3Settings:
    """A second make of S3 server, which answers as Amazon does."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    made = S3Settings(
        "moto", "deep", f"http://{host}:{port}", "us-east-1", "anybody", "anything", part_bytes=5 * MIB
    )
    boto3.client("s3", endpoint_url=made.endpoint, region_name="us-east-1", aws_access_key_id="x",
                 aws_secret_access_key="x").create_bucket(Bucket="moto")  # fmt: skip
    return made


@pytest.fixture
def key(db: None) -> BackupKey:
    """A key whose private half is kept."""
    return BackupKey.make("night", keep=True)[0]


@pytest.fixture
def run(server: Server) -> Callable[..., Run]:
    """Run an operation as a worker would: run("take_backup", database=…). Asserts nothing."""

    def start(operation: str, **params: Any) -> Run:
        made = queue(server, operation, params)
        execute(made.pk)
        made.refresh_from_db()
        return made

    return start


def queue(server: Server, operation: str, params: dict[str, Any]) -> Run:
    """A run as the page leaves it: planned and queued."""
    kind = REGISTRY[operation]
    form = kind.form(server, params)
    assert form.is_valid(), form.errors
    ready = kind(server, form.cleaned_data)
    steps: list[Step] = list(ready.plan())
    return Run.objects.create(
        server=server,
        server_name=server.name,
        operation=operation,
        title=kind.title,
        target=ready.target(),
        params=json.loads(json.dumps(dict(form.cleaned_data))),
        plan=[str(step) for step in steps],
        reverse=[step.reverse for step in steps],
        risk=ready.risk_now().value,
        queue=kind.queue,
        user_name="tester",
        door=Run.Door.COMMAND,
    )


@pytest.fixture
def taken(run: Callable[..., Run], store: Store, key: BackupKey, database: str) -> Callable[..., Backup]:
    """Take a backup that must succeed."""

    def take(**params: Any) -> Backup:
        done = run("take_backup", **{"database": database, "store": "shelf", **params})
        assert done.status == Run.Status.SUCCEEDED, (done.message, [line.text for line in done.lines.all()])
        return Backup.objects.get(pk=done.result["backup"])

    return take


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that takes two megabytes: a small disk for root, else a limit of this process."""
    if os.geteuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], check=True)
        yield tmp_path
        subprocess.run(["umount", str(tmp_path)], check=True)
        return
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * (1 << 20), old[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def words_of_full(folder: Path) -> list[str]:
    """How a store in tiny_disk says that it takes no more: as a full disk, or as the limit that stands for one."""
    if os.geteuid() == 0:
        return [f"The disk of the store {folder} is full"]
    return [f"The store {folder} failed: File too large"]


@pytest.fixture
def big(target: Session, database: str) -> str:
    """A database with a table, its index and a little more."""
    target.connection.execute(f"""
        create table big as select n, md5(n::text) || md5((-n)::text) as text from generate_series(1, {ROWS}) n;
        create table small as select 1 as one;
        create index on big (text)""")
    return database


@pytest.fixture
def wired(bucket: Store, s3: dict[str, str]) -> Iterator[tuple[Store, Wire]]:
    """A bucket behind a wire, written in small parts."""
    there = urlsplit(s3["endpoint"])
    with wire(str(there.hostname), int(there.port or 0)) as made:
        bucket.endpoint = f"http://127.0.0.1:{made.port}"
        bucket.part_mebibytes = 5
        bucket.save()
        yield bucket, made
        made.hold_after, made.is_silent = 0, False
        made.hold.set()
    bucket.endpoint = s3["endpoint"]
    bucket.save()


@pytest.fixture
def held(wired: tuple[Store, Wire]) -> tuple[Store, Wire]:
    """It stops in the middle of the first part, so that a dump is surely under way."""
    wired[1].hold_after = 1 << 20
    return wired


@pytest.fixture
def huge(big: str, postgres: Postgres) -> str:
    """So much data that it fits in no buffer between pg_dump and the store."""
    with postgres.connect(big) as connection:
        connection.execute("""
            create table huge (noise bytea);
            alter table huge alter noise set storage external;
            insert into huge select string_agg(sha512((n || '-' || m)::bytea), '')
            from generate_series(1, 6000) n, generate_series(1, 120) m group by n""")
    return big
