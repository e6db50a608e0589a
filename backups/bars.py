"""What can be recovered, drawn: windows, holes and base backups over time, ours and those of other tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

if TYPE_CHECKING:
    from backups.foreign.models import ForeignRepository

#: The drawing is so wide in units of its own; it is stretched to the page.
WIDTH = 1000
TICKS = 4
Stretch = tuple[datetime, datetime]


@dataclass(frozen=True)
class Bar:
    """One rectangle of the drawing."""

    x: float
    width: float
    kind: str
    title: str
    href: str = ""


@dataclass(frozen=True)
class Scale:
    """From a first to a last moment."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return max((self.end - self.start).total_seconds(), 1)

    @property
    def ticks(self) -> list[datetime]:
        """What is written below."""
        return [self.start + (self.end - self.start) / TICKS * number for number in range(TICKS + 1)]

    def bar(self, first: datetime, last: datetime, kind: str, title: str, href: str = "") -> Bar:
        x = (first - self.start).total_seconds() / self.seconds * WIDTH
        width = max((last - first).total_seconds() / self.seconds * WIDTH, 1.5)
        return Bar(round(x, 2), round(width, 2), kind, title, href)

    def drawn(
        self, windows: Iterable[Stretch], holes: Iterable[tuple[*Stretch, str]], bases: Iterable[datetime]
    ) -> list[Bar]:
        """Windows, over them the holes, over them the base backups."""
        found = [self.bar(first, last, "window", f"{text(first)} to {text(last)}") for first, last in windows]
        found += [
            self.bar(first, last, "hole", f"Missing: {missing or 'a base backup'}")
            for first, last, missing in holes
        ]
        found += [
            Bar(self.bar(at, at, "", "").x, 2, "base", f"Base backup {text(at)}")
            for at in bases
            if self.start <= at <= self.end
        ]
        return found


def text(moment: datetime, exact: bool = False) -> str:
    """As the field takes it: down, so that it stays inside its window; exact keeps fractions of a second.

    Where clocks were put back its hour comes twice: then with the zone.
    """
    local = timezone.localtime(moment)
    fraction = f".{local:%f}" if exact and local.microsecond else ""
    return f"{local:%Y-%m-%d %H:%M:%S}{fraction}{local.isoformat()[-6:] if is_unclear(local) else ''}"


def is_unclear(moment: datetime) -> bool:
    """Whether clocks showed it twice, or never."""
    return moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()


@dataclass(frozen=True)
class Drawing:
    """The bars of one repository, and what is written below them; none while its windows are unknown."""

    bars: Sequence[Bar] = ()
    ticks: Sequence[datetime] = ()


def of_repository(repository: ForeignRepository) -> Drawing:
    """As it was when it was read: a hole that no backup leads over goes on until then."""
    windows = [(each["start"], each["end"]) for each in repository.windows]
    begun = [each["start"] for each in [*repository.windows, *repository.holes]]
    if not begun or repository.as_of is None:
        return Drawing()
    known = [end for _, end in windows] + [hole["end"] for hole in repository.holes if hole["end"]]
    is_open = any(hole["end"] is None for hole in repository.holes)
    last = max([*begun, *known, *([repository.as_of] if is_open else [])])
    scale = Scale(min(begun), max(last, min(begun) + timedelta(seconds=1)))
    holes = [(hole["start"], hole["end"] or scale.end, hole["missing"]) for hole in repository.holes]
    bases = [
        each["finished_at"] for each in repository.backups if each["finished_at"] and not each["problem"]
    ]
    return Drawing(scale.drawn(windows, holes, bases), scale.ticks)
