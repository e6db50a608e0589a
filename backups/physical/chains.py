"""From a base backup along its WAL: how far an unbroken chain leads, and where it is broken."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

from backups.physical import layers
from backups.physical.models import BaseBackup, PointInTime, WalSegment
from backups.physical.wal import Stretch, parse_history, segment_name
from dbadmin.models import Server

Kind = WalSegment.Kind


@dataclass(frozen=True)
class Link:
    """One stored segment, or the part of one."""

    timeline: int
    number: int
    end_lsn: int
    until_at: datetime | None
    is_partial: bool = False


@dataclass(frozen=True)
class Run:
    """Segments of one timeline without a gap: up to which position and moment they lead."""

    first: int
    last: int
    end_lsn: int
    until_at: datetime | None
    ends_in_part: bool


@dataclass(frozen=True)
class Chain:
    """How far a base backup can be rolled forward; `missing` names the first segment that is not there."""

    base: BaseBackup
    end_lsn: int
    until_at: datetime | None
    timeline: int
    missing: str = ""

    @property
    def is_usable(self) -> bool:
        """A base backup needs the WAL that was written while it was taken."""
        return self.end_lsn >= self.base.end_lsn and self.until_at is not None


@dataclass(frozen=True)
class Window:
    """From one moment to another, every moment can be recovered."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment <= self.end


@dataclass(frozen=True)
class Hole:
    """Between these moments nothing can be recovered; `end` is None while that goes on."""

    start: datetime
    end: datetime | None
    missing: str


@dataclass
class Wal:
    """The stored WAL of one cluster."""

    links: Sequence[Link]
    histories: dict[int, list[Stretch]] = field(default_factory=dict)
    segment_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        self.runs: dict[int, list[Run]] = {}
        for timeline in {link.timeline for link in self.links}:
            self.runs[timeline] = _runs([link for link in self.links if link.timeline == timeline])
        newest = max([*self.runs, *self.histories], default=1)
        self.newest = newest

    def stretches(self, base: BaseBackup) -> list[Stretch]:
        """The way from a base backup to the newest timeline that descends from it.

        From one that ends behind the point at which that branched off, as on a primary that was replaced, no way leads
        there: only its own timeline goes on.
        """
        for newest in sorted(self.histories, reverse=True):
            way = self.histories[newest]
            if any(
                stretch.timeline == base.timeline and (stretch.end is None or stretch.end >= base.end_lsn)
                for stretch in way
            ):
                return [stretch for stretch in way if stretch.timeline >= base.timeline]
        return [Stretch(base.timeline, 0, None)]

    def run_with(self, timeline: int, number: int) -> Run | None:
        runs = self.runs.get(timeline, [])
        place = bisect_right([run.first for run in runs], number) - 1
        return runs[place] if place >= 0 and runs[place].last >= number else None

    def follow(self, base: BaseBackup) -> Chain:
        """As far as it goes; WAL behind the base backup without a mark leads at least to where that is consistent."""
        chain = self._follow(base)
        until = chain.until_at or base.consistent_at
        if chain.end_lsn > base.end_lsn and until <= base.consistent_at:
            return replace(chain, until_at=base.consistent_at)
        return chain

    def _follow(self, base: BaseBackup) -> Chain:
        """Over every change of the timeline."""
        size = self.segment_bytes
        number, end, until = base.start_lsn // size, 0, None
        timeline = base.timeline
        for stretch in self.stretches(base):
            if stretch.end is not None and stretch.end <= base.start_lsn:
                continue
            timeline = stretch.timeline
            last = None if stretch.end is None else stretch.end // size - 1
            if last is not None and last < number:
                continue
            run = self.run_with(timeline, number)
            if run is None:
                missing = segment_name(timeline, number, size)
                return Chain(base, end, until, timeline, missing)
            if last is not None and run.last >= last:
                number = last + 1
                end, until = number * size, run.until_at or until
                continue
            end, until = run.end_lsn, run.until_at or until
            number = run.last + 1
            is_newest = stretch.end is None
            follows = any(other.first > run.last for other in self.runs.get(timeline, []))
            missing = "" if is_newest and not follows else segment_name(timeline, number, size)
            return Chain(base, end, until, timeline, missing)
        return Chain(base, end, until, timeline)


def _runs(links: list[Link]) -> list[Run]:
    """Neighbours joined; a part counts only where no whole segment of its number is."""
    whole = {link.number for link in links if not link.is_partial}
    ordered = sorted(
        (link for link in links if not link.is_partial or link.number not in whole),
        key=lambda link: link.number,
    )
    found: list[Run] = []
    for link in ordered:
        before = found[-1] if found else None
        if before and before.last + 1 == link.number and not before.ends_in_part:
            until = link.until_at or before.until_at
            found[-1] = Run(before.first, link.number, link.end_lsn, until, link.is_partial)
        else:
            found.append(Run(link.number, link.number, link.end_lsn, link.until_at, link.is_partial))
    return found


def wal_of(server: Server, system_id: str, segment_bytes: int) -> Wal:
    """What the catalogue lists and nobody found missing."""
    rows = WalSegment.objects.filter(server=server, system_id=system_id, problem="")
    links = [
        Link(timeline, number, end_lsn, until_at, kind == Kind.PARTIAL)
        for timeline, number, end_lsn, until_at, kind in rows.exclude(kind=Kind.HISTORY).values_list(
            "timeline", "number", "end_lsn", "until_at", "kind"
        )
    ]
    histories = {
        row.timeline: parse_history(row.timeline, row.content) for row in rows.filter(kind=Kind.HISTORY)
    }
    return Wal(links, histories, segment_bytes)


@dataclass
class Recoverable:
    """What a server can be recovered to."""

    chains: list[Chain]
    windows: list[Window]
    holes: list[Hole]

    @property
    def earliest(self) -> datetime | None:
        return self.windows[0].start if self.windows else None

    @property
    def latest(self) -> datetime | None:
        return self.windows[-1].end if self.windows else None

    def chain_for(self, moment: datetime) -> Chain | None:
        """The newest base backup before a moment whose chain reaches it."""
        fitting = [
            chain
            for chain in self.chains
            if chain.is_usable and chain.until_at and chain.base.consistent_at <= moment <= chain.until_at
        ]
        return max(fitting, key=lambda chain: chain.base.consistent_at, default=None)

    @property
    def newest_chain(self) -> Chain | None:
        """The one that leads furthest."""
        usable = [chain for chain in self.chains if chain.is_usable]
        return max(
            usable, key=lambda chain: (chain.timeline, chain.end_lsn, chain.base.start_lsn), default=None
        )


def recoverable(server: Server) -> Recoverable:
    """Bases, chains, windows and holes of a server, from the catalogue."""
    point = PointInTime.objects.filter(server=server).first()
    if point is None:
        return Recoverable([], [], [])
    bases = BaseBackup.objects.present().filter(server=server, system_id=point.system_id, problem="")
    wal = wal_of(server, point.system_id, point.segment_bytes)
    chains = [to_head(wal.follow(base), point, wal.newest) for base in layers.whole(bases)]
    return Recoverable(chains, windows(chains), holes(chains))


def to_head(chain: Chain, point: PointInTime, newest: int) -> Chain:
    """A chain that reaches what the receiver covers goes as far in time as that does."""
    covered, at = point.covered_lsn, point.covered_at
    if covered is None or at is None or chain.missing or chain.end_lsn < covered or chain.timeline < newest:
        return chain
    until = max(at, chain.until_at or at)
    return Chain(chain.base, chain.end_lsn, until, chain.timeline, "")


def windows(chains: Iterable[Chain]) -> list[Window]:
    """The stretches of time that chains lead over, joined where they overlap."""
    found: list[Window] = []
    for chain in sorted(chains, key=lambda chain: chain.base.consistent_at):
        start, end = chain.base.consistent_at, chain.until_at
        if not chain.is_usable or end is None or end < start:
            continue
        if found and start <= found[-1].end:
            found[-1] = Window(found[-1].start, max(end, found[-1].end))
        else:
            found.append(Window(start, end))
    return found


def holes(chains: Sequence[Chain]) -> list[Hole]:
    """What lies between the windows, and behind the last one when its chain is broken."""
    spans, found = windows(chains), []
    broken = {chain.until_at: chain.missing for chain in chains if chain.missing}
    for before, after in pairwise(spans):
        found.append(Hole(before.end, after.start, broken.get(before.end, "")))
    if spans and (missing := broken.get(spans[-1].end)):
        found.append(Hole(spans[-1].end, None, missing))
    return found
