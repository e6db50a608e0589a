"""Moments on a server's timeline: restarts, crashes, resets, promotions, changed settings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dbadmin.probes import Reading
from monitoring import epochs
from monitoring.epochs import Evidence


@dataclass(frozen=True)
class NewMark:
    """A mark that is not stored yet."""

    at: dt.datetime
    kind: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)


def epoch_marks(before: Evidence, after: Evidence, at: dt.datetime) -> Iterator[NewMark]:
    """What happened to the server between two looks."""
    broken = epochs.server_break(before, after)
    if broken:
        started = before.start != after.start
        yield NewMark(min(after.start, at) if started else at, broken.cause.value, broken.text)
    else:
        for found in (
            epochs.shared_break(before, after),
            epochs.database_break(before, after),
            epochs.statements_break(before, after),
        ):
            if found:
                yield NewMark(at, found.cause.value, found.text)
    if before.version != after.version and before.version // 10000 == after.version // 10000:
        yield NewMark(at, "upgrade", f"Version {number(before.version)} became {number(after.version)}.")
    if before.in_recovery and not after.in_recovery:
        yield NewMark(at, "promoted", "The standby was promoted; it is a primary now.")


def unseen_marks(since: dt.datetime, now: Evidence) -> Iterator[NewMark]:
    """What happened while no sampler was there, by the moments that the server keeps."""

    def fresh(moments: Iterable[tuple[str, dt.datetime | None]]) -> dict[str, dt.datetime]:
        return {name: moment for name, moment in moments if moment is not None and moment > since}

    shared = fresh(now.shared)
    if now.start > since:
        found = epochs.restart("pg_stat_bgwriter" in shared)
        yield NewMark(now.start, found.cause.value, found.text)
        return
    if shared:
        yield NewMark(min(shared.values()), "reset", epochs.shared_reset(shared))
    # Before version 15 the counting of a database begins with its first use: that is no reset.
    if now.version >= 150000 and (databases := fresh(now.databases)):
        yield NewMark(min(databases.values()), "reset", epochs.database_reset(databases))
    if fresh([("", now.statements)]):
        yield NewMark(now.statements or now.at, "reset", epochs.STATEMENTS_RESET)


def number(version: int) -> str:
    """15.18 for 150018."""
    return f"{version // 10000}.{version % 10000}"


def changed_settings(before: Reading | None, after: Reading) -> Iterator[NewMark]:
    """Settings whose value in force changed."""
    if before is None or before.problem or not before.rows:
        return
    known = {row.name: row.value for row in before.rows}
    for row in after.rows:
        # Empty is what each client chooses for itself, as we do: nobody changed the server.
        if None not in (known.get(row.name), row.value) and known[row.name] != row.value:
            old, new = shown(known[row.name]), shown(row.value)
            facts = {"setting": row.name, "before": old, "after": new, "since": before.taken_at.isoformat()}
            yield NewMark(after.taken_at, "setting", f"{row.name} was changed from {old} to {new}.", facts)


def shown(value: Any) -> str:
    """A setting's value in a sentence."""
    return "empty" if value == "" else str(value)
