"""Backups and restores against what an administrator would type: pg_dump | gzip, and pg_restore -j2."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyrage

from backups import logical
from backups.archive import Scanner
from backups.models import BackupKey, Store
from backups.physical.replication import BaseBackupStream, replication_dsn
from backups.pipeline import Stored, send
from backups.producer import Producer
from backups.stores import Store as OpenStore
from backups.stores.s3 import S3Settings, S3Store
from devtools import stock
from tests.bench import events as rows
from tests.bench.frame import Bench, Figure, in_a_process
from tests.fixtures.servers import Postgres
from tests.running import scratch

#: About 2 GiB on disk with the usual value; BENCH_BACKUP_SCALE=10 is enough for a quick look.
SCALE = int(os.environ.get("BENCH_BACKUP_SCALE", "100"))
DATABASE = "bench_backup"
RUNS = 2


@dataclass
class Taken:
    """What one way cost."""

    wall: float
    cpu: float
    size: int = 0


def figures(bench: Bench) -> Iterator[Figure]:
    """Ratios, each measured in the same run on the same data."""
    postgres = bench.postgres
    fill(postgres)
    naive = best(lambda: dump_and_gzip(postgres))
    store = S3Store(S3Settings(bench.s3["bucket"], "bench", bench.s3["endpoint"], "us-east-1", bench.s3["key"],
                               bench.s3["secret"]))  # fmt: skip
    bare = best(lambda: ours(postgres, store, digests=False))
    full = best(lambda: ours(postgres, store, digests=True))
    yield Figure("dump_wall_of_naive", full.wall / naive.wall, 0.35)
    yield Figure("dump_cpu_of_naive", full.cpu / naive.cpu, 0.45)
    yield Figure("size_of_gzip", full.size / naive.size, 1.0)
    yield Figure("digests_wall", full.wall / bare.wall, 1.10)
    yield Figure("memory_mib", memory(bench), 200)
    plain = best(lambda: basebackup_and_zstd(postgres))
    yield Figure("base_wall_of_basebackup", best(lambda: our_base(postgres, store)).wall / plain.wall, 1.2)
    yield from restores(bench, postgres)


def fill(postgres: Postgres) -> None:
    """The data, once."""
    with postgres.connect() as connection:
        known = connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone()
        if known:
            return
        connection.execute(f"create database {DATABASE}")
    pgbench = logical.choose(postgres.major).path("pgbench")
    environment = logical.environment(postgres.dsn_for(DATABASE))
    subprocess.run([pgbench, "-i", "-q", "-s", str(SCALE)], env={**os.environ, **environment}, check=True,
                   capture_output=True)  # fmt: skip
    with postgres.connect(DATABASE) as connection:
        rows.fill(connection, 11_000 * SCALE)
        connection.execute("checkpoint")


def best(way: Callable[[], Taken]) -> Taken:
    """The least disturbed of several runs."""
    runs = [way() for _ in range(RUNS)]
    return Taken(min(run.wall for run in runs), min(run.cpu for run in runs), runs[-1].size)


def measured(postgres: Postgres, action: Callable[[], int]) -> Taken:
    """Wall time, and the CPU of ourselves, our programs and the server."""
    before, server = os.times(), backend_cpu(postgres)
    started = time.monotonic()
    size = action()
    wall, after = time.monotonic() - started, os.times()
    cpu = sum(after[:4]) - sum(before[:4]) + backend_cpu(postgres) - server
    return Taken(wall, cpu, size)


def backend_cpu(postgres: Postgres) -> float:
    """Seconds that the server's finished children used; its sessions end with the programs."""
    time.sleep(0.3)
    fields = Path(f"/proc/{postgres.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def dump_and_gzip(postgres: Postgres) -> Taken:
    """What everybody types."""
    tools = logical.choose(postgres.major)
    environment = {**os.environ, **logical.environment(postgres.dsn_for(DATABASE))}

    def action() -> int:
        with tempfile.NamedTemporaryFile() as file:
            dump = subprocess.Popen([tools.path("pg_dump")], env=environment, stdout=subprocess.PIPE)
            subprocess.run(["gzip", "-6"], stdin=dump.stdout, stdout=file, check=True)
            assert dump.wait() == 0
            return Path(file.name).stat().st_size

    return measured(postgres, action)


def ours(postgres: Postgres, store: OpenStore, digests: bool) -> Taken:
    """The pipeline to an encrypted object."""

    def action() -> int:
        return dump_to(postgres.dsn_for(DATABASE), postgres.major, store, digests).stored_bytes

    return measured(postgres, action)


def dump_to(dsn: str, major: int, store: OpenStore, digests: bool) -> Stored:
    source = logical.Source(logical.choose(major), dsn, DATABASE)
    producer = Producer(logical.dump_command(source), source.environment())
    scanner, recipient = Scanner(), str(pyrage.x25519.Identity.generate().to_public())
    try:
        if digests:
            stored = send(producer, store, "bench.zst.age", [recipient], inspect=scanner.feed)
            scanner.finish()
            return stored
        return send(producer, store, "bench.zst.age", [recipient])
    finally:
        producer.stop()


def basebackup_and_zstd(postgres: Postgres) -> Taken:
    """What everybody types for a whole cluster."""
    programs = [str(path) for path in stock.directories(scratch().places, scratch().say)]
    environment = {**os.environ, **logical.environment(postgres.dsn)}
    environment["PATH"] = os.pathsep.join([*programs, environment["PATH"]])
    copy = [logical.choose(postgres.major).path("pg_basebackup"), "--format=tar", "--wal-method=none",
            "--pgdata=-", "--checkpoint=fast", "--no-manifest"]  # fmt: skip

    def action() -> int:
        with tempfile.NamedTemporaryFile() as file:
            base = subprocess.Popen(copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            subprocess.run(["zstd", "--quiet"], stdin=base.stdout, stdout=file, env=environment, check=True)
            assert base.wait() == 0
            return Path(file.name).stat().st_size

    return measured(postgres, action)


def our_base(postgres: Postgres, store: OpenStore) -> Taken:
    """The files of the cluster to encrypted objects, each with the server's own checksum."""

    def action() -> int:
        recipient = str(pyrage.x25519.Identity.generate().to_public())
        with psycopg.connect(replication_dsn(postgres.dsn), autocommit=True) as connection:
            stream = BaseBackupStream(connection, "bench")
            stream.start()
            return sum(
                send(blocks, store, f"bench-{archive.name}.zst.age", [recipient]).stored_bytes
                for archive, blocks in stream.archives()
            )

    return measured(postgres, action)


def memory(bench: Bench) -> float:
    """The peak of the process that takes a backup to a bucket, as a worker's child does."""
    from tests.backups.conftest import queue

    place = Store(name="bench-bucket", kind=Store.Kind.S3, endpoint=bench.s3["endpoint"], bucket=bench.s3["bucket"],
                  prefix="memory")  # fmt: skip
    place.seal("access_key", bench.s3["key"])
    place.seal("secret_key", bench.s3["secret"])
    place.save()
    key = BackupKey.make("bench-memory", keep=True)[0]
    _, peak = in_a_process(queue(bench.server, "take_backup", {"database": DATABASE, "store": place.name}))
    key.delete()
    return peak


def restores(bench: Bench, postgres: Postgres) -> Iterator[Figure]:
    """A restore with its whole proof against a bare pg_restore -j2 of an archive on the disk, by turns."""
    from tests.backups.conftest import queue

    tools, environment = logical.choose(postgres.major), logical.environment(postgres.dsn_for(DATABASE))
    with tempfile.TemporaryDirectory() as folder:
        archive, shelf = Path(folder, "archive"), Path(folder, "shelf")
        shelf.mkdir()
        dump = [tools.path("pg_dump"), "-Fc", "-Z0", f"--file={archive}"]
        subprocess.run(dump, env={**os.environ, **environment}, check=True)
        store = Store.objects.create(name="bench-shelf", directory=str(shelf))
        key = BackupKey.make("bench", keep=True)[0]
        taken = done(queue(bench.server, "take_backup", {"database": DATABASE, "store": store.name}))

        def bare() -> None:
            with postgres.connect() as connection:
                connection.execute("create database bench_restored")
            restore = [tools.path("pg_restore"), "-j2", "--dbname=bench_restored", str(archive)]
            subprocess.run(restore, env={**os.environ, **environment}, check=True)

        def proven() -> None:
            params = {"backup": taken.result["backup"], "into": "new", "database": "bench_restored"}
            done(queue(bench.server, "restore_backup", params))

        turns = [(of_one_turn(postgres, bare), of_one_turn(postgres, proven)) for _ in range(RUNS)]
        yield Figure("restore_with_proof", min(ours for _, ours in turns) / min(one for one, _ in turns), 1.5)
        key.delete()


def of_one_turn(postgres: Postgres, restore: Callable[[], None]) -> float:
    """Seconds of a restore into bench_restored, after which nothing is left."""
    with postgres.connect() as connection:
        connection.execute("checkpoint")
        started = time.monotonic()
        restore()
        taken = time.monotonic() - started
        connection.execute("drop database bench_restored")
    return taken


def done(run: object) -> object:
    """Do a run that must succeed."""
    from dbadmin.models import Run
    from dbadmin.runner import execute

    assert isinstance(run, Run)
    execute(run.pk)
    run.refresh_from_db()
    assert run.status == Run.Status.SUCCEEDED, run.message
    return run
