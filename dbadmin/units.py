"""The suffix of a column's name is its unit: what people read, how it sorts, what Prometheus calls it."""

import datetime as dt
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Number
from typing import Any

from django.utils import timezone

UNKNOWN = "–"
THIN = "\u202f"


def count(value: Any) -> str:
    """48 120: whole numbers in full, thin spaces between thousands; fractions with three digits."""
    if isinstance(value, float | Decimal) and value != int(value):
        return significant(float(value))
    return f"{int(value):,}".replace(",", THIN)


def several(number: int, noun: str) -> str:
    """1 row, 2 rows, 48 120 rows."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def significant(value: float) -> str:
    """At most three significant digits, never an exponent."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else f"{round(value):,}".replace(",", THIN)


def size(value: float) -> str:
    """11.8 MiB."""
    number, steps = float(value), ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    step = 0
    while abs(number) >= 999.5 and step < len(steps) - 1:
        number, step = number / 1024, step + 1
    return f"{significant(number)} {steps[step]}"


def duration(value: float | dt.timedelta) -> str:
    """6 min 12 s; 340 ms; 2 d 4 h: the two largest parts that matter."""
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else float(value)
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if seconds < 1:
        return sign + (f"{significant(seconds * 1000)} ms" if seconds else "0 s")
    if seconds < 60:
        return f"{sign}{significant(seconds)} s"
    whole = round(seconds)
    for name, length, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{sign}{whole // length} {name}" + (f" {rest} {lower}" if rest else "")
    return f"{sign}{whole} s"


def percent(value: float) -> str:
    """98.9 %, from a ratio of 0 to 1; 100 % only when it is."""
    shown = float(value) * 100
    if 0 < shown < 0.01:
        return "< 0.01 %"
    text = significant(shown if shown >= 1 else round(shown, 2))
    if text == "100" and value < 1:
        text = "99.9"
    return f"{text} %"


def moment(value: dt.datetime) -> str:
    """09:47:49 today, 2025-03-01 09:47 before."""
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return moment_text(local, timezone.localtime().date())


def moment_text(local: dt.datetime, today: dt.date) -> str:
    """The same for a moment that is already in the page's zone."""
    return local.isoformat(" ")[11:19] if local.date() == today else local.isoformat(" ")[:16]


def label(value: Any) -> str:
    """Any value as text: lists by commas, yes and no for booleans, whole numbers as identifiers."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return ", ".join(label(item) for item in value)
    if isinstance(value, dt.datetime):
        return moment(value)
    if isinstance(value, dt.timedelta):
        return duration(value)
    if isinstance(value, Number):
        return count(value)
    return str(value)


@dataclass(frozen=True)
class Unit:
    """How the values of a column are read.

    suffix: the end of the column's name; prometheus: the base unit in metric names;
    numeric: right-aligned and comparable; grows: a counter whose rate is shown.
    """

    suffix: str
    prometheus: str
    show: Callable[[Any], str]
    numeric: bool = True
    grows: bool = False

    def text(self, value: Any) -> str:
        """For people; an en dash when the value is not known."""
        return UNKNOWN if value is None else self.show(value)

    @property
    def align(self) -> str:
        """The CSS class of a cell."""
        return "number" if self.numeric else "text"


LABEL = Unit("", "", label, numeric=False)
NUMBER = Unit("", "", label)
UNITS = (
    Unit("_bytes_total", "bytes_total", size, grows=True),
    Unit("_seconds_total", "seconds_total", duration, grows=True),
    Unit("_total", "total", count, grows=True),
    Unit("_bytes_per_second", "bytes_per_second", lambda v: f"{size(v)}/s"),
    Unit("_per_second", "per_second", lambda v: f"{significant(float(v))}/s"),
    Unit("_bytes", "bytes", size),
    Unit("_seconds", "seconds", duration),
    Unit("_ratio", "ratio", percent),
    Unit("_rows", "rows", count),
    Unit("_pages", "pages", count),
    Unit("_count", "count", count),
    Unit("_at", "timestamp_seconds", moment, numeric=False),
)


def rate_name(column: str) -> str:
    """What a counter's rate would be called: commits_total -> commits_per_second; others stay as they are.

    The rate of a time that adds up has no unit: so many were busy at once.
    """
    for suffix, rate in (("_bytes_total", "_bytes_per_second"), ("_seconds_total", "_count")):
        if column.endswith(suffix):
            return column.removesuffix(suffix) + rate
    return column.removesuffix("_total") + "_per_second" if column.endswith("_total") else column


@functools.lru_cache(4096)
def unit_of(column: str) -> Unit:
    """The unit that a column's name states; LABEL when it states none."""
    return next((unit for unit in UNITS if column.endswith(unit.suffix)), LABEL)
