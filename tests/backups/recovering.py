"""A source whose WAL is received: servers, a receiver as a process of its own, and moments to recover to."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backups.models import BackupKey, BaseBackup, PointInTime, Store
from backups.physical.scratch_cluster import recovered_folder
from backups.physical.spool import spool_folder
from backups.physical.wal import parse_lsn
from dbadmin.models import Run, Server
from devtools.stack import stop_keepers
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.runtime import Process, until
from tests.fixtures.servers import Postgres, server_row


class Source:
    """A server with point-in-time recovery on."""

    def __init__(self, postgres: Postgres, server: Server, store: Store, log: Path) -> None:
        self.postgres, self.server, self.store, self.log = postgres, server, store, log
        self.receivers: list[Process] = []

    @property
    def point(self) -> PointInTime:
        return PointInTime.objects.get(server=self.server)

    @property
    def spool(self) -> Path:
        return spool_folder(self.server.key, self.point.system_id)

    def do(self, name: str, /, **params: Any) -> Run:
        """Carry an operation out; it must succeed."""
        run = carry_out(operation(name, self.server, **params))
        assert run.status == Run.Status.SUCCEEDED, (run.message, log_of(run))
        return run

    def receive(self) -> Process:
        """A receiver, which has sent something."""
        process = self.receive_only()
        self.covered()
        return process

    def receive_only(self) -> Process:
        """A receiver that may be in trouble."""
        process = Process(self.log, "wal_receiver", redis_url="redis://127.0.0.1:1/0")
        self.receivers.append(process)
        return process

    def execute(self, statement: str) -> Any:
        with self.postgres.connect() as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def now(self) -> datetime:
        return self.execute("select clock_timestamp()")[0]  # type: ignore[no-any-return]

    def insert(self, number: int) -> datetime:
        """One committed row, and a moment after it and before the next."""
        self.execute(f"insert into moments values ({number})")
        return self.now()

    def covered(self) -> None:
        """Wait until all that is committed now is in the store."""
        moment = self.now()
        try:
            until(lambda: self._covered_at() and self._covered_at() > moment, 60)
        except AssertionError as error:
            files = sorted((path.name, path.stat().st_size) for path in self.spool.iterdir())
            raise AssertionError(f"{error}; {self.point.problem or 'no problem is told'}; {files}") from error

    def _covered_at(self) -> Any:
        return PointInTime.objects.values_list("covered_at", flat=True).get(server=self.server)

    def switch(self) -> None:
        """End the segment, and wait until it is stored whole."""
        self.execute("select pg_logical_emit_message(true, 'test', 'there is something in it')")
        end = parse_lsn(self.execute("select pg_switch_wal()")[0])
        number = (end - 1) // self.point.segment_bytes
        until(lambda: self.server.wal_segments.filter(kind="segment", number=number).exists())

    def base(self) -> BaseBackup:
        return BaseBackup.objects.get(pk=self.do("take_base_backup").result["base"])


@pytest.fixture
def nothing_left(transactional_db: None) -> Iterator[None]:
    """Keepers end with the test, before the control database is emptied."""
    yield
    stop_keepers(recovered_folder())
    until(lambda: not recovered_folder().is_dir() or not any(recovered_folder().iterdir()))


@pytest.fixture
def make_source(
    nothing_left: None,
    new_postgres: Callable[..., Postgres],
    store: Store,
    key: BackupKey,
    tmp_path: Path,
) -> Iterator[Callable[..., Source]]:
    """make_source(max_wal_senders="5") starts a server, switches it on, and receives."""
    made: list[Source] = []

    def start(ship_seconds: int = 1, kept_in: Store = store, **settings: str) -> Source:
        postgres = new_postgres(**{"wal_level": "replica", "autovacuum": "off", **settings})
        log = tmp_path / f"receiver-{len(made)}.log"
        source = Source(postgres, server_row(f"source-{len(made)}", postgres), kept_in, log)
        made.append(source)
        source.execute(
            "create table moments (number int primary key, at timestamptz default clock_timestamp())"
        )
        source.do(
            "switch_on_point_in_time",
            store=kept_in.name,
            ship_seconds=ship_seconds,
            heartbeat=True,
            database="postgres",
        )
        source.receive()
        return source

    yield start
    for source in made:
        for process in source.receivers:
            process.end()
        print(f"--- {source.log}\n{source.log.read_text() if source.log.exists() else ''}")


@pytest.fixture
def source(make_source: Callable[..., Source]) -> Source:
    """One of them."""
    return make_source()
