"""pgBackRest: what `info --output=json` and `repo-ls --output=json` print."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
from backups.physical.chains import Link, Wal
from backups.physical.wal import parse_lsn, segment_place

TITLE, PROGRAM = "pgBackRest", "pgbackrest"
#: 15-1/0000000100000000/000000010000000000000001-69c1….gz
_LISTED = re.compile(r"(?:^|/)(?P<archive>[\d.]+-\d+)/[0-9A-F]{16}/(?P<name>[0-9A-F]{24})-[0-9a-f]{40}")
_QUIET = ["--log-level-console=off", "--log-level-stderr=error", "--log-level-file=off"]


def named(name: str) -> tuple[str, int]:
    """shop/2: the stanza shop in its second repository."""
    stanza, _, key = name.partition("/")
    return stanza, int(key or 1)


def ask(program: Ask, name: str) -> list[Any]:
    """The stanza, and every file of its archive."""
    stanza, key = named(name)
    info = [*_QUIET, f"--stanza={stanza}", f"--repo={key}", "info", "--output=json"]
    listing = [*_QUIET, f"--repo={key}", "repo-ls", "--recurse", "--output=json", f"archive/{stanza}"]
    return [*documents(program(info)), *documents(program(listing))]


def parse(found: list[Any], name: str, size: int) -> Contents:
    """The stanza's part of it."""
    stanza, key = named(name)
    infos = [each for document in found if isinstance(document, list) for each in document]
    listings = [document for document in found if isinstance(document, dict)]
    if not any(isinstance(document, list) for document in found):
        raise Unreadable("This is JSON, but not what “pgbackrest info --output=json” prints.")
    info = next((each for each in infos if of(each, "name") == stanza), None)
    if info is None or of(info, "status", "code") == 1:
        there = ", ".join(str(of(each, "name")) for each in infos if of(each, "status", "code") != 1)
        raise Unreadable(f"It has no stanza {stanza}. It has {there or 'none'}.")
    status = _status(info, key)
    database = _newest(info, key, status)
    entries = [entry for entry in of(info, "backup") if of(entry, "database").get("repo-key", 1) == key]
    saved = without_base([_saved(entry, database) for entry in entries])
    wal = _listed(listings, info, database, size) if listings else _ends(info, database, saved, size)
    return Contents(
        saved,
        wal,
        bool(listings),
        str(database.get("system-id", "")),
        [] if of(status, "code") in (0, 2) else [_says(status)],
    )


def _status(info: Any, key: int) -> Any:
    """Of this repository; before version 2.32 there was but one."""
    keys = {of(each, "key"): of(each, "status") for each in info.get("repo") or []}
    if keys and key not in keys:
        raise Unreadable(f"It has no repository {key} of this stanza.")
    return keys.get(key) or of(info, "status")


def _says(status: Any) -> str:
    return f"pgBackRest says: {str(of(status, 'message')).rstrip('.')}."


def _newest(info: Any, key: int, status: Any) -> dict[str, Any]:
    """The cluster as it is now: an upgrade adds one."""
    found = [each for each in of(info, "db") if each.get("repo-key", 1) == key]
    if not found:
        raise Unreadable(_says(status))
    newest: dict[str, Any] = max(found, key=lambda each: int(of(each, "id")))
    return newest


def _saved(entry: Any, database: dict[str, Any]) -> Saved:
    is_current = of(entry, "database", "id") == database["id"]
    return Saved(
        str(of(entry, "label")),
        str(of(entry, "type")),
        moment(of(entry, "timestamp", "start"), "timestamp.start"),
        moment(of(entry, "timestamp", "stop"), "timestamp.stop"),
        _span(entry) if is_current else None,
        number(of(entry, "info", "size"), "info.size"),
        _stored(entry),
        tuple(entry.get("reference") or ()),
        "pgBackRest found wrong page checksums in it." if entry.get("error") else "",
    )


def _span(entry: Any) -> Span | None:
    """Of a backup of a stopped cluster there is none."""
    start, lsn = of(entry, "archive", "start"), entry.get("lsn") or {}
    if not start or not lsn.get("start") or not lsn.get("stop"):
        return None
    return Span(segment_place(segment(start))[0], parse_lsn(lsn["start"]), parse_lsn(lsn["stop"]))


def _stored(entry: Any) -> int | None:
    """What it added to the repository; repositories on blocks tell only that."""
    stored = of(entry, "info", "repository").get("delta")
    return None if stored is None else number(stored, "info.repository.delta")


def _archives(info: Any, database: dict[str, Any]) -> Iterator[Any]:
    for archive in of(info, "archive"):
        inside = of(archive, "database")
        if (inside.get("id"), inside.get("repo-key", 1)) == (database["id"], database.get("repo-key", 1)):
            yield archive


def _listed(listings: list[Any], info: Any, database: dict[str, Any], size: int) -> Wal:
    """Every segment that lies there, with the moment at which it came."""
    current = {str(of(archive, "id")) for archive in _archives(info, database)}
    links = {}
    for path, entry in ((path, entry) for listing in listings for path, entry in listing.items()):
        listed = _LISTED.search(path)
        if listed and listed["archive"] in current:
            timeline, inside = segment_place(listed["name"], size)
            came = moment(of(entry, "time"), "time")
            links[timeline, inside] = Link(timeline, inside, (inside + 1) * size, came)
    return Wal(list(links.values()), segment_bytes=size)


def _ends(info: Any, database: dict[str, Any], saved: list[Saved], size: int) -> Wal:
    """Only the first and the last segment are told: what lies between is taken to be there."""
    ends = [segment(each) for archive in _archives(info, database) for each in _both(archive)]
    if not ends:
        return ranges({}, size)
    low, high = (segment_place(each, size) for each in (min(ends), max(ends)))
    spans = [each.span for each in saved if each.span]
    inside = {(span.timeline, lsn // size) for span in spans for lsn in (span.start_lsn, span.end_lsn - 1)}
    places = {low, high} | {place for place in inside if low[1] <= place[1] <= high[1]}
    first = {timeline: min(number for line, number in places if line == timeline) for timeline, _ in places}
    last = {timeline: max(number for line, number in places if line == timeline) for timeline, _ in places}
    for timeline, following in pairwise(sorted(first)):
        last[timeline] = max(last[timeline], first[following] - 1)
    return ranges({timeline: [(first[timeline], last[timeline])] for timeline in first}, size)


def _both(archive: Any) -> list[str]:
    return [archive[end] for end in ("min", "max") if archive.get(end)]
