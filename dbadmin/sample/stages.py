"""The steps of a load, read from the .sql files beside this module."""

import re
from dataclasses import dataclass, replace
from datetime import date
from importlib.resources import files

FILES = (
    "schema",
    "people",
    "catalogue",
    "learning",
    "commerce",
    "events",
    "constraints",
    "views",
    "problems",
)
HEADER = re.compile(r"^-- stage: (.+?)(?: \((alone|each month)\))?$", re.MULTILINE)
MONTHS = 13


@dataclass(frozen=True)
class Stage:
    """Statements done together or not at all; alone: one by one, because they refuse a transaction."""

    title: str
    sql: str
    mode: str = ""
    month: date | None = None

    def statements(self) -> list[str]:
        return [part.strip() for part in re.split(r";\n", self.sql) if part.strip()]


def text_of(name: str) -> str:
    return (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")


def stages(newest: date) -> list[Stage]:
    """All stages in order; newest is the month in which the load began, so that a resume makes the same."""
    found = [stage for name in FILES for stage in stages_of(text_of(name))]
    return [each for stage in found for each in expanded(stage, newest)]


def stages_of(text: str) -> list[Stage]:
    parts = HEADER.split(text)[1:]
    return [Stage(title, sql, mode or "") for title, mode, sql in zip(*[iter(parts)] * 3, strict=True)]


def expanded(stage: Stage, newest: date) -> list[Stage]:
    if stage.mode != "each month":
        return [stage]
    months = [month_before(newest, back) for back in range(MONTHS - 1, -1, -1)]
    return [replace(stage, title=f"{stage.title} {month:%Y-%m}", month=month) for month in months]


def month_before(month: date, back: int) -> date:
    index = month.year * 12 + month.month - 1 - back
    return date(index // 12, index % 12 + 1, 1)


def events_in(month: date, newest: date, today: date, total: int) -> int:
    """How many of all events fall into a month: the platform grows, and the running month is not over."""
    weights = {back: (MONTHS + 1 - back) ** 1.5 for back in range(MONTHS)}
    back = (newest.year - month.year) * 12 + newest.month - month.month
    share = weights[back] / sum(weights.values())
    over = min(1.0, today.day / 30) if (month.year, month.month) == (today.year, today.month) else 1.0
    return max(7, int(total * share * over))
