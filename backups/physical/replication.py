"""What a walsender understands: who the cluster is, and a copy of all its files as a stream of tar archives."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import DiagnosticField, ExecStatus

from backups.physical.wal import parse_lsn
from backups.producer import STALL_SECONDS, ProducerFailed
from dbadmin.failures import Told

#: Blocks of this size go on; the server sends them in pieces of 32 KiB.
BLOCK = 256 << 10
#: From this version on all archives come as one stream of messages, with options in brackets.
MESSAGES_FROM = 150000
#: From this version on a base backup can hold only what changed since an earlier one.
INCREMENTAL_FROM = 170000
OK = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.COPY_OUT)


class ReplicationRefused(Told):
    """The server does not let us replicate; its own words."""


@dataclass(frozen=True)
class System:
    """Which cluster this is, and where its WAL stands."""

    system_id: str
    timeline: int
    lsn: int


@dataclass(frozen=True)
class Archive:
    """One tar archive of a base backup: the data directory, or a tablespace by its oid and path."""

    name: str
    path: str = ""

    @property
    def oid(self) -> str:
        return self.name.removesuffix(".tar") if self.path else ""


def replication_dsn(dsn: str) -> str:
    """The same way, to a walsender."""
    return make_conninfo(dsn, replication="true")


def ask(connection: psycopg.Connection[Any], command: str) -> list[tuple[str, ...]]:
    """The rows that a command of the replication protocol gives."""
    result = connection.pgconn.exec_(command.encode())
    if result.status not in OK:
        raise ReplicationRefused(_words(result))
    return [
        tuple((result.get_value(row, column) or b"").decode() for column in range(result.nfields))
        for row in range(result.ntuples)
    ]


DATA_CORRUPTED = b"XX001"
ALTERED = (
    " A page on the disk of the server is not what was written there. Its log names the file: restore what that "
    "belongs to, and look after the disk, before the backups from before expire."
)


def _words(result: Any) -> str:
    text = result.error_message.decode("utf-8", "replace").strip().removeprefix("ERROR:").strip()
    said = " ".join(text.split()).rstrip(".") + "."
    return said + ALTERED if result.error_field(DiagnosticField.SQLSTATE) == DATA_CORRUPTED else said


def identify(connection: psycopg.Connection[Any]) -> System:
    """Who is at the other end."""
    system_id, timeline, lsn, *_ = ask(connection, "IDENTIFY_SYSTEM")[0]
    return System(system_id, int(timeline), parse_lsn(lsn))


def _quoted(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


def upload_manifest(connection: psycopg.Connection[Any], manifest: bytes) -> None:
    """Tell the server which earlier base backup the next one is to be built on."""
    pgconn = connection.pgconn
    result = pgconn.exec_(b"UPLOAD_MANIFEST")
    if result.status != ExecStatus.COPY_IN:
        raise ReplicationRefused(_words(result))
    for start in range(0, len(manifest), BLOCK):
        pgconn.put_copy_data(manifest[start : start + BLOCK])
    pgconn.put_copy_end()
    while (ended := pgconn.get_result()) is not None:
        if ended.status != ExecStatus.COMMAND_OK:
            raise ReplicationRefused(_words(ended))


def base_backup_command(version: int, label: str, incremental: bool) -> str:
    """The spelling that this version understands; no WAL, which is streamed beside."""
    if version >= MESSAGES_FROM:
        only = ", INCREMENTAL" if incremental else ""
        return (
            f"BASE_BACKUP (LABEL {_quoted(label)}, PROGRESS true, CHECKPOINT 'fast', WAIT false,"
            f" TABLESPACE_MAP true, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256'{only})"
        )
    return (
        f"BASE_BACKUP LABEL {_quoted(label)} PROGRESS FAST NOWAIT TABLESPACE_MAP"
        " MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'"
    )


@dataclass
class BaseBackupStream:
    """A base backup under way: iterate over `archives`, and read each to its end before the next."""

    connection: psycopg.Connection[Any]
    label: str
    tick: Callable[[], None] = lambda: None
    prior_manifest: bytes = b""
    start_lsn: int = 0
    end_lsn: int = 0
    timeline: int = 0
    total_bytes: int = 0
    tablespaces: Mapping[str, str] = field(default_factory=dict)
    manifest: bytes = b""
    _next: tuple[str, Archive | bytes | None] | None = None
    _order: list[Archive] = field(default_factory=list)

    def start(self) -> None:
        """Ask for it, and learn where it starts and what there is."""
        if self.prior_manifest:
            upload_manifest(self.connection, self.prior_manifest)
        version = self.connection.info.server_version
        command = base_backup_command(version, self.label, bool(self.prior_manifest))
        self.connection.pgconn.send_query(command.encode())
        start = self._result()
        self.start_lsn, self.timeline = parse_lsn(_text(start, 0, 0)), int(_text(start, 0, 1))
        listed = self._result()
        rows = [[_text(listed, row, column) for column in range(3)] for row in range(listed.ntuples)]
        self.tablespaces = {oid: path for oid, path, _ in rows if oid}
        self.total_bytes = sum(int(size or 0) for *_, size in rows) << 10
        self._order = [Archive(f"{oid}.tar", path) if oid else Archive("base.tar") for oid, path, _ in rows]

    def archives(self) -> Iterator[tuple[Archive, Iterator[bytes]]]:
        """Each archive with its blocks; the manifest and the end of the WAL that it needs are known afterwards."""
        is_new = self.connection.info.server_version >= MESSAGES_FROM
        messages = self._messages() if is_new else self._copies()
        self._next = next(messages, None)
        while self._next is not None:
            kind, what = self._next
            if isinstance(what, Archive):
                self._next = ("data", b"")
                yield what, self._blocks(messages)
                if self._next is not None and self._next[0] == "data":
                    raise ProducerFailed(f"The archive {what.name} was not read to its end.")
            elif kind == "manifest":
                self.manifest = b"".join(self._blocks(messages))
        self._finish()

    def _blocks(self, messages: Iterator[tuple[str, Archive | bytes | None]]) -> Iterator[bytes]:
        """The data that follows, in larger pieces, up to the next archive."""
        pieces: list[bytes] = []
        size, message = 0, next(messages, None)
        while message is not None and isinstance(message[1], bytes):
            pieces.append(message[1])
            size += len(message[1])
            if size >= BLOCK:
                yield b"".join(pieces)
                pieces, size = [], 0
            message = next(messages, None)
        self._next = message
        if pieces:
            yield b"".join(pieces)

    def _messages(self) -> Iterator[tuple[str, Archive | bytes | None]]:
        """One copy holds all; the first byte of each piece says what it is."""
        self._result(ExecStatus.COPY_OUT)
        for piece in self._copy():
            match piece[:1]:
                case b"d":
                    yield "data", piece[1:]
                case b"n":
                    name, path = piece[1:].split(b"\0")[:2]
                    yield "archive", Archive(name.decode(), path.decode())
                case b"m":
                    yield "manifest", None

    def _copies(self) -> Iterator[tuple[str, Archive | bytes | None]]:
        """Before 15: one copy for each tablespace, and one for the manifest."""
        for archive in [*self._order, None]:
            self._result(ExecStatus.COPY_OUT)
            yield ("archive", archive) if archive else ("manifest", None)
            for piece in self._copy():
                yield "data", piece

    def _copy(self) -> Iterator[bytes]:
        """The pieces of one copy, without ever waiting where nobody could stop us."""
        pgconn, waited = self.connection.pgconn, 0
        while True:
            size, data = pgconn.get_copy_data(1)
            if size > 0:
                yield bytes(data)
                waited = 0
            elif size == 0:
                waited += self._wait()
                if waited > STALL_SECONDS:
                    raise ProducerFailed(f"The server has sent nothing for {waited} seconds.")
            else:
                return

    def _wait(self) -> int:
        """For more to read, at most a second; how many seconds passed without any."""
        readable = select.select([self.connection.pgconn.socket], [], [], 1)[0]
        self.tick()
        self.connection.pgconn.consume_input()
        return 0 if readable else 1

    def _result(self, wanted: ExecStatus = ExecStatus.TUPLES_OK) -> Any:
        """The next result, which must be of this kind."""
        pgconn, waited = self.connection.pgconn, 0
        while pgconn.is_busy():
            waited += self._wait()
            if waited > STALL_SECONDS:
                raise ProducerFailed(f"The server has answered nothing for {waited} seconds.")
        result = pgconn.get_result()
        if result is None:
            raise ProducerFailed("The server ended the base backup before it was complete.")
        if result.status != wanted:
            raise ProducerFailed(f"The server broke the base backup off: {_words(result)}")
        return result

    def _finish(self) -> None:
        """The last result says up to where WAL is needed; an error may still come, and counts."""
        end = self._result()
        self.end_lsn = parse_lsn(_text(end, 0, 0))
        while (rest := self.connection.pgconn.get_result()) is not None:
            if rest.status not in OK:
                raise ProducerFailed(f"The server broke the base backup off: {_words(rest)}")


def _text(result: Any, row: int, column: int) -> str:
    return (result.get_value(row, column) or b"").decode()
