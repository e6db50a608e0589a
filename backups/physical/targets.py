"""To where a recovery goes: a moment, the latest there is, a position, or a named restore point."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import or_

from django.db.models import Q

from backups.physical import marks as kept_marks
from backups.physical.chains import Chain, Hole, Recoverable, Wal
from backups.physical.marks import Mark
from backups.physical.models import PointInTime, WalSegment
from backups.physical.wal import Stretch, needed, parse_lsn, segment_name
from dbadmin.operations import Refused

#: A position at the start of a page counts the page's header in, or not.
HEADERS = (24, 40)
PAGE = 8 << 10


@dataclass(frozen=True)
class Target:
    """What was asked for."""

    kind: str
    moment: datetime | None = None
    lsn: int | None = None
    name: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "time":
                return f"{self.moment:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + f" {self.moment:%Z}"
            case "lsn":
                return f"position {self.name}"
            case "name":
                return f"restore point {self.name}"
            case _:
                return "the latest moment"

    def settings(self) -> dict[str, str]:
        """PostgreSQL's own words for it."""
        match self.kind:
            case "time":
                return {"recovery_target_time": self.moment.isoformat() if self.moment else ""}
            case "lsn":
                return {"recovery_target_lsn": self.name}
            case "name":
                return {"recovery_target_name": self.name}
            case _:
                return {}


def target_of(kind: str, moment: datetime | None, text: str) -> Target:
    """The target that a form describes."""
    if kind == "lsn":
        return Target(kind, lsn=parse_lsn(text), name=text)
    return Target(kind, moment if kind == "time" else None, None, text if kind == "name" else "")


@dataclass(frozen=True)
class Route:
    """The base backup to begin with, the WAL to replay, and what must have been reached at the end."""

    chain: Chain
    segments: Sequence[tuple[int, int]]
    must_reach: int
    floor: Mark | None
    ceiling: Mark | None

    @property
    def timeline(self) -> int:
        return self.segments[-1][0]


def choose(found: Recoverable, target: Target, server: object) -> Chain:
    """The base backup from which the target can be reached; refuses, and says what can."""
    if not found.windows:
        raise Refused(
            f"No moment of {server} can be recovered yet: that needs a base backup and the WAL since its beginning."
        )
    if target.moment is not None:
        chain = found.chain_for(target.moment)
        if chain is None:
            raise Refused(outside(found, target.moment), field="moment")
        return chain
    chain = found.newest_chain
    if target.lsn is not None:
        fitting = [
            each for each in found.chains
            if each.is_usable and each.base.end_lsn <= target.lsn <= each.end_lsn
        ]  # fmt: skip
        chain = max(fitting, key=lambda each: each.base.end_lsn, default=None)
        if chain is None:
            raise Refused(f"No unbroken WAL leads to the position {target.name}.", field="text")
    if chain is None:
        raise Refused(f"No base backup of {server} has the WAL that it needs.")
    return chain


def outside(found: Recoverable, moment: datetime) -> str:
    """Why a moment cannot be recovered, and which can."""
    spans = " and ".join(f"from {_text(window.start)} to {_text(window.end)}" for window in found.windows)
    hole = next(
        (
            hole
            for hole in found.holes
            if hole.missing and hole.start < moment and (hole.end is None or moment < hole.end)
        ),
        None,
    )
    because = f": the WAL segment {hole.missing} is missing" if isinstance(hole, Hole) else ""
    return f"{moment:%Y-%m-%d %H:%M:%S %Z} cannot be recovered{because}. What can: {spans} UTC."


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def route(point: PointInTime, wal: Wal, chain: Chain, target: Target) -> Route:
    """Which segments, and the marks on both sides of the target."""
    way = wal.stretches(chain.base)
    floor, ceiling = _around(point, chain, target, way)
    end = chain.end_lsn
    if target.kind == "time" and ceiling is not None:
        end = min(end, max(ceiling.lsn, chain.base.end_lsn))
    size = point.segment_bytes
    segments = list(needed(way, chain.base.start_lsn, end, size))
    must_reach = chain.base.end_lsn
    if target.lsn is not None:
        must_reach = max(must_reach, target.lsn)
    elif floor is not None and target.kind != "name":
        must_reach = max(must_reach, before_header(floor.lsn))
    return Route(chain, segments, must_reach, floor, ceiling)


def before_header(lsn: int) -> int:
    return lsn - lsn % PAGE if lsn % PAGE in HEADERS else lsn


def _around(
    point: PointInTime, chain: Chain, target: Target, way: Sequence[Stretch]
) -> tuple[Mark | None, Mark | None]:
    """The last mark at or before the target, and the first after it; none of what a primary wrote that was replaced."""
    moment = target.moment or chain.until_at
    rows = WalSegment.objects.filter(
        server=point.server, system_id=point.system_id, problem="", end_lsn__gt=chain.base.start_lsn
    ).exclude(until_at=None)
    ends = {stretch.timeline: stretch.end or sys.maxsize for stretch in way}
    rows = rows.filter(
        reduce(or_, (Q(timeline=key, number__lte=end // point.segment_bytes) for key, end in ends.items()))
    )
    before = rows.filter(until_at__lte=moment).order_by("-until_at").first()
    after = rows.filter(until_at__gt=moment).order_by("until_at").first()
    known = sorted(
        mark
        for row in (before, after)
        if row
        for mark in kept_marks.unpacked(row.marks)
        if mark.lsn <= ends[row.timeline]
    )
    floor = max((mark for mark in known if moment and mark.at <= moment), default=None)
    ceiling = min((mark for mark in known if moment and mark.at > moment), default=None)
    return floor, ceiling


def names(segments: Sequence[tuple[int, int]], size: int) -> list[str]:
    return [segment_name(timeline, number, size) for timeline, number in segments]
