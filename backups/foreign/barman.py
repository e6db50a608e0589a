"""Barman: what `-f json` of list-backups, show-backup and list-files prints, and barman-cloud-backup-list."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
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
#: The key of barman-cloud-backup-list.
CLOUD = "backups_list"
_START = re.compile(r"START TIME: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:UTC|GMT)\b")
#: Time zones lie so far apart.
QUARTER = timedelta(minutes=15)
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
    cloud: list[Saved] = []
    ids: set[str] = set()
    for document in found:
        if not isinstance(document, dict):
            raise Unreadable("This is JSON, but not what “barman -f json list-backups” prints.")
        if "_ERROR" in document:
            raise Unreadable(f"Barman says: {' '.join(_lines(document['_ERROR']))}.")
        if "_INFO" in document:
            names = (names or set()) | {line.rpartition("/")[2] for line in _lines(document["_INFO"])}
        if CLOUD in document:
            # It holds one server, which the command that listed it named.
            cloud += [_saved_in_cloud(entry) for entry in of(document, CLOUD)]
            ids |= {str(entry["systemid"]) for entry in document[CLOUD] if entry.get("systemid")}
            there.add(name)
            continue
        there |= {key for key in document if not key.startswith("_")}
        told = document.get(name, [])
        for entry in told if isinstance(told, list) else [told]:
            label = str(of(entry, "backup_id"))
            entries[label] = {**entries.get(label, {}), **entry}
    if name not in there:
        raise Unreadable(f"It has no server {name}. It has {', '.join(sorted(there)) or 'none'}.")
    saved = without_base(
        [*cloud, *(_saved(label, entries[label]) for label in sorted(entries, reverse=True))]
    )
    ids |= {str(entry["system_id"]) for entry in entries.values() if entry.get("system_id")}
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


def _saved_in_cloud(entry: dict[str, Any]) -> Saved:
    """Of a bucket only the backups are listed, not their WAL."""
    label, status = str(of(entry, "backup_id")), str(of(entry, "status"))
    span = None
    if entry.get("begin_xlog") and entry.get("end_xlog"):
        timeline = number(of(entry, "timeline"), "timeline")
        span = Span(timeline, parse_lsn(entry["begin_xlog"]), parse_lsn(entry["end_xlog"]))
    plain, stored = entry.get("cluster_size"), entry.get("size")
    return Saved(
        label,
        str(entry.get("backup_type") or "full"),
        _moment_in_cloud(entry, "begin_time"),
        _moment_in_cloud(entry, "end_time") if status not in {"STARTED", *_BAD} else None,
        span,
        None if plain is None else number(plain, "cluster_size"),
        None if stored is None else number(stored, "size"),
        problem=_BAD.get(status, ""),
    )


def _moment_in_cloud(entry: dict[str, Any], name: str) -> datetime | None:
    """Newer versions tell the time zone; of older ones the backup's label does, as long as it is UTC."""
    if exact := entry.get(f"{name}_iso"):
        return moment(exact, f"{name}_iso")
    if not entry.get(name):
        return None
    begun = _START.search(str(entry.get("backup_label")))
    if begun is None:
        raise Unreadable(
            f"Barman tells the moments of {of(entry, 'backup_id')} without their time zone. List the bucket with a "
            "newer barman-cloud-backup-list, which tells it."
        )
    start = datetime.strptime(begun[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    ahead = round((_bare(entry, "begin_time") - start) / QUARTER) * QUARTER
    return _bare(entry, name) - ahead


def _bare(entry: dict[str, Any], name: str) -> datetime:
    """As its host's clock showed it, taken for UTC."""
    try:
        return datetime.strptime(str(of(entry, name)), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        raise Unreadable(f"“{name}” is no moment in the JSON: {str(entry[name])[:60]}") from None


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
