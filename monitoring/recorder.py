"""From readings to samples: counters become increases inside one epoch; what cannot be compared is a gap."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dbadmin.probes import Reading
from monitoring import epochs
from monitoring.epochs import Break, Evidence
from monitoring.layouts import Key, Look, Plan, lines_of, plan_for, shape
from monitoring.models import Gap

#: A hole of so many intervals is a gap; what happened in a shorter one is known exactly, as one longer tick.
LONGEST_TICK = 2.5
#: Clocks that differ by more than this over one tick were moved, seconds.
CLOCK = 5.0


@dataclass
class Known:
    """What the last look at a line showed. id: its number in the store, given when it is first stored."""

    key: Key
    look: Look
    id: int = 0


@dataclass
class Sample:
    """The changed lines of a source at one tick, ready to be packed."""

    probe: str
    database: str
    taken_at: dt.datetime
    length: float
    is_full: bool
    columns: tuple[str, ...]
    lines: list[Known] = field(default_factory=list)
    values: list[list[int | None]] = field(default_factory=list)

    def add(self, line: Known, values: list[int | None]) -> None:
        """One more line."""
        self.lines.append(line)
        self.values.append(values)


@dataclass
class Hole:
    """A gap that was found; probe "" is the whole server."""

    probe: str
    database: str
    started_at: dt.datetime
    ended_at: dt.datetime
    why: Break
    lines: list[Known] | None = None


@dataclass
class Moment:
    """When a look was taken: by our clock, by the steady clock, and the server's epoch before and after."""

    wall: dt.datetime
    steady: float
    before: Evidence | None
    after: Evidence | None


@dataclass
class Memory:
    """What is remembered of a source between two ticks."""

    columns: tuple[str, ...] = ()
    lines: dict[Key, Known] = field(default_factory=dict)
    moment: Moment | None = None
    hour: dt.datetime | None = None


class Recorder:
    """Remembers the last look at every source of one server."""

    def __init__(self) -> None:
        self.memories: dict[tuple[str, str], Memory] = {}

    def record(self, reading: Reading, moment: Moment, pace: float = 1.0) -> tuple[Sample | None, list[Hole]]:
        """A reading as a sample, and the gaps it shows; pace: how much longer than asked intervals are."""
        plan = plan_for(reading.probe, tuple(column.name for column in reading.columns))
        if plan is None or reading.problem is not None:
            return None, []
        memory = self.memories.setdefault((reading.probe.name, reading.database), Memory())
        longest = LONGEST_TICK * (reading.probe.every or 60.0) * pace
        why = self.why_not(reading, plan, memory, moment, longest)
        return Comparison(reading, plan, memory, moment, why).run()

    def why_not(
        self, reading: Reading, plan: Plan, memory: Memory, moment: Moment, longest: float
    ) -> Break | None:
        """Why this look cannot be compared with the last one; None when it can."""
        last = memory.moment
        if last is None:
            return None
        steady = moment.steady - last.steady
        wall = (moment.wall - last.wall).total_seconds()
        if abs(wall - steady) > CLOCK:
            return Break(Gap.Cause.CLOCK, f"Our clock was moved by {wall - steady:+.0f} s.")
        if steady > longest:
            return Break(Gap.Cause.SILENT, "No sample was taken.")
        if last.after is None or moment.before is None:
            return Break(Gap.Cause.PROBLEM, "The server's epoch could not be read.")
        found = self.epoch_break(reading, plan, last.after, moment.before)
        for round_ in (last, moment):
            if found is None and self.ended_within(reading, plan, round_):
                return Break(Gap.Cause.RESET, "Statistics were reset while they were read.")
        return found

    def ended_within(self, reading: Reading, plan: Plan, moment: Moment) -> bool:
        """Did the epoch of this source end, or may it have, between the two looks of a round?"""
        if moment.before is None or moment.after is None:
            return True
        return self.epoch_break(reading, plan, moment.before, moment.after) is not None

    @staticmethod
    def epoch_break(reading: Reading, plan: Plan, before: Evidence, after: Evidence) -> Break | None:
        """What ended the epoch of this source."""
        found = epochs.server_break(before, after)
        if found or reading.probe.name == "statements":
            return found or epochs.statements_break(before, after)
        if reading.database:
            return epochs.database_break(before, after, reading.database)
        if plan.since:
            return None  # Its rows tell themselves since when they count.
        return epochs.shared_break(before, after) or (
            epochs.database_break(before, after) if plan.aggregates else None
        )


class Comparison:
    """One look at a source compared with the last one."""

    def __init__(
        self, reading: Reading, plan: Plan, memory: Memory, moment: Moment, why: Break | None
    ) -> None:
        self.reading, self.plan, self.memory, self.moment, self.why = reading, plan, memory, moment, why
        self.last = memory.moment
        self.columns = plan.columns
        self.shapes = [shape(column)[0] for column in plan.columns]
        self.counts_only = all(self.shapes)
        self.lost: list[Known] = []

    def run(self) -> tuple[Sample | None, list[Hole]]:
        """The sample and the gaps; the memory then holds this look."""
        looks = lines_of(self.reading, self.plan)
        hour = self.moment.wall.replace(minute=0, second=0, microsecond=0)
        if self.memory.columns != self.columns:
            self.memory.lines.clear()
            if self.last is not None and self.memory.columns:
                self.why = self.why or Break(Gap.Cause.UPGRADE, "The columns of this reading changed.")
        can_compare = self.last is not None and self.why is None
        is_full = not self.counts_only and (not can_compare or hour != self.memory.hour)
        length = self.moment.steady - self.last.steady if can_compare and self.last else 0.0
        sample = Sample(
            self.reading.probe.name, self.reading.database, self.moment.wall, length, is_full, self.columns
        )
        self.compare(sample, looks, can_compare)
        holes = self.holes()
        self.memory.columns, self.memory.moment, self.memory.hour = self.columns, self.moment, hour
        # A first look at counters alone says nothing yet.
        return (sample if can_compare or not self.counts_only else None), holes

    def compare(self, sample: Sample, looks: dict[Key, Look], can_compare: bool) -> None:
        """Put every line that changed into the sample."""
        known = self.memory.lines
        for key, look in looks.items():
            line = known.get(key)
            if line is None:
                line = known[key] = Known(key, look)
                values = self.first_values(line, look, can_compare)
            elif not can_compare:
                values = self.without_counters(look)
            elif line.look.values == look.values and line.look.since == look.since:
                values = self.nothing_moved(look) if sample.is_full else []
            else:
                values = self.increases(line, look)
            line.look = look
            if values and (sample.is_full or not self.counts_only or any(v != 0 for v in values)):
                sample.add(line, values)
        self.forget_gone(sample, looks)

    def forget_gone(self, sample: Sample, looks: dict[Key, Look]) -> None:
        """Lines that are no more end in a sample that knows nothing: what they did last is lost."""
        known = self.memory.lines
        if len(known) == len(looks):
            return
        for key in [key for key in known if key not in looks]:
            line = known.pop(key)
            if not sample.is_full:
                sample.add(line, [None] * len(self.columns))
            if self.counts_only and sample.length:
                self.lost.append(line)

    def first_values(self, line: Known, look: Look, can_compare: bool) -> list[int | None]:
        """A line seen for the first time: its counters are all increase only when that is proven."""
        if can_compare and self.is_new(look):
            return look.values
        if can_compare and self.counts_only:
            self.lost.append(line)
            return [None] * len(self.columns)
        return self.without_counters(look)

    def is_new(self, look: Look) -> bool:
        """Is it proven that this statement's counting began after the last look?"""
        if self.reading.probe.name != "statements" or self.last is None:
            return False
        before, now = self.last.after, self.moment.after
        if before and now and before.evictions is not None and before.evictions == now.evictions:
            return True
        since = next(iter(look.since), None)
        return bool(since and self.last.before and since > self.last.before.at)

    def without_counters(self, look: Look) -> list[int | None]:
        """Gauges are known, increases are not."""
        if self.counts_only:
            return []
        return [None if counts else value for counts, value in zip(self.shapes, look.values, strict=True)]

    def nothing_moved(self, look: Look) -> list[int | None]:
        """All of a line at a full tick: counters stood still."""
        return [
            (None if value is None else 0) if counts else value
            for counts, value in zip(self.shapes, look.values, strict=True)
        ]

    def increases(self, line: Known, look: Look) -> list[int | None]:
        """Counters as increases; all unknown when one fell or the line counts since another moment."""
        before = line.look
        began_anew = before.since != look.since or fell(before.witnesses, look.witnesses)
        pairs = list(zip(self.shapes, before.values, look.values, strict=True))
        if began_anew or any(
            counts and old is not None and new is not None and new < old for counts, old, new in pairs
        ):
            self.lost.append(line)
            return [None if counts else new for counts, _, new in pairs]
        return [
            (None if old is None or new is None else new - old) if counts else new
            for counts, old, new in pairs
        ]

    def holes(self) -> list[Hole]:
        """The gaps of this tick: of the whole source, or of single lines."""
        if self.last is None:
            return []
        place = (self.reading.probe.name, self.reading.database, self.last.wall, self.moment.wall)
        if self.why is not None:
            return [Hole(*place, self.why)]
        return [Hole(*place, self.why_lost(), self.lost)] if self.lost else []

    def why_lost(self) -> Break:
        """Why single lines began anew."""
        before, now = self.last and self.last.after, self.moment.after
        if self.reading.probe.name == "statements" and before and now and before.evictions != now.evictions:
            return Break(Gap.Cause.EVICTION, "Statements were forgotten to make room.")
        return Break(Gap.Cause.RESET, "Counters of these lines began anew.")


def fell(before: Iterable[Any], after: Iterable[Any]) -> bool:
    """Did one of these fall that never does?"""
    return any(
        old is not None and new is not None and new < old for old, new in zip(before, after, strict=False)
    )
