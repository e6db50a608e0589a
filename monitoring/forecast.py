"""When a line meets a limit: a robust slope, how sure it is, and silence where there is too little history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dbadmin import units

Points = Sequence[tuple[float, float]]  # seconds since 1970, value

#: Points that are fitted; more are averaged first. Fewer than FEWEST say nothing.
MOST, FEWEST = 120, 8
#: Two-sided 95 %.
SURE = 1.96
#: What lies farther away than this is not told as a date, seconds.
HORIZON = 5 * 365 * 86400.0
DAY = 86400.0
YEAR = 365.25 * DAY
NO_LIMIT = "No limit is known."


@dataclass(frozen=True)
class Fit:
    """A straight line through a history: its level now, its slope a second, between low and high with 95 %."""

    level: float
    slope: float
    low: float
    high: float
    history: float

    @property
    def moves(self) -> bool:
        """Is it sure that it rises, or sure that it falls?"""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Outcome:
    """When the limit is met, in seconds from now: most likely, at the earliest, at the latest; None: not in sight."""

    says: str
    fit: Fit | None = None
    meets: float | None = None
    earliest: float | None = None
    latest: float | None = None


def thinned(points: Points, most: int = MOST) -> list[tuple[float, float]]:
    """Means of equal stretches of time, so that no busy hour counts more."""
    if len(points) <= most:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = (last - first) / most or 1.0
    groups: dict[int, list[tuple[float, float]]] = {}
    for at, value in points:
        groups.setdefault(min(most - 1, int((at - first) / width)), []).append((at, value))
    return [
        (sum(at for at, _ in group) / len(group), sum(value for _, value in group) / len(group))
        for _, group in sorted(groups.items())
    ]


def fit(points: Points) -> Fit | None:
    """Theil and Sen's line: the median of all slopes between two points; outliers hardly move it."""
    kept = thinned(points)
    if len(kept) < FEWEST or kept[-1][0] <= kept[0][0]:
        return None
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for place, earlier in enumerate(kept)
        for later in kept[place + 1 :]
        if later[0] > earlier[0]
    )
    slope, end = median(slopes), kept[-1][0]
    offsets = [value - slope * (at - end) for at, value in kept]
    low, high = interval(slopes, offsets)
    # The level is that of the last tenth: the line may have bent.
    level = median(offsets[-max(3, len(offsets) // 10) :])
    return Fit(level, slope, low, high, points[-1][0] - points[0][0])


def median(values: Sequence[float]) -> float:
    """The middle one, of sorted or unsorted values."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def interval(slopes: Sequence[float], residuals: Sequence[float]) -> tuple[float, float]:
    """Bounds of the slope by Kendall's variance, wider where neighbours resemble each other."""
    count = len(residuals)
    alike = min(0.95, max(0.0, likeness(residuals)))
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18 * (1 + alike) / (1 - alike))
    reach = SURE * spread / 2
    middle = (len(slopes) - 1) / 2
    first = max(0, math.floor(middle - reach))
    last = min(len(slopes) - 1, math.ceil(middle + reach))
    return slopes[first], slopes[last]


def likeness(values: Sequence[float]) -> float:
    """How much each value resembles the one before it: 0 not at all, 1 fully."""
    mean = sum(values) / len(values)
    apart = [value - mean for value in values]
    whole = sum(value * value for value in apart)
    return sum(one * two for one, two in pairwise(apart)) / whole if whole else 0.0


def since_last_turn(points: Points, rises: bool) -> Points:
    """What came after the last time that a saw-tooth began anew: a vacuum, a reader that caught up."""
    values = [value for _, value in points]
    if not values:
        return points
    jump = 0.3 * (max(values) - min(values))
    for place in range(len(points) - 1, 0, -1):
        change = values[place] - values[place - 1]
        if jump and (change < -jump if rises else change > jump):
            return points[place:]
    return points


def when(points: Points, limit: float | None, least: float = DAY, rises: bool = True) -> Outcome:
    """When the line meets the limit. least: seconds of history below which nothing is said."""
    history = points[-1][0] - points[0][0] if points else 0.0
    found = fit(points) if history >= least else None
    if found is None:
        return Outcome(too_little(points, history, least))
    if limit is None:
        return Outcome(NO_LIMIT, found)
    distance = limit - found.level
    if (distance <= 0) if rises else (distance >= 0):
        return Outcome("It is there already.", found, 0.0, 0.0, 0.0)
    towards = [slope if rises else -slope for slope in (found.slope, found.low, found.high)]
    gap = abs(distance)
    meets, one, two = (gap / slope if slope > 0 else math.inf for slope in towards)
    earliest, latest = min(one, two), max(one, two)
    if not found.moves or meets > HORIZON:
        return Outcome(calm(found, meets, earliest), found, None, known(earliest), None)
    return Outcome(dated(meets, earliest, latest), found, meets, known(earliest), known(latest))


def known(seconds: float) -> float | None:
    """A length of time within the horizon."""
    return seconds if seconds <= HORIZON else None


def too_little(points: Points, history: float, least: float) -> str:
    """Of a line that cannot be drawn yet: how much is there, and how much it takes."""
    if history < least:
        so_far = f"{units.duration(round(history))} so far" if history >= 1 else "none so far"
        return f"Too little history: {so_far}, a forecast takes {units.duration(least)}."
    return f"Too few readings: {len(points)} so far, a forecast takes {FEWEST}."


def calm(found: Fit, meets: float, earliest: float) -> str:
    """Of a line that does not surely move towards its limit, or not soon."""
    if earliest > HORIZON:
        return "Not in sight."
    if found.moves:
        return f"Not within five years as it looks; at the earliest in {roughly(earliest)}."
    if meets > HORIZON:
        return f"Not in sight; at the earliest in {roughly(earliest)}."
    return (
        f"Not sure: in about {roughly(meets)} as it looks, or never; at the earliest in {roughly(earliest)}."
    )


def dated(meets: float, earliest: float, latest: float) -> str:
    """In about 12 days; 95 % sure: between 9 and 20 days."""
    first, last = roughly(earliest), roughly(latest)
    if first == last:
        return f"In about {roughly(meets)}."
    number, _, unit = first.partition(" ")
    between = f"between {number if last.endswith(unit) else first} and {last}"
    sure = f"not before {first}" if latest > HORIZON else between
    return f"In about {roughly(meets)}; 95 % sure: {sure}."


def roughly(seconds: float) -> str:
    """A length of time as people say it of what is to come: 40 minutes, 12 days, 7 months, 3 years."""
    for length, unit in ((YEAR, "years"), (YEAR / 12, "months"), (DAY, "days"), (3600.0, "hours")):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{round(seconds / 60)} minutes" if seconds >= 90 else "a minute"
