"""Statements as people look at them: the costliest of a window with text and role, and one in detail."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple

from dbadmin import readings
from dbadmin.by_hand import all_of, read
from dbadmin.models import Server
from monitoring.blocks import fetch, find_source
from monitoring.last_seen import last_seen
from monitoring.line_keys import keys_of
from monitoring.models import Gap, Line, Name, Source, Statement
from monitoring.series import Series, missing_of, of_line, step_for
from monitoring.windows import Window, window

PROBE = "statements"
FIGURES = (
    "calls_total",
    "exec_seconds_total",
    "rows_total",
    "hit_blocks_total",
    "read_blocks_total",
    "written_blocks_total",
    "temp_written_blocks_total",
    "wal_bytes_total",
)
#: What is told of one statement only, and only where the server counts it.
PLANNING = "plan_seconds_total"
#: Asked by every list of statements.
NAMES = "select kind, number, name from monitoring_name where server_id = %s and number = any(%s)"
TEXTS = """
select known.database_id, known.query_id, words.text, words.fingerprint
from monitoring_statement known join monitoring_text words on words.id = known.text_id
where known.server_id = %s and known.query_id = any(%s)
"""
GAPS = f"""
select {all_of(Gap)} from monitoring_gap
where server_id = %s and lines is null and started_at < %s and (ended_at is null or ended_at > %s)
    and (source_id is null or source_id = %s)
order by started_at
"""  # noqa: S608 - our own names
#: What a list may be sorted by; the mean is of two columns.
SORTS = (*FIGURES, "mean_seconds")


@dataclass(frozen=True)
class StatementRow:
    """A statement of one role in one database, and what it did in a window."""

    id: int
    query_id: int
    text: str
    fingerprint: str
    role: str
    database: str
    toplevel: bool
    calls_total: float
    exec_seconds_total: float
    mean_seconds: float | None
    rows_total: float
    hit_blocks_total: float
    read_blocks_total: float
    written_blocks_total: float
    temp_written_blocks_total: float
    wal_bytes_total: float
    share_ratio: float


@dataclass(frozen=True)
class Listing:
    """A page of statements; observed: seconds of the window that were seen; hidden: not to be told apart."""

    rows: list[StatementRow]
    count: int
    observed: float
    exec_seconds: float
    calls: float
    hidden: int | None
    gaps: list[Gap]


@dataclass
class Detail:
    """One statement over time."""

    row: StatementRow
    series: dict[str, Series]
    first_at: dt.datetime
    last_at: dt.datetime | None
    plan_seconds: float | None
    siblings: list[StatementRow] = field(default_factory=list)


def listing(
    server: Server,
    start: dt.datetime,
    end: dt.datetime,
    sort: str = "exec_seconds_total",
    n: int = 100,
    offset: int = 0,
    search: str = "",
    role: str = "",
    database: str = "",
) -> Listing:
    """The statements of a window, the costliest first."""
    source = find_source(server.pk, PROBE)
    by = [
        "exec_seconds_total",
        "calls_total",
        *({sort} - {"exec_seconds_total", "calls_total", "mean_seconds"}),
    ]
    found = window(server, PROBE, by, start, end)
    lines = {line for column in ("calls_total", by[-1]) for line, sum_ in found.sums[column].items() if sum_}
    if source and (search or role or database):
        lines &= matching(server, source, search, role, database)
    best = [
        line for _, line in heapq.nlargest(offset + n, zip(order(found, sort, lines), lines, strict=True))
    ]
    best = best[offset:]
    figures = window(server, PROBE, FIGURES, start, end, lines=best, like=found)
    rows = described(server, source, best, figures, found)
    gaps = gaps_of(server, source, start, end)
    total, calls = found.total("exec_seconds_total"), found.total("calls_total")
    return Listing(rows, len(lines), found.observed, total, calls, hidden(server), gaps)


def order(found: Window, sort: str, lines: Iterable[int]) -> Iterable[float]:
    """What each line is sorted by."""
    if sort != "mean_seconds":
        return map(found.sums[sort].get, lines, repeat(0))
    seconds, calls = found.sums["exec_seconds_total"], found.sums["calls_total"]
    return (seconds.get(line, 0) / max(1, calls.get(line, 0)) for line in lines)


def matching(server: Server, source: Source, search: str, role: str, database: str) -> set[int]:
    """Lines of a role, of a database, or with a word in their text."""
    names = {(name.kind, name.number): name.name for name in Name.objects.filter(server=server)}
    texts: set[tuple[int, int]] | None = None
    if search:
        kept = Statement.objects.filter(server=server, text__text__icontains=search)
        texts = set(kept.values_list("database_id", "query_id"))
    return {
        pk
        for pk, (user_id, database_id, query_id, _) in Line.objects.filter(source=source).values_list(
            "pk", "key"
        )
        if (texts is None or (database_id, query_id) in texts)
        and (not role or names.get(("role", user_id)) == role)
        and (not database or names.get(("database", database_id)) == database)
    }


@dataclass(frozen=True)
class Identity:
    """What a line of statements is: its text, and who runs it where."""

    query_id: int
    text: str
    fingerprint: str
    role: str
    database: str
    toplevel: bool


def identities(server: Server, source: Source, lines: Iterable[int]) -> dict[int, Identity]:
    """What these lines are."""
    keys = keys_of(source, lines)
    texts = texts_of(server, {(key[1], key[2]) for key in keys.values()})
    numbers = {key[0] for key in keys.values()} | {key[1] for key in keys.values()}
    names = {(kind, number): name for kind, number, name in fetch(NAMES, [server.pk, list(numbers)])}
    return {line: identity(key, texts, names) for line, key in keys.items()}


def identity(
    key: Sequence[Any], texts: dict[tuple[int, int], Wording], names: dict[tuple[str, int], str]
) -> Identity:
    """What one line is; numbers stand for names that are not known."""
    user_id, database_id, query_id, toplevel = key
    text = texts.get((database_id, query_id))
    return Identity(
        query_id=query_id,
        text=text.text if text else "",
        fingerprint=text.fingerprint if text else "",
        role=names.get(("role", user_id), str(user_id)),
        database=names.get(("database", database_id), str(database_id)),
        toplevel=toplevel is not False,
    )


def described(
    server: Server, source: Source | None, lines: Sequence[int], figures: Window, whole: Window
) -> list[StatementRow]:
    """Rows with their texts and names, in the order of the lines."""
    if source is None or not lines:
        return []
    known = identities(server, source, lines)
    total = whole.total("exec_seconds_total")
    return [row_of(line, known[line], figures, total) for line in lines if line in known]


class Wording(NamedTuple):
    """The text of a statement, and what it has in common with its like."""

    text: str
    fingerprint: str


def texts_of(server: Server, places: set[tuple[int, int]]) -> dict[tuple[int, int], Wording]:
    """Texts by (database, query id)."""
    rows = fetch(TEXTS, [server.pk, list({query_id for _, query_id in places})])
    return {(database, query): Wording(text, fingerprint) for database, query, text, fingerprint in rows}


def row_of(line: int, known: Identity, figures: Window, total: float) -> StatementRow:
    """One row of a listing."""
    values = {column: figures.value(column, line) for column in FIGURES}
    seconds, calls = values["exec_seconds_total"], values["calls_total"]
    return StatementRow(
        id=line,
        query_id=known.query_id,
        text=known.text,
        fingerprint=known.fingerprint,
        role=known.role,
        database=known.database,
        toplevel=known.toplevel,
        mean_seconds=seconds / calls if calls else None,
        share_ratio=seconds / total if total else 0.0,
        **values,
    )


def hidden(server: Server) -> int | None:
    """How many statements our role cannot tell apart; None when it is not known."""
    reading = readings.latest(server, "statement_store")
    row: Any = reading.rows[0] if reading and reading.rows else None
    return getattr(row, "hidden_count", None)


def gaps_of(server: Server, source: Source | None, start: dt.datetime, end: dt.datetime) -> list[Gap]:
    """Gaps of the server or of all its statements that touch a window."""
    return read(Gap, GAPS, [server.pk, end, start, source.pk if source else None])


def statement(
    server: Server, line_id: int, start: dt.datetime, end: dt.datetime, step: int | None = None
) -> Detail | None:
    """One statement: its figures over a window as series, and its like under other roles and databases."""
    source = find_source(server.pk, PROBE)
    line = Line.objects.filter(source=source, pk=line_id).first() if source else None
    if source is None or line is None:
        return None
    whole = window(server, PROBE, ["exec_seconds_total"], start, end)
    row = one_row(server, source, line_id, start, end, whole)
    figures = (*FIGURES, PLANNING) if is_planning_counted(server) else FIGURES
    found = of_line(source, line_id, figures, start, end, step or step_for(start, end, points=100))
    if "calls_total" in found:
        found["mean_seconds"] = mean(found["calls_total"], found["exec_seconds_total"])
        missing = missing_of(server, source, line_id, found["calls_total"], end)
        for one in found.values():
            one.missing = missing
    return Detail(
        row,
        found,
        line.first_at,
        last_seen(source, line_id, "calls_total", line.first_at),
        planning(server, line_id, start, end) if PLANNING in found else None,
        siblings(server, source, row, start, end, whole),
    )


def is_planning_counted(server: Server) -> bool:
    """Does the server tell how long planning takes?"""
    reading = readings.latest(server, PROBE)
    return bool(reading and reading.rows and getattr(reading.rows[0], PLANNING) is not None)


def planning(server: Server, line_id: int, start: dt.datetime, end: dt.datetime) -> float:
    """Seconds that planning took in a window."""
    return window(server, PROBE, [PLANNING], start, end, lines=[line_id]).value(PLANNING, line_id)


def one_row(
    server: Server, source: Source, line_id: int, start: dt.datetime, end: dt.datetime, whole: Window
) -> StatementRow:
    """The figures of one statement over a window."""
    figures = window(server, PROBE, FIGURES, start, end, lines=[line_id])
    return described(server, source, [line_id], figures, whole)[0]


def mean(calls: Series, seconds: Series) -> Series:
    """Seconds a call, where there were calls."""
    values = [
        time / number if number and time is not None else None
        for number, time in zip(calls.values, seconds.values, strict=True)
    ]
    return Series("mean_seconds", calls.key, calls.start, calls.step, values)


def siblings(
    server: Server, source: Source, row: StatementRow, start: dt.datetime, end: dt.datetime, whole: Window
) -> list[StatementRow]:
    """The same statement by its fingerprint: of other roles, databases and levels, or before an upgrade."""
    if not row.fingerprint:
        return []
    like = Statement.objects.filter(server=server, text__fingerprint=row.fingerprint)
    ids = list(like.values_list("query_id", flat=True))
    lines = list(
        Line.objects.filter(source=source, key__2__in=ids)
        .exclude(pk=row.id)
        .values_list("pk", flat=True)[:50]
    )
    if not lines:
        return []
    return described(server, source, lines, window(server, PROBE, FIGURES, start, end, lines=lines), whole)
