"""Restore a backup beside everything else, prove it, and only then give it a name that people use."""

from __future__ import annotations

import io
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backups import catalogue, copies, logical, made_roles, preflight, properties, subscriptions, swap
from backups.archive import Entry, Scanner
from backups.before_restore import SERVERS, Outlook, Wanted, role_statements
from backups.compare import Comparison, compare
from backups.logical import NoTools, Selection, Source, Tools
from backups.manifest import Contents, NoManifest
from backups.models import Backup, BackupKey, Store
from backups.part import in_turn
from backups.pipeline import receive
from backups.preflight import spool_folder
from backups.producer import Producer, given, lines
from backups.reading import keys_for, must_be_same
from backups.reading_ahead import Ahead
from backups.restore_errors import classify
from backups.stores import StoreError
from dbadmin.failures import Told
from dbadmin.models import Server
from dbadmin.operations import Operation, Refused
from dbadmin.steps import Call, Step
from dbadmin.units import duration

if TYPE_CHECKING:
    from dbadmin.runner import Work


class RestoreFailed(Told):
    """The restored database is not what was backed up; a sentence says why. The original is untouched."""


def plan_restore(
    server: Server,
    backup: Backup,
    wanted: Wanted = Wanted(),  # noqa: B008 - it cannot be changed
    operation: Operation | None = None,
) -> Restoring:
    """Look at everything that can be known before; raises Refused. operation: is told what was looked at."""
    return Restoring(backup, ready(server, backup, wanted, operation))


def ready(server: Server, backup: Backup, wanted: Wanted, operation: Operation | None = None) -> Outlook:
    """What was looked at, for a restore that can begin; raises Refused."""
    try:
        manifest = backup.manifest()
    except (StoreError, NoManifest) as reason:
        raise Refused(f"The backup cannot be read: {reason}", field="backup") from reason
    if lacks := BackupKey.lacking(manifest.recipients):
        raise Refused(f"The backup cannot be opened. {lacks}", field="backup")
    outlook = Outlook(server, manifest, wanted)
    if operation is not None:
        operation.checks = outlook.checks
    outlook.refuse()
    return outlook


def chosen_backup(pk: int) -> Backup:
    """The backup that a form named; refuses one that has gone meanwhile."""
    found = Backup.objects.present().filter(pk=pk).select_related("store").first()
    if found is None:
        raise Refused("This backup is not in the catalogue any more.", field="backup")
    return found


def rights_on(server: Server, backup: int) -> list[tuple[str, Server | None]]:
    """Who brings another server's data here must be allowed to take it from there."""
    found = Backup.objects.filter(pk=backup).select_related("server").first()
    if found is None or found.server_id == server.pk:
        return []
    return [("backups.download", found.server)]


def _tools(major: int) -> Tools:
    """At least of this major version: an older pg_restore cannot read the archive, an older pg_dump not the server."""
    try:
        return logical.choose(major)
    except NoTools as reason:
        raise Refused(str(reason)) from reason


@contextmanager
def _room() -> Iterator[None]:
    """The disk of the worker may fill up though there was room when it was looked at."""
    try:
        yield
    except OSError as error:
        raise RestoreFailed(
            f"The archive cannot be unpacked on this worker: {error.strerror}. Free space in {spool_folder()} and "
            "restore again. The original is untouched."
        ) from error


@dataclass
class Restoring:
    """One restore under way; each method is a step of the plan."""

    backup: Backup
    outlook: Outlook
    scratch: str = ""
    started: float = field(default_factory=time.monotonic)
    spool: IO[bytes] = field(default_factory=io.BytesIO)
    entries: Sequence[Entry] = ()
    ahead: Ahead | None = None

    def __post_init__(self) -> None:
        self.server, self.manifest, self.wanted = (
            self.outlook.server,
            self.outlook.manifest,
            self.outlook.wanted,
        )
        self.tools = _tools(self.manifest.tool_major)
        # What proves it asks this server, which may be newer than what wrote the archive.
        self.proving_tools = _tools(max(self.manifest.tool_major, self.outlook.target.major))
        self.missing_roles = () if self.wanted.live else self.outlook.missing_roles
        self.jobs = max(2, self.wanted.jobs)

    @property
    def live(self) -> str:
        """The database that is there and that this is for, if there is one."""
        return self.wanted.over or self.wanted.live

    def steps(self) -> list[Step]:
        """Up to a proven scratch database."""
        shown = swap.beside(self.name, "restore_…")
        first = (
            f"Read {self.backup} from {self.backup.where}, check every byte, and unpack it on this worker."
        )
        steps = [Call(self.fetch, first)]
        if self.missing_roles:
            listed = "\n".join(str(each.as_string(None)) + ";" for each in self._role_statements())
            steps.append(
                Call(self.create_roles, f"-- Create the missing roles, which nobody can sign in as\n{listed}")
            )
        create = self._create_statement(shown).as_string(None)
        return [
            *steps,
            Call(
                self.create,
                f"-- Beside everything else, with the owner of {self.name}\n{create};",
                reverse=f"DROP DATABASE {preflight.quoted(shown)};",
            ),
            Call(
                self.load,
                f"Load it into {shown} with pg_restore {self.tools}, {self.jobs} jobs, to the first error.",
            ),
            Call(
                self.finish,
                f"Give {shown} the rights and settings of {self.name}, then ANALYZE.",
            ),
            Call(
                self.compare, f"Compare {shown} with the manifest: every row, every value, every definition."
            ),
        ]

    @property
    def dsn(self) -> str:
        """What leads into the scratch database: from 17 on no event trigger on login is to write to it, or to refuse
        us. Only a superuser may say so, and only a superuser restores event triggers."""
        dsn, target = self.server.dsn("operate"), self.outlook.target
        if target.major < 17 or not target.is_superuser:
            return dsn
        return make_conninfo(
            dsn, options=f"{conninfo_to_dict(dsn).get('options') or ''} -c event_triggers=off"
        )

    @property
    def name(self) -> str:
        """The database whose place or properties the restored one takes."""
        return self.live or self.backup.database

    def _role_statements(self) -> list[sql.Composed]:
        return role_statements(self.missing_roles, self.outlook.grantee)

    def _create_statement(self, name: str) -> sql.Composed:
        wanted = self.wanted
        return properties.create_statement(
            self.manifest,
            name,
            self.outlook.target.major,
            wanted.sorting != SERVERS,
            self.outlook.places.database,
        )

    def fetch(self, work: Work) -> None:
        self.started = time.monotonic()
        self.backup.lease(work)
        folder = spool_folder()
        folder.mkdir(parents=True, exist_ok=True)
        # A file without a name: whatever happens to this process, the disk is free again afterwards.
        self.spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it outlives this step
        first, *further = self.backup.places()
        try:
            self._unpack(work, first)
        except copies.FAILURES as reason:
            if not any(self._unpack_copy(work, place, reason) for place in further):
                raise
            if isinstance(reason, copies.DAMAGE):
                copies.note_damage(self.backup, first, str(reason))
        work.log(f"The archive of {len(self.manifest.contents.tables)} tables is whole.")

    def _unpack(self, work: Work, place: Store) -> None:
        """From one place, every byte checked; nothing of an earlier try stays in the spool."""
        self.spool.seek(0)
        self.spool.truncate()
        # Each stored byte is held to its hash, each layer to its own; the rows are compared where they are restored.
        scanner, keys = Scanner(digests=False), keys_for(self.manifest, BackupKey.identities())
        volumes = self.manifest.pieces["database"].volumes
        for block in receive(place.open(), volumes, keys, work.stop_if_cancelled):
            scanner.feed(block)
            with _room():
                self.spool.write(block)
            work.progress(scanner.size_bytes, self.manifest.plain_bytes, "bytes")
            work.stop_if_cancelled()
        must_be_same(self.manifest, scanner)
        with _room():
            scanner.write_places(self.spool)
            self.spool.flush()
        self.entries = scanner.header.entries if scanner.header else ()

    def _unpack_copy(self, work: Work, place: Store, reason: Exception) -> bool:
        """A copy in the place of what failed; whether it was whole."""
        work.log(f"{reason} The copy in {place} is read instead.")
        try:
            self._unpack(work, place)
        except copies.FAILURES as failure:
            work.log(f"In {place} as well: {failure}")
            return False
        return True

    def create_roles(self, work: Work) -> None:
        with work.connect() as connection:
            made_roles.make(work, connection, self.missing_roles, self._role_statements())

    def create(self, work: Work) -> None:
        moment = work.run.queued_at.strftime("%Y%m%d_%H%M%S")
        # The run's number in it: two restores that begin in one second have nothing in common.
        self.scratch = swap.beside(self.name, f"restore_{moment}_{work.run.pk}")
        work.remember(scratch=self.scratch)
        with work.connect(preflight.other_database(self.server, [self.name])) as connection:
            connection.execute(self._create_statement(self.scratch))
            connection.execute(properties.owner_statement(self._properties(connection), self.scratch))
            work.remember(scratch_oid=swap.oid(connection, self.scratch))
        work.log(f"Created {self.scratch}.")

    def load(self, work: Work) -> None:
        self.ahead = Ahead(self._source(Selection()), self.entries, self.manifest.contents.tables, work.popen)
        try:
            for wanted in in_turn(self.entries):
                self.pour(work, wanted)
            self.ahead.wait(work.stop_if_cancelled)
            self._tell_ahead(work, self.ahead)
        finally:
            self.ahead.stop()
            self.spool.close()

    def pour(self, work: Work, wanted: Sequence[int], options: Sequence[str] = ()) -> None:
        """Have pg_restore load these entries. wanted: their numbers in the archive; options: more of its own."""
        number = self.spool.fileno()
        command = logical.restore_command(self.tools, self.scratch, f"/proc/self/fd/{number}", self.jobs)
        with tempfile.TemporaryFile(dir=spool_folder()) as chosen:
            with _room():
                chosen.write("".join(f"{each};\n" for each in wanted).encode())
                chosen.flush()
            file = chosen.fileno()
            command[-1:-1] = [
                *options, f"--use-list=/proc/self/fd/{file}", "--verbose",
                *(["--no-tablespaces"] if self.outlook.places.together else []),
            ]  # fmt: skip
            environment = logical.environment(self.dsn, self.scratch)
            process = work.popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, pass_fds=[number, file],
            )  # fmt: skip
            try:
                self._listen(work, process)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()

    def _tell_ahead(self, work: Work, ahead: Ahead) -> None:
        for trouble in ahead.troubles:
            work.log(trouble)
        if ahead.tables:
            named = ", ".join(str(table) for table in ahead.tables)
            work.log(f"Read for the comparison while indexes were built: {named}.")

    def _listen(self, work: Work, process: subprocess.Popen[bytes]) -> None:
        """Follow pg_restore line by line; the first error that is not known to be harmless ends it."""
        done, total = 0, len(self.manifest.contents.definitions) + len(self.manifest.contents.tables)
        harmless = 0
        for line in lines(given(process.stderr)):
            work.stop_if_cancelled()
            if self.ahead:
                self.ahead.hear(line)
            error = classify(line)
            if error and not error.harmless:
                process.terminate()
                raise RestoreFailed(f"{error}. The original is untouched. {error.next}".strip())
            if error:
                harmless += 1
                work.log(str(error))
            elif line.startswith(
                ("pg_restore: finished item", "pg_restore: creating ", "pg_restore: processing data")
            ):
                done += 1
                work.progress(min(done, total), total, "objects")
        code = process.wait()
        if code and not (harmless and code == 1):
            raise RestoreFailed(f"pg_restore ended with status {code}. The original is untouched.")

    def finish(self, work: Work) -> None:
        with work.connect(self.scratch, self.dsn) as connection:
            found, left_out = self._properties(connection), self.outlook.left_out
            work.remember(
                connection_limit=found["connection_limit"]
            )  # in the way of what is still to be done
            for statement in properties.statements(found, self.scratch, left_out):
                connection.execute(statement)
                work.log(statement.as_string(None))
        with work.connect(self.scratch, self.dsn, own_path=False) as connection:
            connection.execute("analyze")  # which runs what indexes are on
        work.log(f"Analyzed {self.scratch}.")

    def _properties(self, connection: psycopg.Connection[Any]) -> dict[str, Any]:
        """Those of the database that is there now, else those that the manifest remembers."""
        there = properties.of_live(connection, self.outlook.like) if self.outlook.like else None
        return there or properties.of_manifest(connection, self.manifest)

    def compare(self, work: Work) -> None:
        """Dump the restored database in the same way and look at what passes by."""
        chosen = self.manifest.selection
        selection = Selection(chosen.get("schemas", ()), [tuple(table) for table in chosen.get("tables", ())])
        made, here = self.manifest.server_major, self.outlook.target.major
        by_name = made != here or self.proving_tools.major != self.manifest.tool_major
        if by_name:
            work.log(
                f"Definitions are compared by name and owner: a dump of PostgreSQL {here} may word them otherwise."
            )
        self._judge(work, compare(self.manifest.contents, self.dumped(work, selection), by_name=by_name))

    def dumped(self, work: Work, selection: Selection) -> Contents:
        """What a dump of the restored database contains now, with what was read of it ahead."""
        source, expected = self._source(selection), self.manifest.plain_bytes
        if self.ahead:
            source = replace(source, without_rows=[(each.schema, each.name) for each in self.ahead.tables])
            expected -= self.ahead.size_bytes
        producer = Producer(
            logical.dump_command(source), source.environment(), work.popen, work.stop_if_cancelled
        )
        scanner = Scanner()
        try:
            for block in producer:
                scanner.feed(block)
                work.progress(scanner.size_bytes, max(expected, scanner.size_bytes), "bytes")
        finally:
            producer.stop()
        found = Contents.of(scanner)
        return self.ahead.add_to(found) if self.ahead else found

    def _source(self, selection: Selection) -> Source:
        encoding = self.manifest.properties.get("dumped_in", "")
        return Source(self.proving_tools, self.dsn, self.scratch, selection, encoding=encoding)

    def _judge(self, work: Work, found: Comparison) -> None:
        for difference in found.differences[:100]:
            work.log(f"Differs: {difference}")
        seconds = time.monotonic() - self.started
        problem = "" if found.nothing_is_lost else found.sentence()
        facts = {
            "run": work.run.pk,
            "says": found.sentence(),
            "differences": [str(each) for each in found.differences[:100]],
        }
        catalogue.prove(self.backup, Backup.Rung.RESTORED, seconds, problem, facts)
        work.result(**facts)
        if problem:
            raise RestoreFailed(
                f"The restored database differs from the backup: {problem} The original is untouched."
            )
        work.log(found.sentence())
        work.log(f"Restored and proven in {duration(seconds)}.")

    def drop_scratch(self, work: Work) -> None:
        subscriptions.drop_database(work, self.scratch)
        self.backup.release(work)
        work.log(f"Dropped {self.scratch}.")
        made_roles.drop(work)
