"""What of a server can run full: which lines are followed, and what they must not reach."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dbadmin import readings, units
from dbadmin.models import Server
from dbadmin.probes import PROBES, Reading
from monitoring import forecast
from monitoring.amounts import amount
from monitoring.histories import histories

HOUR, DAY = 3600.0, 86400.0
#: Tables whose growth is told: the largest ones.
MOST_TABLES = 20
#: A server's tag that says how much disk it has: disk=500GB.
DISK = re.compile(r"^disk[=:]\s*(\S+)$", re.IGNORECASE)

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Follow:
    """One column that is followed. span: history that is looked at; least: history that is needed, seconds.

    unlimited: what is said where no limit is known.
    """

    what: str
    probe: str
    column: str
    limit: Callable[[Any, Server], float | None]
    span: float = 14 * DAY
    least: float = DAY
    step: int = 3600
    rises: bool = True
    is_saw: bool = False
    most: int = 200
    only_known: bool = False
    unlimited: str = ""


@dataclass(frozen=True)
class Prospect:
    """One line and what is to be expected of it."""

    what: str
    database: str
    name: str
    column: str
    now: float
    limit: float | None
    outcome: forecast.Outcome
    rises: bool = True

    @property
    def stands(self) -> str | None:
        """Where it stands now, for people: 12 GiB; of what falls 3 GiB left."""
        text = shown(self.column, self.now)
        return text if self.rises else f"{text} left"

    @property
    def ends(self) -> str | None:
        """What it must not reach, for people."""
        return "nothing left" if self.limit == 0 else shown(self.column, self.limit)

    @property
    def due(self) -> float | None:
        """Seconds until the limit, at most as far as is looked ahead; None when nothing is known."""
        if self.limit is None or self.outcome.fit is None:
            return None
        return forecast.HORIZON if self.outcome.meets is None else self.outcome.meets

    @property
    def growth(self) -> float | None:
        """By how much it grows in a day."""
        return self.outcome.fit.slope * DAY if self.outcome.fit else None


def disk_of(server: Server) -> float | None:
    """The size of its disk, where a tag tells it."""
    for tag in server.tags:
        if found := DISK.match(tag):
            try:
                return amount(found[1])
            except ValueError:
                return None
    return None


NO_DISK = "How large the disk is, is not known: tell it by a tag of the server, disk=500GB."
FOLLOWED = (
    Follow("Connections", "server_vitals", "connections_count", lambda row, _: row.connections_limit_count),
    Follow(
        "Replication slot", "replication_slots", "safe_bytes", lambda *_: 0.0,
        span=6 * HOUR, least=HOUR / 2, step=60, rises=False, is_saw=True,
    ),
    Follow("Sequence", "sequences", "used_ratio", lambda *_: 1.0, span=32 * DAY, step=86400, least=2 * DAY),
    Follow("Wraparound", "wraparound", "used_ratio", lambda *_: 1.0, is_saw=True),
    Follow(
        "WAL on disk", "wal_files", "size_bytes", lambda _, server: disk_of(server), span=2 * DAY, unlimited=NO_DISK,
    ),
    Follow(
        "Database size", "database_sizes", "size_bytes", lambda _, server: disk_of(server),
        span=32 * DAY, least=2 * DAY, unlimited=NO_DISK,
    ),
    Follow(
        "Table size", "tables", "total_bytes", lambda *_: None,
        span=32 * DAY, least=2 * DAY, step=86400, most=MOST_TABLES, only_known=True,
        unlimited="A table has no limit of its own.",
    ),
)  # fmt: skip


def prospects(server: Server) -> Iterator[Prospect]:
    """Everything that is followed on a server; of a replica not what it has from its primary."""
    followed = [follow for follow in FOLLOWED if PROBES[follow.probe].is_judged_on(server)]
    latest = readings.latest_of([server], [follow.probe for follow in followed])
    for follow in followed:
        for (_, database, probe), reading in latest.items():
            if probe == follow.probe and not reading.problem:
                yield from of_reading(server, follow, reading, database)


def of_reading(server: Server, follow: Follow, reading: Reading, database: str) -> Iterator[Prospect]:
    """The rows of one reading, each with its history."""
    rows = [row for row in reading.rows if getattr(row, follow.column, None) is not None]
    rows.sort(key=lambda row: getattr(row, follow.column), reverse=follow.rises)
    rows = rows[: follow.most]
    keys = [tuple(getattr(row, name) for name in reading.probe.key) for row in rows]
    past = histories(server, follow.probe, follow.column, (follow.span, follow.step), database, keys)
    for row, key in zip(rows, keys, strict=True):
        points: forecast.Points = past.get(key, [])
        if follow.is_saw:
            points = forecast.since_last_turn(points, follow.rises)
        limit = follow.limit(row, server)
        outcome = forecast.when(points, limit, follow.least, follow.rises)
        if follow.only_known and outcome.fit is None:
            continue
        if limit is None and outcome.fit is not None:
            outcome = replace(outcome, says=follow.unlimited or outcome.says)
        value = float(getattr(row, follow.column))
        name = ".".join(str(part) for part in key if part is not None and part != database)
        yield Prospect(follow.what, database, name, follow.column, value, limit, outcome, follow.rises)


def shown(column: str, value: float | None, per_day: bool = False) -> str | None:
    """A value by its column's unit; growth a day with its sign."""
    if value is None:
        return None
    text = units.unit_of(column).text(value if column.endswith("_ratio") or per_day else round(value))
    return f"{'+' if value > 0 else ''}{text}/d" if per_day else text
