"""Who waits for what, looked at each second without any extension, and kept as seconds a minute."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from dbadmin.connections import Session
from dbadmin.deadlines import deadline
from dbadmin.models import Server
from dbadmin.probes import PROBES
from monitoring.blocks import find_source
from monitoring.layouts import MILLIONTH, Key, Look
from monitoring.line_keys import keys_of
from monitoring.recorder import Known, Sample
from monitoring.windows import window

PROBE = "waits_by_statement"
COLUMN = "waited_seconds_total"
#: A look each second; when looks take long, so many times longer is rested.
PACE, REST = 1.0, 50.0
#: A look stands for the time since the one before, but for no more than this, seconds.
LONGEST = 3.0
#: Lines kept of one minute, the longest waits first; the rest is summed up by what was waited for.
MOST = 200


class WaitSampler:
    """Adds up what the looks of one server saw, until a minute of it is taken."""

    def __init__(self) -> None:
        self.seconds: Counter[Key] = Counter()
        self.lines: dict[Key, Known] = {}
        self.observed = 0.0
        self.last: float | None = None
        self.next_at = 0.0
        self.began: float | None = None

    def pause(self) -> float:
        """How long until the next look."""
        return max(0.0, self.next_at - time.monotonic())

    def look(self, session: Session) -> None:
        """One look at the sessions that work."""
        probe, started = PROBES[PROBE], time.monotonic()
        with deadline(session.connection, probe.timeout + 1):
            reading = probe.read(session)
        took = time.monotonic() - started
        self.next_at = started + max(PACE, REST * took)
        if reading.problem is not None:
            self.last = None
            return
        length = PACE if self.last is None else min(started - self.last, max(LONGEST, REST * took))
        self.last, self.began = started, self.began or started
        self.observed += length
        for row in reading.rows:
            key = (row.wait_kind, row.wait, row.database, row.query_id)
            self.seconds[key] += row.sessions_count * length

    def forget_pause(self) -> None:
        """The connection was lost: the next look stands for itself only."""
        self.last = None

    def take(self) -> Sample | None:
        """What was seen since the last taking, once there is most of a minute of it."""
        if self.began is None or time.monotonic() - self.began < 50:
            return None
        sample = Sample(PROBE, "", timezone.now(), self.observed, False, (COLUMN,))
        for key, seconds in self.largest().items():
            line = self.lines.setdefault(key, Known(key, Look((), (), [])))
            sample.add(line, [round(seconds * MILLIONTH)])
        self.seconds.clear()
        self.observed, self.began = 0.0, None
        if len(self.lines) > 20 * MOST:
            self.lines.clear()
        return sample

    def largest(self) -> dict[Key, float]:
        """The longest waits one by one, the rest without their statements."""
        if len(self.seconds) <= MOST:
            return dict(self.seconds)
        found = Counter(dict(self.seconds.most_common(MOST)))
        for (kind, wait, database, query_id), seconds in self.seconds.items():
            if (kind, wait, database, query_id) not in found:
                found[kind, wait, database, None] += seconds
        return dict(found)


@dataclass(frozen=True)
class Wait:
    """What was waited for, for how long, and its share of all time at work."""

    wait_kind: str
    wait: str
    waited_seconds: float
    share_ratio: float


def waits(
    server: Server, start: dt.datetime, end: dt.datetime, query_ids: Sequence[int] | None = None
) -> list[Wait]:
    """What the sessions at work waited for in a window, of all statements or of some; the longest first."""
    found = window(server, PROBE, [COLUMN], start, end)
    source = find_source(server.pk, PROBE)
    if source is None:
        return []
    keys = keys_of(source, found.sums[COLUMN])
    sums: Counter[tuple[str, str]] = Counter()
    for line, micros in found.sums[COLUMN].items():
        kind, wait, _, query_id = keys[line]
        if query_ids is None or query_id in query_ids:
            sums[kind, wait] += micros
    total = sum(sums.values())
    return [
        Wait(kind, wait, micros / MILLIONTH, micros / total)
        for (kind, wait), micros in sums.most_common()
        if micros
    ]


def waiters(server: Server, start: dt.datetime, end: dt.datetime, n: int = 20) -> list[dict[str, Any]]:
    """Which statements were at work or waited in a window, and for what; the longest first."""
    found = window(server, PROBE, [COLUMN], start, end)
    source = find_source(server.pk, PROBE)
    if source is None:
        return []
    best = sorted(found.sums[COLUMN].items(), key=lambda item: item[1], reverse=True)[:n]
    keys = keys_of(source, [pk for pk, _ in best])
    names = ("wait_kind", "wait", "database", "query_id")
    return [dict(zip(names, keys[pk], strict=True), seconds=micros / MILLIONTH) for pk, micros in best]
