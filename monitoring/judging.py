"""A rule and what was read: which rows cross it, which are well, and of which nothing is known."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dbadmin.exports import plain
from dbadmin.probes import Reading, dotted
from dbadmin.reading_store import which
from dbadmin.units import count
from monitoring.alert_models import RANK, AlertRule
from monitoring.layouts import bare, key_part, scale_of
from monitoring.recorder import Sample

Key = tuple[Any, ...]
Measure, Comparison, Against = AlertRule.Measure, AlertRule.Comparison, AlertRule.Against
#: Columns of a row that an alert keeps as its evidence, and characters of a text among them.
MOST_COLUMNS, MOST_TEXT = 24, 500


@dataclass
class Verdict:
    """What a rule says of one row. is_well: beyond the clear value, so that an open alert ends."""

    key: Key
    name: str
    value: float
    severity: str
    is_well: bool
    text: str
    row: dict[str, Any] = field(default_factory=dict)
    baseline: float | None = None


@dataclass
class Judgement:
    """All verdicts of one reading. is_whole: rows that are not among them are known to be gone."""

    at: dt.datetime
    verdicts: dict[Key, Verdict] = field(default_factory=dict)
    unknown: set[Key] = field(default_factory=set)
    is_whole: bool = True


def crosses(rule: AlertRule, value: float, limit: float | None, base: float = 1.0) -> bool:
    """Is the value on the bad side of a limit?"""
    if limit is None:
        return False
    if rule.comparison == Comparison.PRESENT:
        return value > 0
    return value < limit * base if rule.comparison == Comparison.BELOW else value > limit * base


def severity_of(rule: AlertRule, value: float, base: float = 1.0) -> str:
    """critical, warning or nothing."""
    if rule.floor is not None and rule.comparison == Comparison.ABOVE and value <= rule.floor:
        return ""
    if crosses(rule, value, rule.critical, base):
        return "critical"
    return "warning" if crosses(rule, value, rule.warning, base) else ""


def is_well(rule: AlertRule, value: float, base: float = 1.0) -> bool:
    """Is the value beyond the clear value, or below what matters at all?"""
    if rule.floor is not None and rule.comparison == Comparison.ABOVE and value <= rule.floor:
        return True
    least = rule.warning if rule.warning is not None else rule.critical
    return not crosses(rule, value, rule.clear if rule.clear is not None else least, base)


def verdict(
    rule: AlertRule, key: Key, name: str, value: float, base: float | None = None, row: Any = None
) -> Verdict:
    """The rule's word on one value."""
    multiple = 1.0 if base is None else base
    severity = severity_of(rule, value, multiple)
    # What is well and has a sentence of its own says that: a forecast out of sight is no number of days.
    own = "" if severity else getattr(row, "says", "")
    return Verdict(
        key,
        name,
        value,
        severity,
        is_well(rule, value, multiple),
        own or said(rule, value, base) or stands(rule, row),
        evidence(row),
        base,
    )


def said(rule: AlertRule, value: float, base: float | None) -> str:
    """1.4 s, above 1 s; 71 %, below 0.9 × baseline of 99 %; none."""
    if rule.comparison == Comparison.PRESENT:
        return ""
    is_none = rule.comparison == Comparison.BELOW and rule.column.endswith("_count") and value == 0
    if is_none and 1.0 in (rule.critical, rule.warning):
        return "none"
    limit = next(
        (each for each in (rule.critical, rule.warning) if crosses(rule, value, each, base or 1.0)),
        rule.warning if rule.warning is not None else rule.critical,
    )
    side = "above" if rule.comparison == Comparison.ABOVE else "below"
    if rule.is_any(limit):
        # Nought and one only tell that the row is there; its name is told beside.
        return "" if value in {0.0, 1.0} else rule.shown(value)
    if not crosses(rule, value, limit, base or 1.0):
        return rule.shown(value)
    of_base = f" of {rule.shown(base)}" if base is not None and rule.against == Against.BASELINE else ""
    return f"{rule.shown(value)}, {side} {rule.shown_limit(limit, base)}{of_base}"


def stands(rule: AlertRule, row: Any) -> str:
    """What is present where nothing should be, in its own words."""
    value = getattr(row, rule.column, None) if rule.comparison == Comparison.PRESENT else None
    return value[:MOST_TEXT] if isinstance(value, str) else ""


def evidence(row: Any) -> dict[str, Any]:
    """A row as it is kept with the alert."""
    if row is None:
        return {}
    kept = {}
    for name, value in list(row._asdict().items())[:MOST_COLUMNS]:
        shown = plain(value)
        kept[name] = shown[:MOST_TEXT] if isinstance(shown, str) else shown
    return kept


def number_of(rule: AlertRule, row: Any) -> float | None:
    """The rule's column in a row; None when it is not known."""
    value = getattr(row, rule.column, None)
    if rule.comparison == Comparison.PRESENT:
        return 1.0 if value not in (None, "", [], False) else 0.0
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, dt.datetime):
        return value.timestamp()
    return value.total_seconds() if isinstance(value, dt.timedelta) else float(value)


def name_of(reading: Reading, row: Any) -> str:
    """A row by its key: public.users."""
    key = reading.probe.key
    return dotted(key, [getattr(row, name, None) for name in key])[:200]


def by_value(rule: AlertRule, reading: Reading, bases: Mapping[Key, float] | None) -> Judgement:
    """Rows by the column as it was read. Rows without a key are one matter: the worst speaks for all."""
    found = Judgement(reading.taken_at, is_whole=not reading.cut)
    if reading.columns and rule.column not in {column.name for column in reading.columns}:
        found.is_whole = False
        return found
    for row in reading.rows:
        key = tuple(key_part(getattr(row, name, None)) for name in reading.probe.key)
        value, base = number_of(rule, row), base_of(rule, row, key, bases)
        if value is None or (rule.against != Against.LIMIT and base is None):
            found.unknown.add(key)
            continue
        new = verdict(rule, key, name_of(reading, row), value, base, row)
        old = found.verdicts.get(key)
        if old is None or is_worse(rule, new, old):
            found.verdicts[key] = new
    if not reading.probe.key:
        say_how_many(rule, reading, found, bases)
    return found


def base_of(rule: AlertRule, row: Any, key: Key, bases: Mapping[Key, float] | None) -> float | None:
    """What the rule's limits are multiples of: its own mean, or the other column of the row."""
    if rule.against == Against.COLUMN:
        value = getattr(row, rule.other, None)
        return None if value is None else float(value)
    return bases.get(key) if bases is not None else None


def is_worse(rule: AlertRule, new: Verdict, old: Verdict) -> bool:
    """Of two rows with one key the worse one counts."""
    if RANK[new.severity] != RANK[old.severity]:
        return RANK[new.severity] > RANK[old.severity]
    return new.value < old.value if rule.comparison == Comparison.BELOW else new.value > old.value


def say_how_many(
    rule: AlertRule, reading: Reading, found: Judgement, bases: Mapping[Key, float] | None
) -> None:
    """Of rows without a key: how many cross, and what the worst one is; where no number tells it, which they are."""
    only = found.verdicts.get(())
    if only is None:
        if not found.unknown and found.is_whole and not reading.rows:
            # No row is an answer: nothing is blocked.
            found.verdicts[()] = Verdict((), "", 0.0, "", True, reading.probe.empty)
        return
    if not only.severity:
        return
    crossing = [
        row
        for row in reading.rows
        if (value := number_of(rule, row)) is not None
        and severity_of(rule, value, base_of(rule, row, (), bases) or 1.0)
    ]
    many = len(crossing)
    if not only.text:
        only.text = which(reading, crossing[0])
        only.text += f" and {count(many - 1)} more" if many > 1 else ""
        return
    if many > 1:
        only.text += f" (the worst of {count(many)})"
    if reading.probe.actions or len(reading.rows) > 1:
        worst = (min if rule.comparison == Comparison.BELOW else max)(
            crossing, key=lambda row: number_of(rule, row) or 0
        )
        name = which(reading, worst)
        only.text += f": {name}" if name else ""


@dataclass
class Ticks:
    """The increases of the last minutes that rules of the same columns need, by key."""

    kept: deque[tuple[dt.datetime, float, dict[Key, tuple[float, float]]]] = field(default_factory=deque)
    longest: float = 60.0

    def add(self, rule: AlertRule, sample: Sample) -> None:
        """One more tick, unless it is known, or its counters could not be compared with the last one."""
        self.longest = max(self.longest, rule.for_seconds)
        if sample.length <= 0 or (self.kept and self.kept[-1][0] >= sample.taken_at):
            return
        places = [place_of(sample, name) for name in (rule.column, rule.other) if name]
        if None in places:
            return
        first, second = places[0] or 0, places[-1] or 0
        scales = [scale_of(sample.columns[place]) for place in (first, second)]
        moved = {}
        for line, values in zip(sample.lines, sample.values, strict=True):
            one, other = values[first], values[second]
            if one is not None and other is not None:
                moved[line.key] = (one / scales[0], other / scales[1])
        self.kept.append((sample.taken_at, sample.length, moved))
        while self.kept[0][0] <= sample.taken_at - reach(self.longest):
            self.kept.popleft()

    def within(self, seconds: float) -> list[tuple[float, dict[Key, tuple[float, float]]]]:
        """The ticks of the last so many seconds: their lengths and increases."""
        if not self.kept:
            return []
        after = self.kept[-1][0] - reach(seconds)
        return [(length, moved) for at, length, moved in self.kept if at > after]


def reach(seconds: float) -> dt.timedelta:
    """How far back a mean looks: a little farther, since ticks are not on the dot."""
    return dt.timedelta(seconds=max(60.0, seconds) * 1.1 + 5)


def sums(ticks: Iterable[tuple[float, dict[Key, tuple[float, float]]]]) -> dict[Key, tuple[float, float]]:
    """The increases of each key over all of them."""
    found: dict[Key, tuple[float, float]] = {}
    for _, moved in ticks:
        for key, (one, other) in moved.items():
            before = found.get(key, (0.0, 0.0))
            found[key] = (before[0] + one, before[1] + other)
    return found


def place_of(sample: Sample, column: str) -> int | None:
    """Where a column stands in a sample."""
    return next((place for place, name in enumerate(sample.columns) if column in (name, bare(name))), None)


def by_increase(
    rule: AlertRule, reading: Reading, ticks: Ticks, bases: Mapping[Key, float] | None
) -> Judgement:
    """Keys by their increases over the rule's time. Too short a time, or too little done, is unknown."""
    found = Judgement(reading.taken_at, is_whole=False)
    window = ticks.within(rule.for_seconds)
    seconds = sum(length for length, _ in window)
    if seconds < 0.8 * rule.for_seconds or not seconds:
        return found
    for key, (one, other) in sums(window).items():
        value = measured(rule, one, other, seconds)
        base = bases.get(key) if bases is not None else None
        if value is None or (bases is not None and base is None):
            found.unknown.add(key)
            continue
        name = dotted(reading.probe.key, key)[:200]
        found.verdicts[key] = verdict(rule, key, name, value, base)
        found.verdicts[key].row = dict(zip(reading.probe.key, key, strict=False))
    return found


def measured(rule: AlertRule, one: float, other: float, seconds: float) -> float | None:
    """The rule's number, None when too little was done to speak of."""
    match rule.measure:
        case Measure.RATE:
            return one / seconds
        case Measure.PER:
            return one / other if other and other >= rule.at_least else None
        case _:
            whole = one + other
            return one / whole if whole and whole >= rule.at_least else None
