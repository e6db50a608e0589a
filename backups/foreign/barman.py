"""Barman: what `-f json` of list-backups, show-backup and list-files prints."""

from __future__ import annotations

import re
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
    without_base,
)
from backups.physical.chains import Link, Wal
from backups.physical.wal import SEGMENT, parse_lsn, segment_place

TITLE, PROGRAM = "Barman", "barman"
#: Of older backups only the list tells: each costs two calls.
MOST_ASKED = 30
_ID = re.compile(r"^[0-9]{8}T[0-9]{6}$")
_BAD = {"FAILED": "Barman says that it failed.", "EMPTY": "Barman says that it is empty."}


def ask(program: Ask, name: str) -> list[Any]:
    """The list, and of each backup its WAL; what Barman refuses it says in JSON, too."""
    found = documents(program(["-f", "json", "list-backups", name], ends=(0, 1)))
    entries = [entry for document in found if isinstance(document, dict) for entry in document.get(name, [])]
    labels = [str(of(entry, "backup_id")) for entry in entries]
    for label in [label for label in labels if _ID.match(label)][:MOST_ASKED]:
        found += documents(program(["-f", "json", "show-backup", name, label]))
        found += documents(program(["-f", "json", "list-files", "--target", "wal", name, label]))
    return found


def parse(found: list[Any], name: str, size: int) -> Contents:
    """The server's part of it."""
    entries: dict[str, dict[str, Any]] = {}
    names: set[str] | None = None
    there: set[str] = set()
    for document in found:
        if not isinstance(document, dict):
            raise Unreadable("This is JSON, but not what “barman -f json list-backups” prints.")
        if "_ERROR" in document:
            raise Unreadable(f"Barman says: {' '.join(_lines(document['_ERROR']))}.")
        if "_INFO" in document:
            names = (names or set()) | {line.rpartition("/")[2] for line in _lines(document["_INFO"])}
        there |= {key for key in document if not key.startswith("_")}
        told = document.get(name, [])
        for entry in told if isinstance(told, list) else [told]:
            label = str(of(entry, "backup_id"))
            entries[label] = {**entries.get(label, {}), **entry}
    if name not in there:
        raise Unreadable(f"It has no server {name}. It has {', '.join(sorted(there)) or 'none'}.")
    saved = without_base([_saved(label, entries[label]) for label in sorted(entries, reverse=True)])
    ids = {str(entry["system_id"]) for entry in entries.values() if entry.get("system_id")}
    wal = None if names is None else _wal(names, size)
    return Contents(saved, wal, wal is not None, ids.pop() if len(ids) == 1 else "")


def _lines(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _saved(label: str, entry: dict[str, Any]) -> Saved:
    """Of list-backups alone, or with what show-backup adds."""
    base: dict[str, Any] = entry.get("base_backup_information") or {}
    status = str(of(entry, "status"))
    ended = base.get("end_time_timestamp") or entry.get("end_time_timestamp")
    started = base.get("begin_time_timestamp")
    plain = entry.get("cluster_size_bytes")
    stored = base.get("backup_size_bytes", entry.get("size_bytes"))
    parent = (entry.get("catalog_information") or {}).get("parent_backup_id")
    return Saved(
        label,
        str(entry.get("backup_type") or "full"),
        moment(started, "begin_time_timestamp") if started else None,
        moment(ended, "end_time_timestamp") if ended and status not in {"STARTED", *_BAD} else None,
        _span(base),
        None if plain is None else number(plain, "cluster_size_bytes"),
        None if stored is None else number(stored, "size_bytes"),
        (str(parent),) if parent and _ID.match(str(parent)) else (),
        _BAD.get(status, ""),
        str(entry.get("retention_status", "")).startswith("KEEP"),
    )


def _span(base: dict[str, Any]) -> Span | None:
    if not base.get("begin_lsn") or not base.get("end_lsn"):
        return None
    timeline = number(of(base, "timeline"), "timeline")
    return Span(timeline, parse_lsn(base["begin_lsn"]), parse_lsn(base["end_lsn"]))


def _wal(names: set[str], size: int) -> Wal:
    """The segments of Barman's own list."""
    places = [segment_place(name, size) for name in names if SEGMENT.match(name)]
    links = [Link(timeline, inside, (inside + 1) * size, None) for timeline, inside in places]
    return Wal(links, segment_bytes=size)
