"""Searches inside of rows: by what index_log has prepared, where it was, else row by row, as far as a page may take."""

from __future__ import annotations

import time
from typing import Any

from psycopg.errors import QueryCanceled
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import days, prepared
from audit.log_tables import SCHEMA
from audit.prepared import BLOCK, Month, Reached
from audit.registry import Installed
from audit.search import COLUMNS, PAGE, SECONDS, Filter, Page, of_key, where
from audit.tables import Rows
from audit.values import check, matching
from audit.walk import NUMBER, Span, Walk

#: Seconds of reading on from row to row before an index is asked: what is common is found at once.
FIRST = 0.15
#: Statements of one look; row images that one look may read.
BATCH, IMAGES = 1000, 40_000
LEAST = 50


def find(
    rows: Rows, state: Installed, wanted: Filter, before: int | None = None, after: int | None = None,
    limit: int = PAGE,
) -> Page:  # fmt: skip
    """A page of any search, newest first. A search inside of rows walks from new to old only."""
    if not state.version:
        return Page()
    if not wanted.is_inside:
        return days.find(rows, state, wanted, before, after, limit)
    check(rows, state, wanted)
    if wanted.key:
        return of_one_row(rows, state, wanted, before, limit)
    return Look(rows, state, wanted, before).page(limit)


def of_one_row(rows: Rows, state: Installed, wanted: Filter, before: int | None, limit: int) -> Page:
    """The life of one row, looked through."""
    shown: list[Any] = []
    began = time.monotonic()
    while True:
        page = of_key(rows, state, wanted, before, None, 500)
        hits = matching(rows, state, wanted, page.statements)
        shown += [row for row in page.statements if row.id in hits]
        if page.older is None or len(shown) > limit:
            more = len(shown) > limit
            return Page(shown[:limit], None, shown[limit - 1].id if more else None)
        before = page.older
        if time.monotonic() - began > SECONDS:
            return Page(shown, None, before, page.searched_to or page.statements[-1].at)


class Look:
    """One page of a search inside of rows: batches of statements that may match, newest first, each looked into."""

    def __init__(self, rows: Rows, state: Installed, wanted: Filter, before: int | None) -> None:
        self.rows, self.state, self.wanted = rows, state, wanted
        self.walk = Walk(rows, state, wanted)
        self.position = before
        self.ended = False
        self.size = 200
        self.began = time.monotonic()
        self.months: list[Month] | None = None
        self.reached: Reached | None = prepared.reached(rows) if wanted.column else None
        self.open_from: int | None = None

    def page(self, limit: int) -> Page:
        """Until the page is full, the log ends, or the time is over."""
        shown: list[Any] = []
        while not self.ended:
            batch = self.next_batch()
            hits = matching(self.rows, self.state, self.wanted, batch) if batch else set()
            for row in batch:
                if row.id in hits:
                    shown.append(row)
                    if len(shown) == limit:
                        return Page(shown, None, row.id)
            if time.monotonic() - self.began > SECONDS and not self.ended:
                return Page(shown, None, self.position, self.walk.moment(self.below))
        return Page(shown)

    def next_batch(self) -> list[Any]:
        """The next statements that may match; moves the position."""
        if time.monotonic() - self.began > FIRST and (self.wanted.text or self.wanted.value):
            found = self.by_text()
            if found is not None:
                return found
        if self.wanted.column and self.reached is not None:
            found = self.by_column(self.reached)
            if found is not None:
                return found
        return self.onward()

    def onward(self) -> list[Any]:
        """The next statements under the other conditions, as many as one look may open."""
        until = self.began + SECONDS
        taken = self.walk.take(Span(0, self.below), True, self.size, until)
        self.ended, self.position = taken.reached is None, taken.reached
        looked, kept = 0, []
        for row in taken.found:
            kept.append(row)
            looked += row.images or 1
            if looked > IMAGES and row is not taken.found[-1]:
                self.ended, self.position = False, row.id
                break
        self.size = BATCH
        return kept

    @property
    def below(self) -> int:
        """Everything from this number on was looked at."""
        return NUMBER if self.position is None else self.position

    def by_text(self) -> list[Any] | None:
        """Statements of a prepared month whose rows hold the text; None where no index can tell."""
        if self.months is None:
            self.months = prepared.months(self.rows, self.state, self.wanted)
        position = (
            self.position if self.position is not None else max((m.high for m in self.months), default=0) + 1
        )
        floor = floor_below(self.months, position)
        if floor is None:
            return None
        here = [
            month
            for month in self.months
            if month.is_prepared and month.high > floor and month.low < position
        ]
        hits = prepared.text_hits(self.rows, self.state, self.wanted, here, floor, position)
        if hits is None:
            self.months = []
            return None
        try:
            found = self.among(hits)
        except QueryCanceled:  # it is in too many rows; going on from row to row finds it sooner
            self.months = []
            return None
        self.position = found[-1].id if len(found) == BATCH else floor + 1
        self.ended = len(found) < BATCH and not any(month.low <= floor for month in self.months)
        return found

    def among(self, hits: Composable) -> list[Any]:
        """Statements under the conditions, of those numbers."""
        query = SQL(
            "with hit as materialized (select distinct id from ({}) h) select {} from {}.statement {}"
            " order by id desc limit {}"
        ).format(
            hits, COLUMNS, Identifier(SCHEMA), where([*self.walk.parts, SQL("id in (select id from hit)")]),
            Literal(BATCH),
        )  # fmt: skip
        return list(self.rows(query))

    def by_column(self, until: Reached) -> list[Any] | None:
        """Statements of blocks in which the column changed; None where the map does not reach yet."""
        if self.open_from is None:
            self.open_from = prepared.open_from(self.rows, until) or until.last_id + 1
        position = self.position
        if position is None:
            position = until.last_id + 1 if self.open_from > until.last_id else None
        if position is None or position > self.open_from:
            return None
        blocks = prepared.touched_blocks(self.rows, self.state, self.wanted, position - 1, LEAST)
        self.ended = len(blocks) < LEAST
        if not blocks:
            return []
        found = self.walk.of_blocks(blocks, Span(0, position), True, LEAST << BLOCK)
        self.position = blocks[-1] << BLOCK
        return found


def floor_below(months: list[Month], position: int) -> int | None:
    """Down to which number the prepared months below a position can tell all; None: not from here."""
    newest = max((m.low for m in months if m.is_prepared and m.low < position), default=None)
    if newest is None:
        return None
    floor = newest - 1
    for month in months:
        if month.is_prepared or month.low >= position or month.high <= floor:
            continue
        if month.high >= position - 1:
            return None
        floor = max(floor, month.high)
    return floor if floor < position - 1 else None
