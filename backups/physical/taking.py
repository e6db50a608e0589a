"""Take a base backup: every file of a cluster by the replication protocol, straight to the store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from backups import leases, store_rules
from backups.copies import DAMAGE, CopyFailed
from backups.manifest import NoManifest, Piece
from backups.models import BackupKey, Store
from backups.physical import manifest as manifests
from backups.physical.files import TAR_END, Files, Nowhere, parse_manifest
from backups.physical.manifest import LIST, BaseManifest
from backups.physical.models import BaseBackup, PointInTime
from backups.physical.replication import (
    MESSAGES_FROM,
    BaseBackupStream,
    ReplicationRefused,
    System,
    identify,
    replication_dsn,
)
from backups.physical.scratch_cluster import AT_LEAST
from backups.pipeline import LEVEL, Damaged, NoKey, checked, fetch_bytes, receive, send
from backups.producer import ProducerFailed
from backups.stores import StoreError
from backups.taking import SUFFIX
from dbadmin import connections
from dbadmin.models import Run, Server
from dbadmin.units import count, duration, size
from dbadmin.work import RunConnection

if TYPE_CHECKING:
    from dbadmin.runner import Work

_FACTS = """
    select clock_timestamp() as at, current_setting('server_version') as version,
           pg_catalog.pg_size_bytes(current_setting('wal_segment_size')) as segment_bytes,
           (select pg_catalog.json_object_agg(name, setting) from pg_catalog.pg_settings
            where name = any(%s)) as settings,
           (select rolname from pg_catalog.pg_roles where oid = 10) as superuser"""


class OtherCluster(ReplicationRefused):
    """The server is not the cluster that the WAL in the store belongs to."""


@dataclass
class Taking:
    """One base backup under way; each method is a step of the plan."""

    point: PointInTime
    prior: BaseBackup | None = None
    why_full: str = ""
    level: int = LEVEL
    prefix: str = ""
    recipients: Sequence[str] = ()
    started_at: datetime = field(default_factory=timezone.now)
    pieces: dict[str, Piece] = field(default_factory=dict)
    facts: Any = None

    @property
    def server(self) -> Server:
        return self.point.server

    @property
    def store(self) -> Store:
        return self.point.store

    def copy(self, work: Work) -> None:
        """Ask the server for all its files, or for what changed, and write each archive as it comes."""
        self.started_at = timezone.now()
        self.recipients = BackupKey.recipients()
        self.prefix = f"{self.server.name}/_pitr/base/{self.started_at:%Y%m%dT%H%M%SZ}-{work.run.pk}"
        work.remember(store=self.store.pk, prefix=self.prefix)
        for warning in store_rules.note(self.store):
            work.log(f"Warning: {warning}")
        stream = self._begin_incremental(work, self.prior) if self.prior else None
        stream = stream or self._begin(work)
        try:
            work.log(f"Begun; the server lists {size(stream.total_bytes)} in its data directory.")
            self._write(work, stream)
        finally:
            stream.connection.close()
        self.stream = stream
        with work.connect() as asking:
            row = asking.execute(_FACTS, [[*AT_LEAST, "shared_preload_libraries"]]).fetchone()
        self.facts = row

    def _begin(self, work: Work, prior_manifest: bytes = b"") -> BaseBackupStream:
        dsn = replication_dsn(self.server.dsn("operate"))
        connection = connections.open_dsn(dsn, work.application_name, RunConnection)
        work.connections.append(connection)  # type: ignore[arg-type]
        stream = BaseBackupStream(
            connection, f"dbadmin run {work.run.pk}", work.stop_if_cancelled, prior_manifest
        )
        try:
            self.must_be_same(identify(connection))
            stream.start()
        except BaseException:
            connection.close()
            raise
        return stream

    def _begin_incremental(self, work: Work, prior: BaseBackup) -> BaseBackupStream | None:
        """Nothing where that cannot be: then a full one is taken, which needs no other."""
        prior.lease(work)
        try:
            return self._begin(work, list_of(prior))
        except OtherCluster:
            raise
        except (ReplicationRefused, ProducerFailed, StoreError, NoManifest, Damaged, NoKey) as reason:
            prior.mark(reason)
            prior.release(work)
            self.prior, self.why_full = None, str(reason)
            work.log(f"It cannot be built on the {prior}: {reason} A full one is taken.")
            return None

    def must_be_same(self, system: System) -> None:
        """Refuse a server that was set up anew behind the same address."""
        if system.system_id != self.point.system_id:
            raise OtherCluster(
                f"{self.server} is another cluster now (system identifier {system.system_id}, the WAL in the store"
                f" belongs to {self.point.system_id}). Switch point-in-time recovery off and on again."
            )

    def _write(self, work: Work, stream: BaseBackupStream) -> None:
        done = 0

        def progress(block: bytes) -> None:
            nonlocal done
            done += len(block)
            work.progress(done, max(stream.total_bytes, done), "bytes")

        is_old = stream.connection.info.server_version < MESSAGES_FROM
        for archive, blocks in stream.archives():
            whole = _ended(blocks) if is_old else blocks
            self.pieces[archive.name] = self._send(work, whole, archive.name, progress)
        self.pieces[LIST] = self._send(work, [stream.manifest], LIST, lambda block: None)
        self.files_count = len(parse_manifest(stream.manifest))

    def _send(self, work: Work, blocks: Any, name: str, inspect: Any) -> Piece:
        stored = send(
            blocks,
            self.store.open(),
            f"{self.prefix}/{name}{SUFFIX[bool(self.recipients)]}",
            self.recipients,
            level=self.level,
            inspect=inspect,
            tick=work.stop_if_cancelled,
        )
        rate = size(stored.plain_bytes / max(stored.seconds, 0.001))
        work.log(f"{name}: {size(stored.plain_bytes)} became {size(stored.stored_bytes)} at {rate}/s.")
        return Piece.of(stored)

    def publish(self, work: Work) -> None:
        """From here on the base backup exists."""
        at, version, segment_bytes, settings, superuser = self.facts
        found = BaseManifest(
            server=self.server.name,
            server_key=str(self.server.key),
            prefix=self.prefix,
            started_at=self.started_at,
            consistent_at=at,
            finished_at=timezone.now(),
            by=work.run.user_name,
            run=work.run.pk,
            server_version=version,
            system_id=self.point.system_id,
            timeline=self.stream.timeline,
            start_lsn=self.stream.start_lsn,
            end_lsn=self.stream.end_lsn,
            segment_bytes=segment_bytes,
            compression=f"zstd {self.level}",
            recipients=list(self.recipients),
            tablespaces=dict(self.stream.tablespaces),
            files_count=self.files_count,
            pieces=self.pieces,
            settings=settings,
            superuser=superuser,
            prior=self.prior.prefix if self.prior else "",
            why_full=self.why_full,
        )
        self.store.open().put(f"{self.prefix}/{manifests.NAME}", found.dump())
        base = enter(self.store, found)
        if self.prior:
            self.prior.release(work)  # what something is built on stays
        work.result(base=base.pk, stored_bytes=found.stored_bytes, plain_bytes=found.plain_bytes)
        work.log(f"{count(self.files_count)} files listed; recoverable from {at:%Y-%m-%d %H:%M:%S} UTC on.")

    def read_back(self, work: Work) -> None:
        prove_read(BaseBackup.objects.get(pk=work.run.result["base"]), work)


def _ended(blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield from blocks
    yield TAR_END


def enter(store: Store, found: BaseManifest) -> BaseBackup:
    """The row of a manifest, made or renewed; what proofs found stays."""
    server = Server.objects.filter(key=found.server_key).first()
    facts: dict[str, Any] = {
        "server": server,
        "server_name": server.name if server else found.server,
        "prior": BaseBackup.objects.get(store=store, prefix=found.prior) if found.prior else None,
        "why_full": found.why_full,
        "run": Run.objects.filter(pk=found.run or 0).first(),
        "system_id": found.system_id,
        "timeline": found.timeline,
        "start_lsn": found.start_lsn,
        "end_lsn": found.end_lsn,
        "started_at": found.started_at,
        "consistent_at": found.consistent_at,
        "finished_at": found.finished_at,
        "server_version": found.server_version,
        "made_by": found.by,
        "encrypted": bool(found.recipients),
        "stored_bytes": found.stored_bytes,
        "plain_bytes": found.plain_bytes,
        "files_count": found.files_count,
    }
    return BaseBackup.objects.update_or_create(store=store, prefix=found.prefix, defaults=facts)[0]


def manifest_of(base: BaseBackup) -> BaseManifest:
    """Read anew from the store."""
    return BaseManifest.load(base.store.open().get(f"{base.prefix}/{manifests.NAME}"))


def list_of(base: BaseBackup) -> bytes:
    """The server's own list of its files."""
    found = manifest_of(base)
    keys = BackupKey.identities() if found.recipients else []
    return fetch_bytes(base.store.open(), found.pieces[LIST].volumes, keys)


def prove_read(base: BaseBackup, work: Work) -> None:
    """Every stored byte read; where a key is at hand, every file compared with the server's own checksum."""
    started = time.monotonic()
    base.lease(work)
    try:
        says = _read(base, work)
    except (*DAMAGE, NoKey) as reason:
        BaseBackup.objects.filter(pk=base.pk).update(problem=str(reason))
        raise
    except StoreError as reason:
        raise CopyFailed(
            f"Whether {base} is whole is not known: {reason} Read it back again when the store answers."
        ) from reason
    finally:
        base.release(work)
    took = time.monotonic() - started
    BaseBackup.objects.filter(pk=base.pk).update(read_at=timezone.now(), read_seconds=took, problem="")
    work.log(says)
    work.log(f"Read back in {duration(took)}.")


def _read(base: BaseBackup, work: Work) -> str:
    found, store, seen = manifest_of(base), base.store.open(), 0
    keys = BackupKey.identities()
    if found.recipients and not keys:
        for piece in found.pieces.values():
            for block in checked(store, piece.volumes):
                seen += len(block)
                work.progress(seen, found.stored_bytes, "bytes")
                work.stop_if_cancelled()
        return (
            f"All {seen} stored bytes have the SHA-256 of the manifest. They were not opened, "
            "because the private key is not kept here."
        )
    opens = keys if found.recipients else []
    files = Files(parse_manifest(fetch_bytes(store, found.pieces[LIST].volumes, opens)))
    for oid, piece in found.archives():
        files.take(receive(store, piece.volumes, opens, work.stop_if_cancelled), oid, Nowhere())
        work.progress(files.size_bytes, max(found.plain_bytes, files.size_bytes), "bytes")
    files.finish()
    return (
        f"{count(found.files_count)} files were read, decrypted, unpacked and have the server's own SHA-256."
    )


def clean_up(work: Work) -> None:
    """What a run that did not end well left in the store; a published base backup stays, for it is whole."""
    leases.end(work)
    store = Store.objects.filter(pk=work.facts.get("store", 0)).first()
    prefix = work.facts.get("prefix")
    if store is None or not prefix:
        return
    opened = store.open_to_tidy(work)
    if opened.head(f"{prefix}/{manifests.NAME}"):
        found = enter(store, BaseManifest.load(opened.get(f"{prefix}/{manifests.NAME}")))
        work.stands(f"The {found} was written completely before this ended; it is in the catalogue.")
        return
    removed = list(opened.abort_stale(f"{prefix}/", timedelta(0)))
    for item in list(opened.items(f"{prefix}/")):
        opened.delete(item.key)
        removed.append(item.key)
    work.log(f"Removed from the store {store}: {', '.join(sorted(set(removed))) or 'nothing was there'}.")
