"""Partitions by time as ranges: how long one is, what is not covered, and what a new one would be called."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: How names tell the beginning, the longest first; %q is the quarter.
IN_NAMES = (
    "%Y_%m_%d_%H%M", "%Y%m%d_%H%M%S", "%Y%m%d%H%M", "%Y_%m_%d_%H", "%Y%m%d_%H", "%Y%m%d%H", "%Y-%m-%d",
    "%Y_%m_%d", "%Y%m%d", "%Ym%md%d", "%Yd%j", "%Gw%V", "%G_w%V", "%G_%V", "%Y_%m", "%Y-%m", "%Ym%m", "%Y%m",
    "%Yq%q", "%Y_q%q", "%Y",
)  # fmt: skip
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Range:
    """What a partition holds, in the zone where its days begin; None is an end that is open."""

    starts: dt.datetime | None
    ends: dt.datetime | None
    name: str = ""


@dataclass(frozen=True)
class Step:
    """The length of a partition: whole months, or always the same time."""

    months: int = 0
    time: dt.timedelta = dt.timedelta()

    def after(self, moment: dt.datetime, times: int = 1) -> dt.datetime:
        """The moment so many steps later, or earlier."""
        return later(moment, self.months * times) if self.months else moment + self.time * times

    def in_names(self) -> str:
        """How a name tells where a partition of this length begins."""
        if self.months:
            return "%Y_%m"
        return "%Y_%m_%d" if self.time >= DAY else "%Y_%m_%d_%H%M"


def later(moment: dt.datetime, months: int) -> dt.datetime:
    """So many months later, on the last day of a month that is too short."""
    count = moment.year * 12 + moment.month - 1 + months
    first = moment.replace(year=count // 12, month=count % 12 + 1, day=1)
    last = (first + 31 * DAY).replace(day=1) - DAY
    return first.replace(day=min(moment.day, last.day))


def closed(ranges: Sequence[Range]) -> list[Range]:
    """Those with two ends, in their order."""
    return [each for each in ranges if each.starts and each.ends]


def step_of(ranges: Sequence[Range]) -> Step | None:
    """The length of the last one; months where it and the one before it are as many whole months."""
    last = closed(ranges)[-2:]
    if not last:
        return None
    counts = {months_of(each) for each in last}
    if len(counts) == 1 and (months := counts.pop()):
        return Step(months=months)
    starts, ends = last[-1].starts, last[-1].ends
    return Step(time=ends - starts) if starts and ends else None


def months_of(one: Range) -> int:
    """How many whole months it is long, 0 when it is not."""
    if not one.starts or not one.ends:
        return 0
    months = (one.ends.year - one.starts.year) * 12 + one.ends.month - one.starts.month
    return months if months > 0 and later(one.starts, months) == one.ends else 0


def at_midnight(ranges: Sequence[Range]) -> bool:
    """Do the last ones begin and end with a day of this zone?"""
    ends = [moment for each in closed(ranges)[-2:] for moment in (each.starts, each.ends) if moment]
    return all(moment == moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment in ends)


def missing(
    ranges: Sequence[Range], step: Step, now: dt.datetime, ahead: int
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """The pieces without a partition, from the one of now until so many stand ready after it."""
    point, ready = begins(ranges, step, now), 0
    while ready < ahead or point <= now:
        here = next((each for each in ranges if covers(each, point)), None)
        if here is None:
            next_start = min(
                (each.starts for each in ranges if each.starts and each.starts > point), default=None
            )
            end = min(filter(None, (step.after(point), next_start)))
            yield point, end
        elif here.ends is None:
            return
        else:
            end = here.ends
        ready += (here.starts if here and here.starts else point) > now
        point = end


def begins(ranges: Sequence[Range], step: Step, now: dt.datetime) -> dt.datetime:
    """Where the partition of now begins, or would begin: by whole steps from the nearest one."""
    if any(covers(each, now) for each in ranges):
        return now
    before = [each.ends for each in ranges if each.ends and each.ends <= now]
    after = [each.starts for each in ranges if each.starts and each.starts > now]
    base = max(before) if before else min(after, default=now)
    times = 0
    while step.after(base, times) > now:
        times -= 1
    while step.after(base, times + 1) <= now:
        times += 1
    return step.after(base, times)


def covers(one: Range, moment: dt.datetime) -> bool:
    """Does the moment belong to it?"""
    return (one.starts is None or one.starts <= moment) and (one.ends is None or moment < one.ends)


def name_like(ranges: Sequence[Range], step: Step, table: str, starts: dt.datetime) -> tuple[str, str]:
    """What a new one is called: as the last one is; else the table's name, and what is put behind it."""
    for last in reversed(closed(ranges)):
        for pattern in IN_NAMES:
            told = spelled(last.starts, pattern) if last.starts else ""
            if told and last.name.count(told) == 1:
                return last.name.replace(told, spelled(starts, pattern)), ""
    return table, spelled(starts, f"_{step.in_names()}")


def spelled(moment: dt.datetime, pattern: str) -> str:
    """The moment by a pattern."""
    return moment.strftime(pattern.replace("%q", str((moment.month + 2) // 3)))
