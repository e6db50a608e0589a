"""Statements of a window with their texts, roles and databases, as the pages show them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.utils import timezone

from dbadmin import readings
from dbadmin.charts import Line as ChartLine
from dbadmin.models import Server
from dbadmin.probes import Column, Problem, Reading
from dbadmin.units import unit_of
from monitoring.blocks import find_source
from monitoring.keeper import lines_of
from monitoring.models import Line, Name, Statement
from monitoring.series import Series, series
from monitoring.windows import Window, window

#: pg_stat_statements counts in blocks; nearly every server has blocks of this size.
BLOCK = 8192
NOT_YET = Problem("error", "The statements have not been read yet; the sampler does it each minute.")
COUNTERS = (
    "exec_seconds_total",
    "calls_total",
    "rows_total",
    "hit_blocks_total",
    "read_blocks_total",
    "temp_written_blocks_total",
    "wal_bytes_total",
)
SHOWN = (
    "query",
    "database",
    "role",
    "total_seconds",
    "share_ratio",
    "calls_count",
    "mean_seconds",
    "rows_count",
    "hit_ratio",
    "read_bytes",
    "temp_bytes",
    "wal_bytes",
)
NOTES = {
    "total_seconds": "execution time in the window, summed over all calls",
    "share_ratio": "of the execution time of all statements",
    "mean_seconds": "total time by calls",
    "hit_ratio": "of the blocks it needed, found in shared buffers",
    "read_bytes": "read from outside shared buffers",
    "temp_bytes": "written to temporary files: sorts and hashes beyond work_mem",
}
COLUMNS = [Column(name, unit_of(name), NOTES.get(name, "")) for name in SHOWN]


class Row(NamedTuple):
    """One kind of statement, by one role in one database."""

    query: str
    database: str
    role: str
    total_seconds: float
    share_ratio: float
    calls_count: int
    mean_seconds: float | None
    rows_count: int
    hit_ratio: float | None
    read_bytes: int
    temp_bytes: int
    wal_bytes: int | None
    ident: str
    toplevel: bool


@dataclass
class Answer:
    """The statements of a window. since: of what the figures speak; problem: why there are none."""

    rows: list[Row]
    since: str
    problem: Problem | None = None


Key = tuple[int, int, int, bool]
Sums = dict[Key, dict[str, float]]


def statements(server: Server, start: dt.datetime, end: dt.datetime) -> Answer:
    """What ran in the window; before the first minute of history, what the server has counted so far."""
    latest = readings.latest(server, "statements")
    found = window(server, "statements", COUNTERS, start, end)
    if found.observed:
        return Answer(rows(server, window_sums(server, found)), observed(found), trouble(latest))
    if latest is None:
        return Answer(
            [],
            "",
            NOT_YET,
        )
    if latest.problem:
        return Answer([], "", latest.problem)
    since = "Since the server's counting began: there is no history of this window yet."
    return Answer(rows(server, reading_sums(latest)), since, trouble(latest))


def trouble(latest: Reading | None) -> Problem | None:
    """Why there is nothing newer."""
    return None if latest is None else latest.problem or latest.trouble


def observed(found: Window) -> str:
    """How much of the window was seen."""
    whole = (min(found.end, timezone.now()) - found.start).total_seconds()
    seen = unit_of("observed_seconds").text(round(found.observed))
    if found.observed >= whole - 120:
        return f"Over {seen}."
    length = unit_of("whole_seconds").text(round(whole))
    return f"Seen for {seen} of {length}; the rest of the window has no samples."


def window_sums(server: Server, found: Window) -> Sums:
    """Sums by key (user_id, database_id, query_id, toplevel)."""
    source = find_source(server.pk, "statements", "")
    lines = {line for sums in found.sums.values() for line in sums}
    keys = lines_of(source, lines) if source else {}
    return {
        key: {column: found.value(column, line) for column in COUNTERS}  # type: ignore[misc]
        for line, key in keys.items()
    }


def reading_sums(latest: Reading) -> Sums:
    """The counters of a reading as they stand."""
    return {
        (row.user_id, row.database_id, row.query_id, row.toplevel): {
            column: float(getattr(row, column) or 0) for column in COUNTERS
        }
        for row in latest.rows
        if row.query_id is not None
    }


def rows(server: Server, sums: Sums) -> list[Row]:
    """With names and texts, most time first."""
    whole = sum(values["exec_seconds_total"] for values in sums.values())
    known, roles, bases = texts(server, sums), names(server, "role"), names(server, "database")
    found = []
    for (user_id, database_id, query_id, toplevel), values in sums.items():
        if not values["calls_total"]:
            continue
        hit, read = values["hit_blocks_total"], values["read_blocks_total"]
        text = known.get((database_id, query_id), "")
        found.append(
            Row(
                text or f"(the text of statement {query_id} is not known yet)",
                bases.get(database_id, str(database_id)),
                roles.get(user_id, str(user_id)),
                values["exec_seconds_total"],
                values["exec_seconds_total"] / whole if whole else 0.0,
                round(values["calls_total"]),
                values["exec_seconds_total"] / values["calls_total"],
                round(values["rows_total"]),
                hit / (hit + read) if hit + read else None,
                round(read * BLOCK),
                round(values["temp_written_blocks_total"] * BLOCK),
                round(values["wal_bytes_total"]),
                f"{database_id}.{query_id}",
                bool(toplevel),
            )
        )
    return sorted(found, key=lambda row: row.total_seconds, reverse=True)


def texts(server: Server, keys: Iterable[Key]) -> dict[tuple[int, int], str]:
    """Texts by (database_id, query_id), shortened to what a list shows."""
    wanted = {key[2] for key in keys}
    found = Statement.objects.filter(server=server, query_id__in=wanted).select_related("text")
    return {(each.database_id, each.query_id): " ".join(each.text.text[:600].split()) for each in found}


def names(server: Server, kind: str) -> dict[int, str]:
    """Names of roles or databases by their numbers."""
    return dict(Name.objects.filter(server=server, kind=kind).values_list("number", "name"))


@dataclass
class Kind:
    """One kind of statement with all roles and levels that run it."""

    statement: Statement | None
    database: str
    query_id: int
    keys: list[Key]

    @property
    def text(self) -> str:
        """The whole text as far as we have it."""
        return self.statement.text.text if self.statement else ""


def kind(server: Server, database_id: int, query_id: int) -> Kind | None:
    """Find it; None when neither history nor texts know it."""
    statement = (
        Statement.objects.filter(server=server, database_id=database_id, query_id=query_id)
        .select_related("text")
        .first()
    )
    source = find_source(server.pk, "statements", "")
    lines = Line.objects.filter(source=source, key__1=database_id, key__2=query_id) if source else []
    keys = [tuple(line.key) for line in lines]
    if statement is None and not keys:
        return None
    base = names(server, "database").get(database_id, str(database_id))
    return Kind(statement, base, query_id, keys)  # type: ignore[arg-type]


def together(server: Server, found: Kind, column: str, start: dt.datetime, end: dt.datetime) -> Series | None:
    """The series of a column over all roles that run a statement; None when there is none."""
    parts = [series(server, "statements", column, key, start, end) for key in found.keys]
    if not parts:
        return None
    first = parts[0]
    first.values = [added(values) for values in zip(*(part.values for part in parts), strict=True)]
    return first


def added(values: Sequence[float | None]) -> float | None:
    """The sum of what is known; unknown when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def points(found: Series) -> list[tuple[float, float | None]]:
    """For a chart."""
    return [(at / 1000, value) for at, value in found.points()]


def mean_line(calls: Series, time: Series) -> ChartLine:
    """Time by calls, where there were calls."""
    values = [
        (at, spent / count if count and spent is not None else None)
        for (at, count), (_, spent) in zip(points(calls), points(time), strict=True)
    ]
    return ChartLine("Mean time", values)


def shares(server: Server, found: Kind, start: dt.datetime, end: dt.datetime) -> list[Row]:
    """The statement's rows of the window: one for each role and level."""
    ident_prefix = f"{found.keys[0][1]}.{found.query_id}" if found.keys else ""
    return [row for row in statements(server, start, end).rows if row.ident == ident_prefix]


__all__ = ["COLUMNS", "Answer", "Kind", "kind", "mean_line", "points", "shares", "statements", "together"]
