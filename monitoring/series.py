"""A series over time, as charts draw it: rates of counters, means of gauges, gaps with their causes."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from dbadmin.by_hand import all_of, read
from dbadmin.models import Server
from dbadmin.probes import PROBES
from monitoring.blocks import (
    Chunk,
    column_named,
    fetch,
    find_source,
    floor_day,
    floor_hour,
    moment_of,
    raw,
    stamp,
    totals,
)
from monitoring.layouts import is_counter, scale_of
from monitoring.models import Gap, Layout, Source, Total
from monitoring.packing import Block
from monitoring.ticks import Ticks, raw_ticks, samples_of, shared

#: Points of a chart, about; the step is the shortest of these that gives no more.
POINTS = 180
STEPS = (30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800)

#: What the newest ticks of a source hold.
NEWEST = f"""
select {all_of(Layout)} from monitoring_layout where id in (
    (select layout_id from monitoring_minute where source_id = %s order by taken_at desc limit 1)
    union all
    (select layout_id from monitoring_hour where source_id = %s order by starts_at desc limit 1))
"""  # noqa: S608 - our own names


@dataclass(frozen=True)
class Missing:
    """A time without values, and why."""

    start: dt.datetime
    end: dt.datetime
    cause: str
    text: str


@dataclass
class Series:
    """Equally spaced values; None where nothing is known. A counter's values are its rate a second."""

    column: str
    key: tuple[Any, ...]
    start: dt.datetime
    step: int
    values: list[float | None]
    missing: list[Missing] = field(default_factory=list)

    @property
    def is_rate(self) -> bool:
        """Is it the rate of a counter?"""
        return is_counter(self.column)

    def points(self) -> Iterator[tuple[int, float | None]]:
        """(milliseconds since 1970, value)."""
        at = stamp(self.start)
        for number, value in enumerate(self.values):
            yield at + number * self.step * 1000, value


class Buckets:
    """Adds up what ticks tell about equal spans of time."""

    def __init__(self, start: int, step: int, count: int) -> None:
        self.start, self.step, self.count = start, step, count
        self.sums: list[float] = [0] * count
        self.covered: list[int] = [0] * count

    def add_ticks(self, found: Ticks) -> None:
        """Ticks of one block: an increase lies in what its tick covers, a gauge holds from its tick to the next."""
        if not found.counts:
            found = held(found)
        start, step, count = self.start - found.base, self.step, self.count
        sums, covered = self.sums, self.covered
        for at, length, value in zip(found.ends, found.lengths, found.values, strict=True):
            place = (at - 1 - start) // step
            if value is None or not length:
                continue
            if 0 <= place < count and at - length - start >= place * step:
                sums[place] += value
                covered[place] += length
            else:
                self.spread(found.base + at, length, value)

    def add(self, end: int, length: int, value: float, weight: int) -> None:
        """A span that ends at a moment; weight: how much of it was observed."""
        self.spread(end, length, value, weight)

    def spread(self, end: int, length: int, value: float, weight: int | None = None) -> None:
        """Share a value out over the steps that it covers."""
        for place, share in self.shares(end, length):
            self.sums[place] += value * share
            self.covered[place] += max(1, round((length if weight is None else weight) * share))

    def shares(self, end: int, length: int) -> Iterator[tuple[int, float]]:
        """The steps that a span covers, and how much of the span lies in each."""
        at, until = max(end - length, self.start), min(end, self.start + self.count * self.step)
        while at < until:
            place = (at - self.start) // self.step
            edge = min(self.start + (place + 1) * self.step, until)
            yield place, (edge - at) / length
            at = edge

    def rates(self, scale: int) -> list[float | None]:
        """Increase a second; covered is in milliseconds."""
        return [
            total / scale / (covered / 1000) if covered else None
            for total, covered in zip(self.sums, self.covered, strict=True)
        ]

    def means(self, scale: int) -> list[float | None]:
        """Mean weighted by time."""
        return [
            total / scale / covered if covered else None
            for total, covered in zip(self.sums, self.covered, strict=True)
        ]


def held(gauge: Ticks) -> Ticks:
    """A gauge as sums over the spans that follow its ticks; the last one is taken to be as long as the one before."""
    lengths = [length or 1 for length in [*gauge.lengths[1:], *gauge.lengths[-1:]]]
    values = [
        None if value is None else value * length for value, length in zip(gauge.values, lengths, strict=True)
    ]
    ends = [end + length for end, length in zip(gauge.ends, lengths, strict=True)]
    return Ticks(gauge.base, ends, lengths, values, True)


def step_for(start: dt.datetime, end: dt.datetime, every: float = 60, points: int = POINTS) -> int:
    """The step that gives a readable number of points and is no shorter than the cadence."""
    wanted = max((end - start).total_seconds() / points, min(every, 3600))
    return next((step for step in STEPS if step >= wanted), STEPS[-1])


def series(
    server: Server,
    probe: str,
    column: str,
    key: Sequence[Any] | None = None,
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
    step: int | None = None,
    database: str = "",
    explain: bool = True,
) -> Series:
    """One line of a chart. Without a key: the figure over all rows, or the sum of all lines."""
    now = timezone.now()
    end = min(end or now, now)
    start = start or end - dt.timedelta(hours=1)
    every = (PROBES[probe].every if probe in PROBES else None) or 60
    step = step or step_for(start, end, every)
    aligned = moment_of(stamp(start) // (step * 1000) * step * 1000)
    count = max(1, -(-(stamp(end) - stamp(aligned)) // (step * 1000)))
    found = Series(column, tuple(key or ()), aligned, step, [None] * count)
    source = find_source(server.pk, probe, database)
    if source is None:
        found.missing = missing_of(server, None, None, found, end) if explain else []
        return found
    line, name = chosen(source, column, key)
    if name is not None:
        found.column = name
        kept = Past(source, aligned, end, step, every, line)
        found.values = bucketed(kept, name, line, found)
    if explain:
        found.missing = missing_of(server, source, line, found, end)
    return found


def of_line(
    source: Source,
    line: int,
    columns: Iterable[str],
    start: dt.datetime,
    end: dt.datetime,
    step: int,
    every: float = 60,
) -> dict[str, Series]:
    """Several columns of one line, which is read once; those that it has."""
    first = stamp(start) // (step * 1000) * step * 1000
    count = max(1, -(-(stamp(end) - first) // (step * 1000)))
    kept = Past(source, moment_of(first), end, step, every, line)
    known, found = kept_columns(source), {}
    for column in columns:
        if column in known:
            found[column] = Series(column, (), moment_of(first), step, [None] * count)
            found[column].values = bucketed(kept, column, line, found[column])
    return found


def bucketed(kept: Past, column: str, line: int | None, shape: Series) -> list[float | None]:
    """The values of one line, or of all together, in the steps of a series."""
    buckets = Buckets(stamp(shape.start), shape.step * 1000, len(shape.values))
    kept.fill(buckets, column, line)
    scale = scale_of(column)
    return buckets.rates(scale) if is_counter(column) else buckets.means(scale)


def chosen(source: Source, column: str, key: Sequence[Any] | None) -> tuple[int | None, str | None]:
    """(line, kept column): line None means the sum of all lines."""
    name = column_named(kept_columns(source), column)
    if name is None:
        return None, None
    if key:
        line = line_of(source, key)
        return (line, name) if line else (None, None)
    if is_keyed(source.probe, name):
        return None, name
    return line_of(source, []), name


def line_of(source: Source, key: Sequence[Any]) -> int | None:
    """The number of a line."""
    query = "select id from monitoring_line where source_id = %s and key = %s::jsonb"
    return next((pk for (pk,) in fetch(query, [source.pk, json.dumps(list(key))])), None)


def is_keyed(probe: str, column: str) -> bool:
    """Does each row have this column, or is it a figure over all rows?"""
    return probe in PROBES and bool(PROBES[probe].key) and "(" not in column and column != "rows"


_columns_of: dict[int, tuple[float, list[str]]] = {}


def kept_columns(source: Source) -> list[str]:
    """All columns that this source has ever had, the newest layout's first."""
    at, columns = _columns_of.get(source.pk, (0.0, []))
    if columns and time.monotonic() - at < 60:
        return columns
    layouts = read(Layout, NEWEST, [source.pk, source.pk])
    columns = list(dict.fromkeys(column for layout in layouts for column in layout.columns))
    _columns_of[source.pk] = (time.monotonic(), columns)
    return columns


class Past:
    """What is kept of a source over a span, of one line or of all, as coarse as the step allows."""

    def __init__(
        self, source: Source, start: dt.datetime, end: dt.datetime, step: int, every: float, line: int | None
    ) -> None:
        self.totals: list[tuple[Chunk, int]] = []
        span, after = resolution(start, end, step), start
        if span == Total.DAY:
            self.totals = [(chunk, span) for chunk in totals(source, span, floor_day(start), end)]
            after = self.after(start)
        if span:
            hourly = totals(source, Total.HOUR, floor_hour(after), end)
            self.totals += [(chunk, Total.HOUR) for chunk in hourly]
        late = end + dt.timedelta(seconds=2.5 * every)
        begin = self.after(start)
        if not all(is_counter(column) for column in kept_columns(source)):
            # A gauge is kept when it changes: what it was is told by the ticks of its hour before the span.
            begin = floor_hour(begin)
        self.raw = shared(raw(source, begin, late, line))

    def after(self, start: dt.datetime) -> dt.datetime:
        """Where the totals end."""
        if not self.totals:
            return start
        chunk, span = self.totals[-1]
        return moment_of(chunk.base + span * 1000)

    def blocks(self) -> list[Block]:
        """All that was read."""
        totals = [chunk.block for chunk, _ in self.totals]
        return totals + [block for span in self.raw for block in span.blocks]

    def lines(self) -> set[int]:
        """Those that have a sample."""
        return {line for block in self.blocks() for line in block.lines}

    def fill(self, buckets: Buckets, column: str, line: int | None) -> None:
        """Put everything of a line, or of all together, into the buckets."""
        for chunk, span in self.totals:
            for total in total_tick(chunk, column, line, span):
                buckets.add(*total)
        for found in raw_ticks(self.raw, column, line):
            buckets.add_ticks(found)

    def rates_of(self, column: str, lines: Sequence[int], shape: Series) -> dict[int, list[float | None]]:
        """A counter's rates of many lines at once: what each tick covers is the same for all of them."""
        step, count = shape.step * 1000, len(shape.values)
        whole = Buckets(stamp(shape.start), step, count)
        each = {line: Buckets(stamp(shape.start), step, count) for line in lines}
        for span in self.raw:
            number, base, block = span.first.place(column), span.first.base, span.first.block
            if number is None:
                continue
            whole.add_ticks(Ticks(base, block.ticks, block.lengths, [0] * len(block.ticks), True))
            for line, buckets in each.items():
                for place, value in samples_of(span, number, line):
                    length = block.lengths[place]
                    if value == 0 or not length:
                        continue
                    for step_number, share in buckets.shares(base + block.ticks[place], length):
                        if value is None:  # not compared: this line was not observed then
                            buckets.covered[step_number] -= max(1, round(length * share))
                        else:
                            buckets.sums[step_number] += value * share
        for buckets in each.values():
            buckets.covered = [sum(pair) for pair in zip(buckets.covered, whole.covered, strict=True)]
        return {line: buckets.rates(scale_of(column)) for line, buckets in each.items()}


def resolution(start: dt.datetime, end: dt.datetime, step: int) -> int:
    """0 for raw ticks, else the span of the totals to read."""
    kept = settings.HISTORY_DAYS["minutes"]
    is_old = timezone.now() - start > dt.timedelta(days=kept - 1)
    if step >= Total.DAY and end - start > dt.timedelta(days=31):
        return Total.DAY
    return Total.HOUR if step >= Total.HOUR or is_old else 0


def total_tick(
    chunk: Chunk, column: str, line: int | None, span: int
) -> Iterator[tuple[int, int, float, int]]:
    """One hour or day as a tick; a line that is absent did not move."""
    values = chunk.numbers(column)
    if values is None:
        return
    counts = is_counter(column)
    length = chunk.block.lengths[0]
    if line is None:
        known = [value for value in values if value is not None]
        found: float | None = sum(known) if known or counts else None
    else:
        first, last = chunk.block.where(line)
        found = values[first] if last > first else (0 if counts else None)
    end = chunk.base + span * 1000
    if found is None or (counts and not length):
        return
    weight = length if counts else span * 1000
    yield end, span * 1000, found if counts else found * weight, weight


def missing_of(
    server: Server, source: Source | None, line: int | None, found: Series, end: dt.datetime
) -> list[Missing]:
    """The runs of unknown values, each with the cause that is known for it."""
    runs = list(unknown_runs(found, end))
    if not runs:
        return []
    about = Q(source=None) | Q(source=source) if source else Q(source=None)
    gaps = [
        gap
        for gap in Gap.objects.filter(about, server=server, started_at__lt=end)
        .filter(Q(ended_at=None) | Q(ended_at__gt=found.start))
        .order_by("started_at")
        if gap.lines is None or line in gap.lines
    ]
    return [explained(first, last, gaps, source) for first, last in runs]


def unknown_runs(found: Series, end: dt.datetime) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Start and end of each run of unknown values; the step under way is not one."""
    begun: int | None = None
    values = found.values
    length = dt.timedelta(seconds=found.step)
    for place, value in enumerate([*values, 0.0]):
        if value is None and begun is None:
            begun = place
        elif value is not None and begun is not None:
            until = min(found.start + place * length, end)
            is_now = place == len(values) and begun == place - 1
            if not is_now:
                yield found.start + begun * length, until
            begun = None


def explained(first: dt.datetime, last: dt.datetime, gaps: Sequence[Gap], source: Source | None) -> Missing:
    """A run with the gap that overlaps it most."""
    best, most = None, dt.timedelta(0)
    for gap in gaps:
        overlap = min(gap.ended_at or last, last) - max(gap.started_at, first)
        if overlap > most:
            best, most = gap, overlap
    if best is not None:
        return Missing(first, last, best.cause, best.text)
    return Missing(
        first, last, "none", "There is no sample of this time." if source else "Nothing was sampled yet."
    )
