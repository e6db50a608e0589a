"""What is kept and why: pure functions from backups, rules and a moment to decisions.

Only proven backups count for a rule, and none that is marked: that one stays beside them. A rule may only ever add to
what is kept, except the two limits (greatest age and total size), and those never touch the last proven backups, marked
ones, or one that is being read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from dbadmin.units import size


@dataclass(frozen=True)
class Candidate:
    """A backup as retention sees it."""

    key: int
    at: datetime
    size_bytes: int
    proven: bool = True
    marked: bool = False
    leased: bool = False


@dataclass(frozen=True)
class Rules:
    """How much is kept of one database. Zero and None switch a rule off."""

    last: int = 3
    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    yearly: int = 0
    days: int = 2
    most_days: int | None = None
    most_bytes: int | None = None
    proven: int = 2
    time_zone: str = "UTC"

    @classmethod
    def of(cls, values: dict[str, object]) -> Rules:
        """From what a policy stores; unknown names are ignored, so that an older version can read a newer row."""
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        return cls(**known)  # type: ignore[arg-type]


@dataclass
class Decision:
    """Keep it or not, and every reason."""

    backup: Candidate
    reasons: list[str] = field(default_factory=list)
    against: str = ""
    firm: bool = False

    @property
    def keep(self) -> bool:
        return bool(self.reasons) and not self.against

    def sentence(self) -> str:
        if self.keep:
            return f"Kept: {'; '.join(self.reasons)}."
        return f"Goes: {self.against or 'no rule keeps it'}."


_PERIODS: list[tuple[str, str, Callable[[datetime], object]]] = [
    ("daily", "day", lambda at: at.date()),
    ("weekly", "week", lambda at: at.isocalendar()[:2]),
    ("monthly", "month", lambda at: (at.year, at.month)),
    ("yearly", "year", lambda at: at.year),
]


def decide(
    backups: Iterable[Candidate], rules: Rules, now: datetime, failing: bool = False
) -> list[Decision]:
    """Newest first. `failing`: the newest attempt failed, so nothing is deleted until one succeeds."""
    decisions = [
        Decision(backup) for backup in sorted(backups, key=lambda each: (each.at, each.key), reverse=True)
    ]
    proven = [decision for decision in decisions if decision.backup.proven and not decision.backup.marked]
    _protect(decisions, proven, rules, failing)
    _by_age(decisions, rules, now)
    _by_count(proven, rules)
    _by_period(proven, rules)
    _limit_age(decisions, rules, now)
    _limit_size(decisions, rules)
    return decisions


def _protect(decisions: Sequence[Decision], proven: Sequence[Decision], rules: Rules, failing: bool) -> None:
    """What no limit may take."""
    for decision in decisions:
        if decision.backup.marked:
            _firmly(decision, "marked to be kept")
        if decision.backup.leased:
            _firmly(decision, "being read or restored right now")
        if failing:
            _firmly(decision, "the newest attempt failed, nothing is deleted until one succeeds")
    for place, decision in enumerate(proven[: max(1, rules.proven)], start=1):
        _firmly(decision, f"proven number {place} of the {max(1, rules.proven)} that are never deleted")
    if not any(decision.backup.proven for decision in decisions):
        for decision in decisions:
            _firmly(decision, "nothing of this database is proven")


def _firmly(decision: Decision, reason: str) -> None:
    decision.firm = True
    decision.reasons.append(reason)


def _by_age(decisions: Sequence[Decision], rules: Rules, now: datetime) -> None:
    for decision in decisions:
        if decision.backup.at > now - timedelta(days=rules.days):
            decision.reasons.append(f"younger than {rules.days} days")


def _by_count(proven: Sequence[Decision], rules: Rules) -> None:
    for place, decision in enumerate(proven[: rules.last], start=1):
        decision.reasons.append(f"number {place} of the last {rules.last}")


def _by_period(proven: Sequence[Decision], rules: Rules) -> None:
    """The newest of each of the last so many days, weeks, months, years in which there is any."""
    zone = ZoneInfo(rules.time_zone)
    for rule, word, period_of in _PERIODS:
        wanted = int(getattr(rules, rule))
        seen: set[object] = set()
        for decision in proven:
            period = period_of(decision.backup.at.astimezone(zone))
            if period not in seen and len(seen) < wanted:
                seen.add(period)
                decision.reasons.append(f"the newest of {word} {len(seen)} of {wanted}")


def _limit_age(decisions: Sequence[Decision], rules: Rules, now: datetime) -> None:
    if rules.most_days is None:
        return
    for decision in decisions:
        if not decision.firm and decision.backup.at <= now - timedelta(days=rules.most_days):
            decision.against = f"older than {rules.most_days} days"


def _limit_size(decisions: Sequence[Decision], rules: Rules) -> None:
    """The oldest go first until the rest fits."""
    if rules.most_bytes is None:
        return
    total = sum(decision.backup.size_bytes for decision in decisions if decision.keep)
    for decision in reversed(decisions):
        if total <= rules.most_bytes:
            return
        if decision.keep and not decision.firm:
            total -= decision.backup.size_bytes
            decision.against = f"all together would be larger than {size(rules.most_bytes)}"


@dataclass(frozen=True)
class Day:
    """What would be there on one day of the simulation."""

    at: datetime
    count: int
    size_bytes: int
    oldest: datetime | None
    deleted: int


def simulate(
    backups: Iterable[Candidate],
    rules: Rules,
    now: datetime,
    days: int = 90,
    every: timedelta = timedelta(days=1),
) -> list[Day]:
    """The next days, if backups go on as they do now: same interval, same size as the newest."""
    present = sorted(backups, key=lambda each: each.at)
    typical = present[-1].size_bytes if present else 0
    next_at, key = (present[-1].at if present else now) + every, -1
    story = []
    for number in range(1, days + 1):
        moment = now + timedelta(days=number)
        while next_at <= moment:
            present.append(Candidate(key, next_at, typical))
            next_at, key = next_at + every, key - 1
        decisions = decide([replace(each, leased=False) for each in present], rules, moment)
        kept = [decision.backup for decision in decisions if decision.keep]
        deleted = len(present) - len(kept)
        present = sorted(kept, key=lambda each: each.at)
        total = sum(each.size_bytes for each in present)
        story.append(Day(moment, len(present), total, present[0].at if present else None, deleted))
    return story


def usual_interval(moments: Sequence[datetime]) -> timedelta:
    """The median distance between the last backups; a day while that cannot be known."""
    ordered = sorted(moments)[-15:]
    gaps = sorted(later - earlier for earlier, later in pairwise(ordered))
    middle = gaps[len(gaps) // 2] if gaps else timedelta(days=1)
    return max(middle, timedelta(hours=1))
