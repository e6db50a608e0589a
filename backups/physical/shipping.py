"""From the spool to the store: whole segments once, the segment that is being written again and again."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Any

from django.utils import timezone

from backups.models import BackupKey
from backups.physical import marks as kept_marks
from backups.physical.marks import Mark
from backups.physical.models import PointInTime, WalSegment
from backups.physical.spool import Spool, blocks_of, filled_bytes, whole_pages
from backups.physical.wal import segment_place
from backups.pipeline import send
from backups.stores import Store
from backups.taking import SUFFIX
from dbadmin.failures import Told

Kind = WalSegment.Kind

#: A shorter part stays so long, in seconds, after the longer one came: who read the list before may yet fetch it.
GRACE = 60
#: Ends the key of an object that holds the beginning of a segment.
PART_KEY = re.compile(r"\.partial\.zst(\.age)?$")


class OtherContent(Told):
    """A segment of this name is stored with other bytes: two clusters write one history."""


class Shipper:
    """Sends the WAL of one server; what is stored already is sent a second time only if it is not the same."""

    def __init__(self, point: PointInTime, spool: Spool) -> None:
        self.point, self.spool = point, spool
        self.store = point.store.open()
        self.marks: list[Mark] = []
        self._partials: dict[str, tuple[int, int]] = {}
        self._outdated: deque[tuple[float, str]] = deque()

    def rows(self) -> Any:
        return WalSegment.objects.filter(server=self.point.server, system_id=self.point.system_id)

    def ship_closed(self) -> None:
        """Histories, then every whole segment, oldest first; what is stored leaves the spool."""
        for path in self.spool.histories():
            self._ship_history(path)
        stored = []
        for path in self.spool.closed():
            if not self.spool.is_seed(path):
                self._ship_segment(path)
            stored.append(path)
        self.spool.remove_but_newest(stored)

    def _ship_history(self, path: Path) -> None:
        if not self.rows().filter(name=path.name, problem="").exists():
            text = path.read_text()
            self._send(path, Kind.HISTORY, path.stat().st_size, content=text)

    def _ship_segment(self, path: Path) -> None:
        known = self.rows().filter(name=path.name).first()
        if known is not None and not known.problem:
            if known.plain_sha256 != digest_of(path, self.spool.segment_bytes):
                raise OtherContent(
                    f"{path.name} is in the store with other bytes than the server sends now. Two servers write "
                    "the same timeline, or this one was set back. Switch point-in-time recovery off and on again."
                )
            return
        partial = self.rows().filter(name=f"{path.name}.partial").first()
        known_marks = kept_marks.unpacked(partial.marks) if partial else []
        self._send(path, Kind.SEGMENT, self.spool.segment_bytes, known_marks)
        if partial is not None:
            remove_parts(self.store, partial)
            partial.delete()

    def ship_partial(self, flushed: int | None) -> int | None:
        """The segment that is being written, if it grew; the position up to which WAL is in the store now."""
        position = None
        partials = self.spool.partials()
        newest = max((self._place(path) for path in partials), default=None)
        for path in partials:
            try:
                end = self._ship_part(path, flushed)
            except FileNotFoundError:
                continue  # it was closed meanwhile; the next turn sends it whole
            if self._place(path) == newest:
                position = end
            else:
                path.unlink(missing_ok=True)  # its timeline has ended, and it is stored
        return position

    def _place(self, path: Path) -> tuple[int, int]:
        return segment_place(path.name[:24], self.spool.segment_bytes)

    def _ship_part(self, path: Path, flushed: int | None) -> int:
        state = path.stat()
        length, start = filled_bytes(path), self._place(path)[1] * self.spool.segment_bytes
        end = min(max(start + length, flushed or 0), start + self.spool.segment_bytes)
        seen = (state.st_mtime_ns, length)
        if not length:
            return end
        if self._partials.get(path.name) == seen or not self._send_part(path, length, end):
            # Nothing new but the position: the server sent what is all zeros.
            self.rows().filter(name=path.name, end_lsn__lt=end).update(end_lsn=end)
        self._partials = {path.name: seen}
        return end

    def _send_part(self, path: Path, length: int, end: int) -> bool:
        """Send the beginning of a segment, unless a receiver before this one has sent the same.

        A part that grew is an object of its own, named by its length, and the shorter one goes later: whoever reads
        meanwhile, or after we died in between, finds what the row says.
        """
        known = self.rows().filter(name=path.name).first()
        if self._is_stored(known, path, length):
            return False
        known_marks = kept_marks.unpacked(known.marks) if known else []
        called = part_name(path.name, length)
        key = self._send(path, Kind.PARTIAL, whole_pages(length), known_marks, end=end, called=called)
        if known is not None and known.key != key:
            self._outdated.append((time.monotonic(), known.key))
            while self._outdated[0][0] < time.monotonic() - GRACE:
                self.store.delete(self._outdated.popleft()[1])
        return True

    def _is_stored(self, known: WalSegment | None, path: Path, length: int) -> bool:
        """Whether a receiver before this one has sent the same part."""
        return (
            known is not None
            and not known.problem
            and known.plain_bytes == whole_pages(length)
            and known.plain_sha256 == digest_of(path, known.plain_bytes)
        )

    def _send(
        self,
        path: Path,
        kind: str,
        length: int,
        known: list[Mark] | None = None,
        content: str = "",
        end: int = 0,
        called: str = "",
    ) -> str:
        """The object first, then its row: a row always finds its object. Returns the object's key."""
        digest, recipients = hashlib.sha256(), BackupKey.recipients()
        key = f"{self.point.folder}/{called or path.name}{SUFFIX[bool(recipients)]}"
        stored = send(blocks_of(path, length), self.store, key, recipients, workers=0, inspect=digest.update)
        timeline, number = (int(path.name[:8], 16), 0) if kind == Kind.HISTORY else self._place(path)
        end_lsn = end or (number + 1) * self.spool.segment_bytes if kind != Kind.HISTORY else 0
        known = [*(known or []), *(mark for mark in self.marks if mark.lsn <= end_lsn)]
        known = sorted({mark.at: mark for mark in known}.values())
        WalSegment.objects.update_or_create(
            server=self.point.server,
            system_id=self.point.system_id,
            name=path.name,
            defaults={
                "store": self.point.store, "kind": kind, "key": stored.volumes[0].key, "timeline": timeline,
                "number": number, "end_lsn": end_lsn, "plain_bytes": stored.plain_bytes,
                "plain_sha256": digest.hexdigest(), "stored_bytes": stored.stored_bytes,
                "sha256": stored.volumes[0].sha256, "encrypted": bool(recipients),
                "stored_at": timezone.now(), "until_at": known[-1].at if known else None,
                "marks": kept_marks.packed(known), "content": content, "problem": "",
            },
        )  # fmt: skip
        if kind == Kind.SEGMENT:
            self.marks = [mark for mark in self.marks if mark.lsn > end_lsn]
        return stored.volumes[0].key

    def cover(self, position: int) -> datetime | None:
        """The newest moment before which everything is stored; marks that a part carries already are let go."""
        done = [mark for mark in self.marks if mark.lsn <= position]
        if not done:
            return None
        self.marks = [done[-1], *(mark for mark in self.marks if mark.lsn > position)]
        return done[-1].at


def remove_parts(store: Store, partial: WalSegment) -> None:
    """Every beginning of a segment, the shorter ones that stayed for a while as well."""
    for part in list(store.items(f"{partial.key.rpartition('/')[0]}/{partial.name[:24]}.")):
        if PART_KEY.search(part.key):
            store.delete(part.key)


def part_name(name: str, length: int) -> str:
    """NAME.partial with its length in bytes, in hexadecimal, before the ending: the last by name is the longest."""
    return f"{name.removesuffix('.partial')}.{length:08x}.partial"


def digest_of(path: Path, length: int) -> str:
    digest = hashlib.sha256()
    for block in blocks_of(path, length):
        digest.update(block)
    return digest.hexdigest()
