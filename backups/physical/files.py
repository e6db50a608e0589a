"""The files of a base backup: the server's own list of them with checksums, and the archives that hold them."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from backups.pipeline import Damaged

TAR_BLOCK = 512
#: What ends a tar archive; servers before 15 leave it to their client.
TAR_END = bytes(2 * TAR_BLOCK)


@dataclass(frozen=True)
class Listed:
    """One file as the server listed it."""

    size: int
    sha256: str


def parse_manifest(text: bytes) -> dict[str, Listed]:
    """The server's backup_manifest: every file by its path; refuses one that was altered."""
    place = text.rfind(b'"Manifest-Checksum"')
    try:
        found = json.loads(text)
        told = found["Manifest-Checksum"]
        files = [(_path(each), Listed(each["Size"], each["Checksum"])) for each in found["Files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"The server's backup_manifest cannot be read: {error}.") from error
    if hashlib.sha256(text[:place]).hexdigest() != told:
        raise Damaged("The server's backup_manifest was altered: its own checksum differs.")
    return dict(files)


def _path(each: dict[str, str]) -> str:
    return each["Path"] if "Path" in each else os.fsdecode(bytes.fromhex(each["Encoded-Path"]))


class Tar:
    """The members of a tar archive that passes by, each with its bytes; an early end is an error."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._rest = iter(blocks), memoryview(b"")

    def _pieces(self, size: int) -> Iterator[memoryview]:
        while size:
            if not self._rest:
                self._rest = memoryview(next(self._blocks, b""))
                if not self._rest:
                    raise Damaged("An archive of the base backup ends too early.")
            piece = self._rest[:size]
            self._rest = self._rest[len(piece) :]
            size -= len(piece)
            yield piece

    def members(self) -> Iterator[tuple[tarfile.TarInfo, Iterator[memoryview]]]:
        """Read each member's bytes to the end before the next."""
        while any(head := b"".join(self._pieces(TAR_BLOCK))):
            try:
                member = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                raise Damaged(f"An archive of the base backup is damaged: {error}.") from error
            size = member.size if member.isreg() else 0
            yield member, self._pieces(size)
            for _ in self._pieces(-size % TAR_BLOCK):
                continue
        for _ in self._blocks:
            continue


class Sink(Protocol):
    """Where the files of an archive go."""

    def directory(self, path: str) -> None: ...

    def file(self, path: str) -> Callable[[memoryview], object]:
        """A function that takes the file's bytes, and at last an empty piece."""
        ...


class Nowhere:
    """For reading back: only the checksums are of interest."""

    def directory(self, path: str) -> None:
        """Not made."""

    def file(self, path: str) -> Callable[[memoryview], object]:
        return len


class Directory:
    """Files on the disk, below one directory and nowhere else."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _place(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise Damaged(f"The base backup names a file outside of its directory: {path}.")
        return self.root.joinpath(*parts)

    def directory(self, path: str) -> None:
        self._place(path).mkdir(mode=0o700, parents=True, exist_ok=True)

    def file(self, path: str) -> Callable[[memoryview], object]:
        place = self._place(path)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = open(place, "wb", opener=_private)  # noqa: SIM115 - closed by the empty piece

        def write(piece: memoryview) -> None:
            if piece:
                handle.write(piece)
            else:
                handle.close()

        return write


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Files:
    """Every file of the list, each to be met once in the archives, with the content that the server saw."""

    def __init__(self, listed: dict[str, Listed]) -> None:
        self.waiting = dict(listed)
        self.size_bytes = 0

    def take(self, blocks: Iterable[bytes], oid: str, sink: Sink) -> None:
        """One archive: the data directory, or the tablespace of this oid."""
        below = f"pg_tblspc/{oid}/" if oid else ""
        for member, pieces in Tar(blocks).members():
            path = below + member.name.rstrip("/")
            if member.isdir():
                sink.directory(path)
            elif member.isreg():
                self._take_file(path, pieces, sink)

    def _take_file(self, path: str, pieces: Iterator[memoryview], sink: Sink) -> None:
        listed = self.waiting.pop(path, None)
        if listed is None:
            raise Damaged(f"{path} is in the base backup, but the server did not list it.")
        digest, size, write = hashlib.sha256(), 0, sink.file(path)
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            write(piece)
        write(memoryview(b""))
        self.size_bytes += size
        if size != listed.size:
            raise Damaged(f"{path} has {size} bytes, the server sent {listed.size}.")
        if digest.hexdigest() != listed.sha256:
            raise Damaged(f"{path} is not what the server sent: its SHA-256 differs.")

    def finish(self) -> None:
        """All must have been there."""
        if self.waiting:
            first = min(self.waiting)
            more = f" and {len(self.waiting) - 1} more" if len(self.waiting) > 1 else ""
            raise Damaged(f"The base backup lacks {first}{more}.")
