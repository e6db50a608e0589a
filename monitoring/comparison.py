"""Two windows side by side: the statements that moved, and which differences are more than chance."""

from __future__ import annotations

import datetime as dt
import heapq
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dbadmin.models import Server
from dbadmin.probes import PROBES
from monitoring.blocks import find_source, moment_of, stamp
from monitoring.models import Source
from monitoring.packing import Block
from monitoring.series import Past, Series, bucketed, step_for
from monitoring.significance import chance, clear
from monitoring.statements import PROBE, Identity, identities
from monitoring.windows import Window, window

#: Rows of a comparison: those that changed most.
MOST = 50
#: Samples that each window is cut into.
POINTS = 30
#: A difference smaller than this share is not worth a word, however sure it is.
WORTH = 0.1

Rates = Sequence[float | None]


@dataclass(frozen=True)
class Spans:
    """The window that is looked at, and the one that it is held against; both equally long."""

    start: dt.datetime
    end: dt.datetime
    against: dt.datetime

    @property
    def length(self) -> dt.timedelta:
        """Of either."""
        return self.end - self.start

    @property
    def before(self) -> tuple[dt.datetime, dt.datetime]:
        """The other window."""
        return self.against, self.against + self.length

    @property
    def both(self) -> tuple[dt.datetime, dt.datetime]:
        """From the beginning of one to the end of the other, where hardly anything lies between; else the later one."""
        start, end = min(self.start, self.against), max(self.start, self.against) + self.length
        return (start, end) if end - start <= 3 * self.length else self.after

    @property
    def after(self) -> tuple[dt.datetime, dt.datetime]:
        """The window that is looked at."""
        return self.start, self.end


class Samples:
    """One window of a source, cut into equal parts; the lines of its columns as rates or means of each part."""

    def __init__(self, source: Source, span: tuple[dt.datetime, dt.datetime]) -> None:
        self.source = source
        start, end = span
        every = (PROBES[source.probe].every if source.probe in PROBES else None) or 60.0
        self.step = step_for(start, end, every, POINTS)
        self.start = moment_of(-(-stamp(start) // (self.step * 1000)) * self.step * 1000)
        self.count = max(0, (stamp(end) - stamp(self.start)) // (self.step * 1000))
        until = self.start + dt.timedelta(seconds=self.step * self.count)
        self.past = Past(source, self.start, until, self.step, every, None)

    def of(self, column: str, line: int | None) -> list[float | None]:
        """Each part's rate or mean; None where nothing was observed."""
        shape = Series(column, (), self.start, self.step, [None] * self.count)
        return bucketed(self.past, column, line, shape) if self.count else []

    def of_all(self, column: str, lines: Sequence[int]) -> dict[int, list[float | None]]:
        """The same for many lines of a counter."""
        shape = Series(column, (), self.start, self.step, [None] * self.count)
        if self.past.totals or not self.count:
            return {line: self.of(column, line) for line in lines}
        return self.past.rates_of(column, lines, shape)


@dataclass(frozen=True)
class Statement:
    """A statement in both windows. Busy: 100 % is one session at work all the time."""

    query: str
    verdict: str
    busy_ratio: float | None
    busy_before_ratio: float | None
    difference_ratio: float | None
    calls_per_second: float | None
    calls_before_per_second: float | None
    mean_seconds: float | None
    mean_before_seconds: float | None
    share_ratio: float | None
    share_before_ratio: float | None
    database: str
    role: str
    line: int
    is_worse: bool = False


#: Words of a verdict on a statement.
NEW, GONE, TOO_FEW, SAME = "new", "gone", "too few samples", "no clear change"


def statements(server: Server, spans: Spans, n: int = MOST) -> list[Statement]:
    """The statements whose time changed most, each with a verdict."""
    source = find_source(server.pk, PROBE)
    if source is None:
        return []
    columns = ["exec_seconds_total", "calls_total"]
    old, new = (window(server, PROBE, columns, *span) for span in (spans.before, spans.after))
    best = most_changed(old, new, n)
    rows = identities(server, source, best)
    verdicts = judge(source, spans, best, old, new)
    return [statement(line, rows[line], verdicts[line], old, new) for line in best if line in rows]


def statement(line: int, who: Identity, verdict: str, old: Window, new: Window) -> Statement:
    """One row."""
    busy, busy_before = pair(old, new, "exec_seconds_total", line)
    calls, calls_before = pair(old, new, "calls_total", line)
    return Statement(
        query=who.text or f"statement {who.query_id}",
        verdict=verdict,
        busy_ratio=busy,
        busy_before_ratio=busy_before,
        difference_ratio=difference(busy, busy_before),
        calls_per_second=calls,
        calls_before_per_second=calls_before,
        mean_seconds=mean(new, line),
        mean_before_seconds=mean(old, line),
        share_ratio=share(new, line),
        share_before_ratio=share(old, line),
        database=who.database,
        role=who.role,
        line=line,
        is_worse=verdict.startswith(("slower", "more")),
    )


def most_changed(old: Window, new: Window, n: int) -> list[int]:
    """The lines whose rate of the first column moved most."""
    column = next(iter(new.sums))
    now, before = new.sums[column], old.sums[column]
    # All have the same scale, so that whole numbers do.
    weight, weight_before = (1 / found.observed if found.observed else 0.0 for found in (new, old))
    earlier = before.get
    moved = [(abs(value * weight - earlier(line, 0) * weight_before), line) for line, value in now.items()]
    moved += [(value * weight_before, line) for line, value in before.items() if line not in now]
    return [line for _, line in heapq.nlargest(n, moved)]


def rate(found: Window, column: str, line: int) -> float | None:
    """A second; None where nothing was observed."""
    return found.value(column, line) / found.observed if found.observed else None


def pair(old: Window, new: Window, column: str, line: int) -> tuple[float | None, float | None]:
    """The rate now and before."""
    return rate(new, column, line), rate(old, column, line)


def difference(now: float | None, before: float | None) -> float | None:
    """Now less before, where both are known."""
    return None if now is None or before is None else now - before


def mean(found: Window, line: int) -> float | None:
    """Seconds a call."""
    calls = found.value("calls_total", line)
    return found.value("exec_seconds_total", line) / calls if calls else None


def share(found: Window, line: int) -> float | None:
    """Of the time of all statements."""
    total = found.total("exec_seconds_total")
    return found.value("exec_seconds_total", line) / total if total else None


def judge(source: Source, spans: Spans, lines: Sequence[int], old: Window, new: Window) -> dict[int, str]:
    """A verdict on each line: all tests of the list are corrected together."""
    parts = [Samples(source, span) for span in (spans.before, spans.after)]
    tested = TESTED.of(parts, lines)
    sure = clear([chance for pair in tested for chance in pair])
    found = {}
    for place, line in enumerate(lines):
        is_faster, is_busier = sure[2 * place : 2 * place + 2]
        found[line] = verdict(line, old, new, tested[place], is_faster, is_busier)
    return found


Chances = tuple[float | None, float | None]


class Tested:
    """Tests that this process has made: blocks never change, so that the same parts of the same ones tell the same."""

    def __init__(self, most: int) -> None:
        self.lock = threading.Lock()
        self.most = most
        self.kept: OrderedDict[tuple[Any, ...], tuple[list[Block], list[Chances]]] = OrderedDict()

    def of(self, parts: Sequence[Samples], lines: Sequence[int]) -> list[Chances]:
        """The chances of each line."""
        # They are kept with their blocks, so that no other block can have the identity of one of them.
        blocks = [block for part in parts for block in part.past.blocks()]
        shapes = [(part.start, part.step, part.count) for part in parts]
        key = (*shapes, *lines, *map(id, blocks))
        with self.lock:
            known = self.kept.get(key)
        found = known[1] if known else all_tests(parts, lines)
        with self.lock:
            self.kept[key] = (blocks, found)
            self.kept.move_to_end(key)
            while len(self.kept) > self.most:
                self.kept.popitem(last=False)
        return found


TESTED = Tested(16)


def all_tests(parts: Sequence[Samples], lines: Sequence[int]) -> list[Chances]:
    """The tests of each line."""
    calls, seconds = (
        [part.of_all(column, lines) for part in parts] for column in ("calls_total", "exec_seconds_total")
    )
    return [tests_of([part[line] for part in calls], [part[line] for part in seconds]) for line in lines]


def tests_of(calls: Sequence[Rates], seconds: Sequence[Rates]) -> Chances:
    """The chances that the mean time, and the number of calls, are what they were before."""
    means = [
        [time / number for time, number in zip(times, numbers, strict=True) if number and time is not None]
        for times, numbers in zip(seconds, calls, strict=True)
    ]
    return chance(*means), chance(*map(known, calls))


def verdict(
    line: int, old: Window, new: Window, tested: tuple[float | None, float | None], speed: bool, load: bool
) -> str:
    """The words: what is new or gone, else what clearly changed, else why nothing can be said."""
    if not new.observed or not old.observed:
        return TOO_FEW
    calls, calls_before = (found.value("calls_total", line) for found in (new, old))
    if not calls_before or not calls:
        return NEW if calls else GONE
    now, before = mean(new, line), mean(old, line)
    if speed and now is not None and before is not None and is_worth(now, before):
        return factor("slower", "faster", now, before)
    now, before = rate(new, "calls_total", line), rate(old, "calls_total", line)
    if load and now is not None and before is not None and is_worth(now, before):
        return factor("more often", "less often", now, before)
    return TOO_FEW if tested == (None, None) else SAME


def is_worth(now: float, before: float) -> bool:
    """Is the difference large enough to be spoken of?"""
    return abs(now - before) > WORTH * max(now, before)


def factor(more: str, less: str, now: float, before: float) -> str:
    """slower, 3.2 times."""
    times = now / before if now > before else before / now if now else 0.0
    word = more if now > before else less
    return f"{word}, {times:.1f} ×" if times < 100 else word


def known(values: Iterable[float | None]) -> list[float]:
    """What was observed."""
    return [value for value in values if value is not None]
