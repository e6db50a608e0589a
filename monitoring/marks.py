"""Moments on a server's timeline: restarts, crashes, resets, promotions, changed settings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
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


def number(version: int) -> str:
    """15.18 for 150018."""
    return f"{version // 10000}.{version % 10000}"


def changed_settings(before: Reading | None, after: Reading) -> Iterator[NewMark]:
    """Settings whose value in force changed."""
    if before is None or before.problem or not before.rows:
        return
    known = {row.name: row.value for row in before.rows}
    for row in after.rows:
        if row.name in known and known[row.name] != row.value:
            old, new = shown(known[row.name]), shown(row.value)
            facts = {"setting": row.name, "before": old, "after": new}
            yield NewMark(after.taken_at, "setting", f"{row.name} was changed from {old} to {new}.", facts)


def shown(value: Any) -> str:
    """A setting's value in a sentence."""
    return "empty" if value in ("", None) else str(value)
