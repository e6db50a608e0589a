"""Which columns of a reading become series, and how their values are kept as whole numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dbadmin.probes import Probe, Reading
from dbadmin.units import unit_of

#: Fractions are kept as millionths: a microsecond, a ten-thousandth of a per cent.
MILLIONTH = 1_000_000
FRACTIONS = ("_seconds", "_seconds_total", "_ratio", "_per_second")
AGGREGATE = re.compile(r"^(max|min|sum|avg)\((\w+)\)$")
#: Columns that tell since when a row counts: when they change, the row's counters began anew.
SINCE = ("reset_at", "stats_reset_at", "since_at")
#: Columns that never fall while a row counts, though they are no sums: a fall proves a new beginning.
WITNESSES = ("max_seconds",)
LIMIT = 1 << 62

Key = tuple[Any, ...]


@dataclass
class Look:
    """One line of a reading: since when it counts, what must not fall, and its values as whole numbers."""

    since: tuple[Any, ...]
    witnesses: tuple[Any, ...]
    values: list[int | None]


def bare(column: str) -> str:
    """The column inside an aggregate: max(wait_seconds) -> wait_seconds."""
    found = AGGREGATE.match(column)
    return found[2] if found else column


@lru_cache(4096)
def is_counter(column: str) -> bool:
    """Does it only grow, so that its increase is kept and its rate shown?"""
    return unit_of(bare(column)).grows


@lru_cache(4096)
def scale_of(column: str) -> int:
    """What a value is multiplied with to be kept as a whole number."""
    name = bare(column)
    return MILLIONTH if name.endswith(FRACTIONS) or column.startswith("avg(") else 1


def shape(column: str) -> tuple[bool, int]:
    """(is a counter, scale) of a column."""
    return is_counter(column), scale_of(column)


def whole(value: Any, scale: int) -> int | None:
    """A value as a whole number; None for what is no number or too large to be one."""
    if value is None or isinstance(value, str):
        return None
    try:
        number = round(value * scale) if isinstance(value, float) else int(value * scale)
    except (ValueError, OverflowError, TypeError):
        return None
    return number if -LIMIT < number < LIMIT else None


@dataclass(frozen=True)
class Plan:
    """What to keep of each reading with these columns."""

    columns: tuple[str, ...]
    keys: tuple[int, ...]
    keyed: tuple[int, ...]
    aggregates: tuple[tuple[str, int], ...]
    since: tuple[int, ...]
    witnesses: tuple[int, ...] = ()

    @property
    def scales(self) -> list[int]:
        """The scale of each kept column."""
        return [scale_of(column) for column in self.columns]


@lru_cache(1024)
def plan_for(probe: Probe, names: tuple[str, ...]) -> Plan | None:
    """The plan for a reading of this probe; None when it makes no series."""
    places = {name: place for place, name in enumerate(names)}
    if not all(part in places for part in probe.key):
        return None
    aggregates, plain = [], []
    for entry in probe.series:
        found = AGGREGATE.match(entry)
        if entry == "rows":
            aggregates.append(("rows", -1))
        elif found and found[2] in places:
            aggregates.append((entry, places[found[2]]))
        elif entry in places:
            plain.append(entry)
    if probe.key and not plain:
        plain = [name for name in names if name not in (*probe.key, *WITNESSES) and unit_of(name).numeric]
    if not probe.key:
        aggregates += [(name, places[name]) for name in plain]
        plain = []
    if not plain and not aggregates:
        return None
    return Plan(
        (*plain, *(name for name, _ in aggregates)),
        tuple(places[part] for part in probe.key),
        tuple(places[name] for name in plain),
        tuple(aggregates),
        tuple(places[name] for name in SINCE if name in places),
        tuple(places[name] for name in WITNESSES if name in places),
    )


def key_part(value: Any) -> Any:
    """A part of a key as JSON keeps it."""
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def folded(name: str, values: Iterable[Any]) -> Any:
    """max, min, sum or avg of what is known; a plain column of a single row as it is."""
    known = [value for value in values if value is not None]
    if not known:
        return 0 if name.startswith("sum(") else None
    match name.partition("(")[0]:
        case "max":
            return max(known)
        case "min":
            return min(known)
        case "sum":
            return sum(known)
        case "avg":
            return float(sum(known)) / len(known)
        case _:
            return known[0]


def lines_of(reading: Reading, plan: Plan) -> dict[Key, Look]:
    """The lines of a reading by key; figures over all rows have the empty key."""
    found: dict[Key, Look] = {}
    width = len(plan.keyed)
    if plan.keyed:
        add_keyed(found, reading, plan)
    if plan.aggregates:
        since = tuple(row[place] for row in reading.rows for place in plan.since) if not width else ()
        totals = [
            whole(
                len(reading.rows) if place < 0 else folded(name, (row[place] for row in reading.rows)), scale
            )
            for (name, place), scale in zip(plan.aggregates, plan.scales[width:], strict=True)
        ]
        found[()] = Look(since, (), [*[None] * width, *totals])
    return found


def add_keyed(found: dict[Key, Look], reading: Reading, plan: Plan) -> None:
    """A line for each row; rows of the same key are summed."""
    columns = list(zip(plan.keyed, plan.scales, strict=False))
    empty: list[int | None] = [None] * len(plan.aggregates)
    for row in reading.rows:
        key = tuple([key_part(row[place]) for place in plan.keys])
        values = [whole(row[place], scale) for place, scale in columns]
        if key in found:
            values = added(found[key].values, values)
        since, witnesses = [row[place] for place in plan.since], [row[place] for place in plan.witnesses]
        found[key] = Look(tuple(since), tuple(witnesses), values + empty)


def added(first: Sequence[int | None], second: Sequence[int | None]) -> list[int | None]:
    """Two rows of the same key as one: what is known of both is summed."""
    return [
        one if other is None else other if one is None else one + other
        for one, other in zip(first, second, strict=False)
    ]
