"""Where received WAL lies until it is in the store: a directory that pg_receivewal fills and we empty."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from backups.physical.wal import HISTORY, PARTIAL, SEGMENT, segment_place

BLOCK = 1 << 20
PAGE = 8 << 10


def spool_folder(server_key: object, system_id: str) -> Path:
    """The directory of one cluster's WAL on this host."""
    return Path(settings.DBADMIN_STATE) / "wal" / str(server_key) / system_id


class Spool:
    """The files of one cluster, by what they are."""

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        self.folder, self.segment_bytes = folder, segment_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _named(self, pattern: object) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if pattern.match(path.name))  # type: ignore[attr-defined]

    def closed(self) -> list[Path]:
        """Whole segments, oldest first."""
        whole = [path for path in self._named(SEGMENT) if path.stat().st_size == self.segment_bytes]
        return sorted(whole, key=lambda path: segment_place(path.name, self.segment_bytes)[::-1])

    def histories(self) -> list[Path]:
        return self._named(HISTORY)

    def partials(self) -> list[Path]:
        """What is being written, and what a timeline left behind when it ended."""
        return self._named(PARTIAL)

    def size_bytes(self) -> int:
        """What the directory takes on the disk."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.iterdir())

    def is_empty(self) -> bool:
        return not self._named(SEGMENT) and not self.partials()

    def seed(self, name: str) -> None:
        """Let pg_receivewal go on behind this segment, which is stored: it looks at names and sizes only."""
        with (self.folder / name).open("wb") as file:
            file.truncate(self.segment_bytes)

    @staticmethod
    def is_seed(path: Path) -> bool:
        """A file of the right size without any content was never received."""
        return path.stat().st_blocks == 0

    def remove_but_newest(self, stored: list[Path]) -> None:
        """The newest whole segment stays: it tells pg_receivewal where to go on."""
        newest = self.closed()[-1:]
        for path in stored:
            if path not in newest:
                path.unlink(missing_ok=True)

    def drop_torn(self) -> None:
        """Remove a file that pg_receivewal died over before its zeros were all laid out: it would refuse it for ever.

        Nothing was received into it: content follows when the file has its full size.
        """
        for path in self.partials():
            if path.stat().st_size not in (0, self.segment_bytes):
                path.unlink()

    def clear(self) -> None:
        """Forget what is stored, the part too, so that the next receiver begins where the slot stands."""
        for path in [*self._named(SEGMENT), *self.partials()]:
            path.unlink()


def blocks_of(path: Path, length: int) -> Iterator[bytes]:
    """The first bytes of a file."""
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(BLOCK, length))):
            length -= len(block)
            yield block


def filled_bytes(path: Path) -> int:
    """How far a preallocated segment has been written: up to its last byte that is not zero."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            block = file.read(end - start).rstrip(b"\0")
            if block:
                return start + len(block)
            end = start
    return 0


def whole_pages(length: int) -> int:
    """Rounded up to a page of WAL."""
    return -(-length // PAGE) * PAGE
