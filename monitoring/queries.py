"""The list of statements as its page shows it: columns, order, and what is shown before there is history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dbadmin import readings
from dbadmin.models import Server
from dbadmin.probes import Column, Problem
from dbadmin.tables import TableView
from dbadmin.units import duration, unit_of
from monitoring.models import Name
from monitoring.statements import FIGURES, PROBE, StatementRow, listing, texts_of

#: pg_stat_statements counts in blocks; nearly every server has blocks of this size.
BLOCK = 8192
#: Columns of the page -> what they are sorted by.
SORTS = {
    "total_seconds": "exec_seconds_total",
    "share_ratio": "exec_seconds_total",
    "calls_count": "calls_total",
    "mean_seconds": "mean_seconds",
    "rows_count": "rows_total",
    "read_bytes": "read_blocks_total",
    "temp_bytes": "temp_written_blocks_total",
    "wal_bytes": "wal_bytes_total",
}
NOTES = {
    "total_seconds": "execution time in the window, summed over all calls",
    "share_ratio": "of the execution time of all statements",
    "mean_seconds": "total time by calls",
    "hit_ratio": "of the blocks it needed, found in shared buffers",
    "read_bytes": "read from outside shared buffers",
    "temp_bytes": "written to temporary files: sorts and hashes beyond work_mem",
}


class Row(NamedTuple):
    """One kind of statement, by one role in one database."""

    query: str
    total_seconds: float
    share_ratio: float
    calls_count: int
    mean_seconds: float | None
    rows_count: int
    hit_ratio: float | None
    read_bytes: int
    temp_bytes: int
    wal_bytes: int
    database: str
    role: str
    line: int


COLUMNS = [Column(name, unit_of(name), NOTES.get(name, "")) for name in Row._fields if name != "line"]


class Page(Sequence[Any]):
    """One page of a list that is as long as it says."""

    def __init__(self, rows: list[Row], count: int) -> None:
        self.rows, self.length = rows, count

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: Any) -> Any:
        return self.rows if isinstance(place, slice) else self.rows[place]


class StatementTable(TableView):
    """One page, sorted and searched by our database; the texts of its rows lead to pages of their own."""

    @property
    def found(self) -> Sequence[Any]:
        """This page, and how many there are."""
        return self.rows

    def extent(self, start: int) -> tuple[int, float]:
        """As many rows as were asked for."""
        return max(0, min(self.limit, len(self.found) - start)), 0.0


@dataclass
class Answer:
    """A page of statements, or all. about: of what the figures speak; problem: why there is none, or nothing newer."""

    page: Sequence[Row]
    about: str
    problem: Problem | None = None


def row_of(found: StatementRow) -> Row:
    """As the page shows it."""
    hit, read = found.hit_blocks_total, found.read_blocks_total
    calls = found.calls_total
    return Row(
        found.text or f"(the text of statement {found.query_id} is not known yet)",
        found.exec_seconds_total,
        found.share_ratio,
        round(calls),
        found.mean_seconds,
        round(found.rows_total),
        hit / (hit + read) if hit + read else None,
        round(read * BLOCK),
        round(found.temp_written_blocks_total * BLOCK),
        round(found.wal_bytes_total),
        found.database,
        found.role,
        found.id,
    )


def answer(
    server: Server,
    start: dt.datetime,
    end: dt.datetime,
    sort: str = "total_seconds",
    search: str = "",
    page: int = 1,
    size: int = 100,
) -> Answer:
    """A page of what ran in the window; before the first minute of history, all that the server has counted so far.

    page: from one; beyond the end, the last one is meant.
    """
    latest = readings.latest(server, PROBE)
    trouble = (latest.problem or latest.trouble) if latest else None
    order = SORTS.get(sort.removeprefix("-"), "exec_seconds_total")
    found = listing(server, start, end, order, size, (page - 1) * size, search)
    if found.count and not found.rows:
        return answer(server, start, end, sort, search, -(-found.count // size), size)
    if found.observed:
        about = seen(found.observed, (end - start).total_seconds(), found.hidden)
        return Answer(Page([row_of(row) for row in found.rows], found.count), about, trouble)
    if latest is None:
        return Answer([], "", Problem("error", "The sampler has not read the statements yet."))
    if latest.problem:
        return Answer([], "", latest.problem)
    about = "Since the server began to count: this window has no history yet."
    return Answer(counted(server, latest.rows), about, trouble)


def seen(observed: float, whole: float, unseen: int | None) -> str:
    """How much of the window has samples, and how many statements cannot be told apart."""
    text = f"Over {duration(round(observed))}."
    if observed < whole - 120:
        text = f"Seen for {duration(round(observed))} of {duration(round(whole))}; the rest has no samples."
    if unseen:
        text += f" {unseen} statements are hidden from our role."
    return text


def counted(server: Server, rows: Sequence[Any]) -> list[Row]:
    """The counters of a reading as they stand, most time first; without lines of history to lead to."""
    known = [row for row in rows if row.query_id is not None and row.calls_total]
    texts = texts_of(server, {(row.database_id, row.query_id) for row in known})
    names = {(name.kind, name.number): name.name for name in Name.objects.filter(server=server)}
    whole = sum(float(row.exec_seconds_total) for row in known) or 1.0
    found = [
        StatementRow(
            id=0,
            query_id=row.query_id,
            text=text.text if (text := texts.get((row.database_id, row.query_id))) else "",
            fingerprint="",
            role=names.get(("role", row.user_id), str(row.user_id)),
            database=names.get(("database", row.database_id), str(row.database_id)),
            toplevel=row.toplevel is not False,
            mean_seconds=float(row.exec_seconds_total) / row.calls_total,
            share_ratio=float(row.exec_seconds_total) / whole,
            **{column: float(getattr(row, column) or 0) for column in FIGURES},
        )
        for row in known
    ]
    return [row_of(row) for row in sorted(found, key=lambda row: row.exec_seconds_total, reverse=True)]


__all__ = ["COLUMNS", "Answer", "Page", "Row", "StatementTable", "answer", "row_of"]
