"""What a repository of another tool holds, whichever tool it is, and what can be recovered from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from backups.physical.chains import Chain, Hole, Run, Wal, holes, windows
from backups.physical.models import BaseBackup
from backups.physical.wal import SEGMENT, Stretch, segment_name, segment_place
from dbadmin.failures import Told

#: Tools take archived WAL over once a minute, or later.
MERCY = timedelta(minutes=10)
#: So many backups, windows and holes of a repository are kept with its row: the newest.
MOST_KEPT = 200


class Ask(Protocol):
    """Runs a tool with these arguments and gives what it printed; ends: the statuses that are an answer."""

    def __call__(self, arguments: list[str], ends: Sequence[int] = (0,)) -> str: ...


class Unreadable(Told):
    """There is no answer; the message says why and what mends it."""


@dataclass(frozen=True)
class Span:
    """The WAL that was written while a backup was taken."""

    timeline: int
    start_lsn: int
    end_lsn: int


@dataclass(frozen=True)
class Saved:
    """One base backup in a repository; what its tool does not tell is None."""

    label: str
    kind: str
    started_at: datetime | None
    finished_at: datetime | None
    span: Span | None = None
    plain_bytes: int | None = None
    stored_bytes: int | None = None
    needs: tuple[str, ...] = ()
    problem: str = ""
    is_kept: bool = False


@dataclass
class Contents:
    """Backups, the WAL beside them, and what the tool itself says is wrong.

    holes_known: every segment was seen; else only the first and the last.
    """

    saved: list[Saved]
    wal: Wal | None = None
    holes_known: bool = False
    system_id: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """What the server itself says: who it is, and what it archived last."""

    segment_bytes: int
    system_id: str = ""
    archived: str = ""
    archived_at: datetime | None = None


def documents(text: str) -> list[Any]:
    """All JSON documents of a text, one behind the other."""
    found, decoder, at = [], json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        try:
            document, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise Unreadable(
                f"This is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
                "A file that is read while it is written ends early: write it beside, then rename it."
            ) from None
        except RecursionError:
            raise Unreadable("This is not what the tool prints: its brackets are nested too deep.") from None
        found.append(document)
    return found


def of(entry: Any, *path: str | int) -> Any:
    """A value inside a document; an Unreadable names the place where it should be."""
    value = entry
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            raise Unreadable(f"The JSON lacks “{'.'.join(map(str, path))}” in one of its entries.") from None
    return value


def number(value: Any, name: str) -> int:
    """A number that may be written as text."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(f"“{name}” is no number in the JSON: {str(value)[:60]}") from None


def moment(value: Any, name: str) -> datetime:
    """Seconds since 1970, or a moment as ISO 8601 writes it."""
    try:
        if isinstance(value, int | float) or str(value).isdigit():
            return datetime.fromtimestamp(float(value), UTC)
        found = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise Unreadable(f"“{name}” is no moment in the JSON: {str(value)[:60]}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def segment(value: Any) -> str:
    """The name of a WAL segment."""
    if not SEGMENT.match(str(value)):
        raise Unreadable(f"This is no name of a WAL segment: {str(value)[:60]}")
    return str(value)


def ranges(found: Mapping[int, Sequence[tuple[int, int]]], size: int) -> Wal:
    """WAL of which only the ends of each unbroken stretch are told, as numbers of segments."""
    wal = Wal([], segment_bytes=size)
    for timeline, stretches in found.items():
        wal.runs[timeline] = [
            Run(first, last, (last + 1) * size, None, False) for first, last in sorted(stretches)
        ]
    wal.newest = max(wal.runs, default=1)
    return wal


def seen(contents: Contents, source: Source, as_of: datetime) -> dict[str, Any]:
    """What is kept of a reading and shown: backups, windows, holes, problems; fit for JSON."""
    chains = dict(_chains(contents, source))
    spans, gaps = windows(chains.values()), holes(list(chains.values()))
    if chains and not spans:
        first = min(chains.values(), key=lambda chain: chain.base.consistent_at)
        gaps = [Hole(first.base.consistent_at, None, first.missing)]
    problems = [*contents.problems, *_foreign(contents, source), *_not_arrived(contents, source, as_of)]
    if not any(saved.finished_at and not saved.problem for saved in contents.saved):
        problems.append("It holds no backup that is whole.")
    return {
        "backups": [_shown(saved, chains.get(saved.label)) for saved in _newest(contents.saved)],
        "backups_count": len(contents.saved),
        "windows": [
            {"start": each.start.isoformat(), "end": each.end.isoformat()} for each in spans[-MOST_KEPT:]
        ],
        "holes": [
            {
                "start": each.start.isoformat(),
                "end": each.end.isoformat() if each.end else None,
                "missing": each.missing,
            }
            for each in gaps[-MOST_KEPT:]
        ],
        "last_segment": _last(contents.wal, source.segment_bytes),
        "holes_known": contents.holes_known,
        "problems": problems,
    }


def _newest(saved: Sequence[Saved]) -> list[Saved]:
    """Those that are not finished come first."""
    return sorted(saved, key=lambda each: (each.finished_at is None, each.finished_at or 0), reverse=True)[
        :MOST_KEPT
    ]


def _chains(contents: Contents, source: Source) -> Iterator[tuple[str, Chain]]:
    """How far each whole backup leads."""
    if contents.wal is None:
        return
    wal = contents.wal
    wal.histories = wal.histories or _histories(wal, source.segment_bytes)
    _tell_times(wal, contents, source)
    for saved in contents.saved:
        if saved.span and saved.finished_at and not saved.problem:
            base = BaseBackup(
                timeline=saved.span.timeline,
                start_lsn=saved.span.start_lsn,
                end_lsn=saved.span.end_lsn,
                consistent_at=saved.finished_at,
            )
            yield saved.label, wal.follow(base)


def _histories(wal: Wal, size: int) -> dict[int, list[Stretch]]:
    """Where the tool tells none: a timeline was left where the first segment of the next one lies."""
    begins = {timeline: runs[0].first for timeline, runs in wal.runs.items() if runs}
    found: dict[int, list[Stretch]] = {}
    for timeline in sorted(begins)[1:]:
        begin = begins[timeline]
        parent = max((each for each in begins if each < timeline and begins[each] <= begin), default=None)
        if parent is None:
            continue
        before = found.get(parent, [Stretch(parent, 0, None)])
        ends = Stretch(parent, before[-1].start, begin * size)
        found[timeline] = [*before[:-1], ends, Stretch(timeline, begin * size, None)]
    return found


def _tell_times(wal: Wal, contents: Contents, source: Source) -> None:
    """A stretch reaches at least the moment at which a backup in it ended, or the server archived out of it."""
    size = source.segment_bytes
    known = [
        (saved.span.timeline, max(saved.span.end_lsn - 1, 0) // size, saved.finished_at)
        for saved in contents.saved
        if saved.span and saved.finished_at
    ]
    if source.archived_at and SEGMENT.match(source.archived):
        known.append((*segment_place(source.archived, size), source.archived_at))
    for timeline, runs in wal.runs.items():
        for place, run in enumerate(runs):
            times = [at for line, inside, at in known if line == timeline and run.first <= inside <= run.last]
            until = max([*times, *([run.until_at] if run.until_at else [])], default=None)
            runs[place] = replace(run, until_at=until)


def _foreign(contents: Contents, source: Source) -> Iterator[str]:
    if contents.system_id and source.system_id and contents.system_id != source.system_id:
        yield (
            f"It is of another cluster: its system identifier is {contents.system_id}, the server's "
            f"{source.system_id}. Register the right repository, or make a new one after an upgrade."
        )


def _not_arrived(contents: Contents, source: Source, as_of: datetime) -> Iterator[str]:
    """The server handed a segment over, but the repository has neither it nor a later one."""
    if contents.wal is None or not SEGMENT.match(source.archived) or source.archived_at is None:
        return
    timeline, inside = segment_place(source.archived, source.segment_bytes)
    last = max((run.last for runs in contents.wal.runs.values() for run in runs), default=-1)
    if inside > last and source.archived_at < as_of - MERCY:
        yield (
            f"The server archived {segment_name(timeline, inside, source.segment_bytes)}, which the repository "
            "does not have. See where archive_command sends it."
        )


def _last(wal: Wal | None, size: int) -> str:
    """The last segment of the newest timeline."""
    runs = wal.runs.get(wal.newest) if wal else None
    return segment_name(wal.newest, runs[-1].last, size) if wal and runs else ""


def _shown(saved: Saved, chain: Chain | None) -> dict[str, Any]:
    return {
        "label": saved.label,
        "kind": saved.kind,
        "started_at": saved.started_at.isoformat() if saved.started_at else None,
        "finished_at": saved.finished_at.isoformat() if saved.finished_at else None,
        "plain_bytes": saved.plain_bytes,
        "stored_bytes": saved.stored_bytes,
        "needs": list(saved.needs),
        "is_kept": saved.is_kept,
        "problem": saved.problem,
        "missing": chain.missing if chain and not chain.is_usable else "",
    }


def without_base(saved: Sequence[Saved]) -> list[Saved]:
    """Those that build on a backup that is gone or bad are told so, and those that build on these."""
    built_on: dict[str, list[str]] = {}
    for each in saved:
        for label in each.needs:
            built_on.setdefault(label, []).append(each.label)
    whole = {each.label for each in saved if not each.problem}
    gone, problems = [label for label in built_on if label not in whole], {}
    for base in gone:  # it grows by what builds on it
        for label in whole.intersection(built_on.get(base, [])):
            problems[label] = f"It needs {base}, which is not whole there."
            whole.remove(label)
            gone.append(label)
    return [replace(each, problem=problems.get(each.label, each.problem)) for each in saved]
