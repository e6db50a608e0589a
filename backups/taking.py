"""Take a backup: globals, the database in one exported snapshot, the manifest last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from django.utils import timezone

from backups import catalogue, copies, logical, store_rules
from backups.archive import Scanner
from backups.copies import CopyFailed
from backups.logical import Selection, Source, Tools
from backups.manifest import NAME, Contents, Manifest, Piece, read_facts
from backups.models import Backup, Store
from backups.pipeline import LEVEL, WORKERS, Stored, send
from backups.producer import Producer
from backups.stores import StoreError
from dbadmin.units import count, size

if TYPE_CHECKING:
    from dbadmin.models import Server
    from dbadmin.runner import Work

SUFFIX = {True: ".zst.age", False: ".zst"}


@dataclass
class Taking:
    """One backup under way; each method is a step of the plan."""

    server: Server
    database: str
    store: Store
    tools: Tools
    selection: Selection = field(default_factory=Selection)
    level: int = LEVEL
    #: As the plan said: what is changed while the run is at work holds for the next.
    recipients: Sequence[str] = ()
    prefix: str = ""
    started_at: datetime = field(default_factory=timezone.now)
    pieces: dict[str, Piece] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    scanner: Scanner = field(default_factory=Scanner)
    #: Where it is read from, when not from the server itself, and how the catalogue then calls it.
    dsn: str = field(default="", repr=False)
    name: str = ""

    @property
    def source(self) -> Source:
        dsn, properties = self.dsn or self.server.dsn("operate"), self.facts.get("properties", {})
        encoding = properties.get("dumped_in", "")
        return Source(self.tools, dsn, self.database, self.selection, encoding=encoding)

    def begin(self, work: Work) -> None:
        """Everything that could be left over is announced before it is made."""
        self.started_at = timezone.now()
        self.prefix = catalogue.prefix_for(
            self.server.name, self.name or self.database, self.started_at, work.run.pk
        )
        work.remember(store=self.store.pk, prefix=self.prefix)
        for warning in store_rules.note(self.store):
            work.log(f"Warning: {warning}")

    def write_globals(self, work: Work) -> None:
        self.begin(work)
        with_passwords = bool(self.recipients) and self._reads_passwords(work)
        command = logical.globals_command(self.source, with_passwords)
        stored = self._send(work, command, "globals.sql", Scanless())
        self.pieces["globals"] = Piece.of(stored)
        words = "with password hashes" if with_passwords else "without password hashes"
        work.log(f"Roles, their settings and tablespaces written, {words}.")

    def _reads_passwords(self, work: Work) -> bool:
        with work.connect(self.database, self.dsn) as connection:
            row = connection.execute(
                "select has_table_privilege('pg_catalog.pg_authid', 'select')"
            ).fetchone()
        return bool(row and row[0])

    def dump(self, work: Work) -> None:
        holder = work.connect(self.database, self.dsn)
        try:
            snapshot = self._open_snapshot(holder)
            work.log(f"Snapshot {snapshot} at WAL position {self.facts['snapshot']['lsn']}.")
            in_recovery = self.facts["snapshot"]["in_recovery"]
            command = logical.dump_command(self.source, snapshot, unlogged=not in_recovery)
            watcher = Watched(self.scanner, work, int(self.facts["findings"]["table_bytes"]), holder)
            stored = self._send(work, command, "database.dump", watcher)
        finally:
            holder.close()
        self.scanner.finish()
        self.pieces["database"] = Piece.of(stored)
        rate = size(stored.plain_bytes / max(stored.seconds, 0.001))
        work.log(f"{size(stored.plain_bytes)} became {size(stored.stored_bytes)} at {rate}/s.")

    def _open_snapshot(self, holder: psycopg.Connection[Any]) -> str:
        holder.execute("set idle_in_transaction_session_timeout = 0")
        # What asks for no lock has no need of it: nothing that is looked at here may wait longer than pg_dump does.
        holder.execute("select pg_catalog.set_config('lock_timeout', %s, false)", [logical.LOCK_WAIT])
        holder.execute("begin isolation level repeatable read, read only")
        self.facts = read_facts(holder)
        row = holder.execute("select pg_catalog.pg_export_snapshot()").fetchone()
        return str(row[0]) if row else ""

    def _send(self, work: Work, command: list[str], name: str, watcher: Watched | Scanless) -> Stored:
        producer = Producer(command, self.source.environment(), work.popen, work.stop_if_cancelled)
        try:
            return send(
                producer,
                self.store.open(),
                f"{self.prefix}/{name}{SUFFIX[bool(self.recipients)]}",
                self.recipients,
                level=self.level,
                workers=WORKERS,
                inspect=watcher,
                tick=work.stop_if_cancelled,
            )
        finally:
            producer.stop()

    def publish(self, work: Work) -> None:
        """From here on the backup exists."""
        manifest = self._manifest(work)
        self.store.open().put(f"{self.prefix}/{NAME}", manifest.dump())
        self.scanner = Scanner()  # reading back has one of its own, and both would be large
        backup = catalogue.enter(self.store, manifest)
        work.result(
            backup=backup.pk,
            stored_bytes=manifest.stored_bytes,
            plain_bytes=manifest.plain_bytes,
            tables=backup.tables_count,
            rows=backup.total_rows,
        )
        work.log(f"{count(backup.total_rows)} rows of {backup.tables_count} tables listed in the manifest.")

    def _manifest(self, work: Work) -> Manifest:
        header = self.scanner.finish()
        return Manifest(
            server=self.server.name,
            server_key=str(self.server.key),
            database=self.name or self.database,
            prefix=self.prefix,
            started_at=self.started_at,
            finished_at=timezone.now(),
            by=work.run.user_name,
            run=work.run.pk,
            server_version=header.server_version,
            tool=f"pg_dump {header.tool_version}",
            archive_version=".".join(str(part) for part in header.version),
            compression=f"zstd {self.level}",
            recipients=list(self.recipients),
            selection=asdict(self.selection),
            pieces=self.pieces,
            contents=Contents.of(self.scanner),
            **self.facts,
        )

    def read_back(self, work: Work) -> None:
        copies.prove(Backup.objects.get(pk=work.run.result["backup"]), work)

    def copy(self, work: Work, targets: Sequence[Store]) -> None:
        """To each further store; one that fails does not keep the others from theirs."""
        backup = Backup.objects.get(pk=work.run.result["backup"])
        if problems := copies.make_missing(backup, targets, work):
            raise CopyFailed(
                f"{'; '.join(problems)} It is whole in {backup.store}. "
                "What makes the copy: the operation “Copy backups”, by hand or on a schedule."
            )


class Scanless:
    """For streams that are no archive."""

    def __call__(self, block: bytes) -> None:
        """Nothing to see."""


@dataclass
class Watched:
    """Looks at the archive as it passes by: its contents, the progress, when the snapshot may go."""

    scanner: Scanner
    work: Work
    expected_bytes: int
    holder: psycopg.Connection[Any]

    def __call__(self, block: bytes) -> None:
        known = self.scanner.header
        self.scanner.feed(block)
        if known is None and self.scanner.header is not None:
            # pg_dump writes only after it has taken the snapshot over and locked its tables.
            self.holder.close()
            tables = sum(entry.has_data for entry in self.scanner.header.entries)
            self.work.log(f"pg_dump has locked its tables and begins to send the data of {tables}.")
        done = self.scanner.size_bytes
        self.work.progress(done, max(self.expected_bytes, done), "bytes")


def clean_up(work: Work) -> None:
    """What a run that did not end well left in the stores; a published backup stays, for it is whole."""
    copies.clean_up(work)
    for pk, prefix in [*work.facts.get("left", []), _begun(work)]:
        _remove(work, pk, prefix)
    work.remember(left=[])


def clean_up_quietly(work: Work) -> None:
    """The same in the middle of a run: a store that does not answer keeps nothing else from being backed up."""
    try:
        clean_up(work)
    except StoreError as reason:
        work.log(f"What it left is still there: {reason}")
        work.remember(left=[*work.facts.get("left", []), _begun(work)])
    work.remember(prefix="")


def _begun(work: Work) -> list[Any]:
    """The store and the prefix of what the run writes now."""
    return [work.facts.get("store", 0), work.facts.get("prefix", "")]


def _remove(work: Work, pk: int, prefix: str) -> None:
    store = Store.objects.filter(pk=pk).first()
    if store is None or not prefix:
        return
    opened = store.open_to_tidy(work)
    if opened.head(f"{prefix}/{NAME}"):
        backup = catalogue.enter(store, Manifest.load(opened.get(f"{prefix}/{NAME}")))
        work.stands(
            f"The backup of {backup} was written completely before this ended; it is in the catalogue."
        )
        return
    names = [f"{prefix}/{name}{end}" for name in ("globals.sql", "database.dump") for end in SUFFIX.values()]
    removed = [key for each in (f"{prefix}/", *names) for key in opened.abort_stale(each, timedelta(0))]
    for item in list(opened.items(f"{prefix}/")):
        opened.delete(item.key)
        removed.append(item.key)
    work.log(f"Removed from the store {store}: {', '.join(sorted(set(removed))) or 'nothing was there'}.")
