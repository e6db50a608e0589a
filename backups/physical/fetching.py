"""From the store back: the WAL of a recovery, all of it before anything is replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import models

from backups.models import BackupKey
from backups.physical.models import PointInTime, WalSegment
from backups.physical.wal import segment_name
from backups.pipeline import Damaged, Volume, receive
from backups.stores.base import Unreadable
from dbadmin.failures import Told
from dbadmin.units import count, size

if TYPE_CHECKING:
    from dbadmin.runner import Work


#: How often a part that is being replaced is asked for again.
ATTEMPTS = 20


class MissingWal(Told):
    """A segment that the recovery needs is not there: it would silently end too early."""


def fetch_wal(work: Work, point: PointInTime, segments: Sequence[tuple[int, int]], folder: Path) -> None:
    """Every segment that will be asked for, whole and compared, and the histories of all timelines."""
    done = 0
    for place, (timeline, number) in enumerate(segments):
        name = segment_name(timeline, number, point.segment_bytes)
        done += fetch_segment(work, point, name, folder / name, is_last=place == len(segments) - 1)
        work.progress(place + 1, len(segments), "segments")
    for row in _rows(point).filter(kind=WalSegment.Kind.HISTORY):
        fetch(work, row, folder / row.name, 0)
    work.log(f"{count(len(segments))} segments of WAL ({size(done)}) are at hand, without a gap.")


def _rows(point: PointInTime) -> models.QuerySet[WalSegment]:
    return WalSegment.objects.filter(server=point.server, system_id=point.system_id).select_related("store")


def fetch_segment(work: Work, point: PointInTime, name: str, path: Path, is_last: bool) -> int:
    """The whole segment; of the last one, also the part that is there. A part may be replaced while we read it."""
    for attempt in range(ATTEMPTS):
        row = _rows(point).filter(name=name).first()
        if row is None and is_last:
            row = _rows(point).filter(name=f"{name}.partial").first()
        if row is None or row.problem:
            break
        try:
            return fetch(work, row, path, point.segment_bytes)
        except MissingWal:
            if row.kind != WalSegment.Kind.PARTIAL or attempt == ATTEMPTS - 1:
                raise
            work.pause(0.5)
    raise MissingWal(
        f"The WAL segment {name} is not in the store {point.store}: the recovery would end there without a word."
        " Choose a moment before it, or one after the next base backup."
    )


def fetch(work: Work, row: WalSegment, path: Path, full_bytes: int) -> int:
    """One object, compared with what was received; the part of a segment is filled up with zeros."""
    keys = BackupKey.identities() if row.encrypted else []
    volumes, digest, length = [Volume(row.key, row.stored_bytes, row.sha256)], hashlib.sha256(), 0
    try:
        with path.open("wb") as file:
            for block in receive(row.store.open(), volumes, keys, work.stop_if_cancelled):
                digest.update(block)
                length += len(block)
                file.write(block)
            if full_bytes:
                file.truncate(full_bytes)
        if length != row.plain_bytes or digest.hexdigest() != row.plain_sha256:
            raise Damaged("its SHA-256 is not that of what was received.")
    except (Unreadable, Damaged) as reason:
        if row.kind != WalSegment.Kind.PARTIAL:
            WalSegment.objects.filter(pk=row.pk).update(problem=str(reason))
        raise MissingWal(f"The WAL segment {row.name} cannot be used: {reason}") from reason
    return length
