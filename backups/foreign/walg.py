"""WAL-G: what `backup-list --detail --json` and `wal-show --detailed-json` print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from backups.foreign.contents import (
    Ask,
    Contents,
    Saved,
    Span,
    Unreadable,
    documents,
    moment,
    number,
    of,
    ranges,
    segment,
    without_base,
)
from backups.physical.chains import Wal
from backups.physical.wal import Stretch, parse_lsn, segment_place

TITLE, PROGRAM = "WAL-G", "wal-g"


def ask(program: Ask, name: str) -> list[Any]:
    """Both lists; which repository it is, WAL-G's own settings say."""
    answers = (program(["backup-list", "--detail", "--json"]), program(["wal-show", "--detailed-json"]))
    return [document for answer in answers for document in documents(answer) or [None]]


def parse(found: list[Any], name: str, size: int) -> Contents:
    """Both lists, in any order; WAL-G prints null for a list without entries."""
    if not found or not all(document is None or isinstance(document, list) for document in found):
        raise Unreadable("This is JSON, but not what “wal-g backup-list --detail --json” prints.")
    entries = [entry for document in found for entry in document or []]
    timelines = [entry for entry in entries if "start_segment" in entry]
    backups = [entry for entry in entries if "backup_name" in entry]
    if len(timelines) + len(backups) != len(entries):
        raise Unreadable("The JSON holds entries that are neither backups nor timelines of WAL-G.")
    labels = [str(of(entry, "backup_name")) for entry in backups]
    saved = without_base([_saved(entry, labels) for entry in backups])
    ids = {str(entry["system_identifier"]) for entry in backups if entry.get("system_identifier")}
    wal = _wal(timelines, size) if timelines or len(found) > 1 else None
    system_id = ids.pop() if len(ids) == 1 else ""
    return Contents(saved, wal, wal is not None, system_id, list(_without_history(wal)))


def _saved(entry: dict[str, Any], labels: Sequence[str]) -> Saved:
    """With --detail, or as far as the plain list tells."""
    label = str(of(entry, "backup_name"))
    return Saved(
        label,
        "delta" if "_D_" in label else "full",
        _moment(entry, "start_time"),
        _moment(entry, "finish_time") or _moment(entry, "time") or _moment(entry, "modified"),
        _span(entry),
        _size(entry, "uncompressed_size"),
        _size(entry, "compressed_size"),
        _needs(label, labels),
        is_kept=bool(entry.get("is_permanent")),
    )


def _moment(entry: dict[str, Any], name: str) -> datetime | None:
    """The first of January of the year 1 is what WAL-G says when it does not know: of a backup without its metadata."""
    value = entry.get(name)
    return moment(value, name) if value and not str(value).startswith("0001-") else None


def _needs(label: str, labels: Sequence[str]) -> tuple[str, ...]:
    """base_A_D_B builds on the one that begins in the segment B, which may itself build on another."""
    prior = f"base_{label.partition('_D_')[2]}"
    found = next((each for each in labels if each == prior or each.startswith(f"{prior}_D_")), prior)
    return (found,) if "_D_" in label else ()


def _size(entry: dict[str, Any], name: str) -> int | None:
    """0 is what WAL-G says when it does not know."""
    return number(entry[name], name) or None if entry.get(name) is not None else None


def _span(entry: dict[str, Any]) -> Span | None:
    if not entry.get("start_lsn") or not entry.get("finish_lsn"):
        return None
    timeline = segment_place(segment(of(entry, "wal_file_name")))[0]
    return Span(timeline, _lsn(entry["start_lsn"]), _lsn(entry["finish_lsn"]))


def _lsn(value: Any) -> int:
    """A number, or as PostgreSQL writes it."""
    return parse_lsn(value) if isinstance(value, str) and "/" in value else number(value, "start_lsn")


def _wal(timelines: list[dict[str, Any]], size: int) -> Wal:
    """From the first to the last segment of each, without those that it misses."""
    found: dict[int, list[tuple[int, int]]] = {}
    for entry in timelines:
        timeline, first = segment_place(segment(of(entry, "start_segment")), size)
        last = segment_place(segment(of(entry, "end_segment")), size)[1]
        missing = sorted(
            segment_place(segment(each), size)[1] for each in entry.get("missing_segments") or []
        )
        edges = [first - 1, *missing, last + 1]
        found[timeline] = [
            (before + 1, after - 1) for before, after in pairwise(edges) if before + 1 <= after - 1
        ]
    wal = ranges(found, size)
    wal.histories = _histories(timelines)
    return wal


def _histories(timelines: list[dict[str, Any]]) -> dict[int, list[Stretch]]:
    """What the history files of the repository say; to a timeline whose file it lacks nothing leads."""
    found: dict[int, list[Stretch]] = {}
    for entry in sorted(timelines, key=lambda each: str(of(each, "start_segment"))):
        timeline = segment_place(str(entry["start_segment"]))[0]
        parent = number(entry.get("parent_id") or 0, "parent_id")
        switch = number(entry.get("switch_point_lsn") or 0, "switch_point_lsn")
        before = found.get(parent, [Stretch(parent, 0, None)]) if parent else []
        ends = [replace(each, end=switch) for each in before[-1:]]
        found[timeline] = [*before[:-1], *ends, Stretch(timeline, switch, None)]
    return found


def _without_history(wal: Wal | None) -> Iterator[str]:
    for timeline in sorted(wal.histories if wal else [])[1:]:
        if wal and len(wal.histories[timeline]) == 1:
            yield (
                f"It lacks {timeline:08X}.history, without which no backup of an older timeline can be rolled forward "
                f"to timeline {timeline}. Archive it again: it is in pg_wal of the server."
            )
