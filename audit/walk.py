"""Walking through the log by number, in both directions, with filters on table, person and operation: where the map
tells of nothing that fits, nothing is read; behind its end statements are read one by one, in bounded steps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from psycopg.sql import SQL, Composable, Literal

from audit import mapping
from audit.log_tables import SCHEMA
from audit.mapping import OPERATION, PERSONS, STRETCH, TABLE
from audit.prepared import BLOCK
from audit.registry import Installed
from audit.search import (
    COLUMNS,
    PAGE,
    SECONDS,
    Filter,
    Page,
    filters,
    letter_of,
    moments,
    numbers,
    of_key,
    page_of,
    tables_named,
    where,
)  # fmt: skip
from audit.tables import Rows

#: Lines of the map that are read at a time, blocks of neighbours, numbers behind the end of the map: first and at most.
LINES, BLOCKS, NUMBERS = (8, 128), (4, 64), (2_000, 32_000)
EDGE = SQL("select {}(id) as id from dbadmin_audit.statement {}")
#: Several stretches of numbers, each walked down or up its index.
RANGES = SQL(
    "select {columns} from unnest({lows}::bigint[], {highs}::bigint[]) b (low, high) cross join lateral"
    " (select * from dbadmin_audit.statement {where} order by id {direction} limit {limit}) s"
    " order by id {direction} limit {limit}"
)
NUMBER = 1 << 62


@dataclass(frozen=True)
class Span:
    """From this number, before that one."""

    low: int = 0
    high: int = NUMBER

    def parts(self) -> list[Composable]:
        """As conditions."""
        return [SQL("id >= {}").format(Literal(self.low)), SQL("id < {}").format(Literal(self.high))]


@dataclass(frozen=True)
class Taken:
    """Statements in the order of the walk. reached: through which number all were looked at; None: to the end."""

    found: list[Any]
    reached: int | None


def find(
    rows: Rows, state: Installed, wanted: Filter, before: int | None = None, after: int | None = None,
    limit: int = PAGE, seconds: float | None = SECONDS,
) -> Page:  # fmt: skip
    """One page, newest first, of a search that asks for nothing inside of rows: the statements older than
    `before`, or the nearest that are newer than `after`. seconds: None lets it look to the end."""
    if not state.version:
        return Page()
    if wanted.key:
        return of_key(rows, state, wanted, before, after, limit)
    return Walk(rows, state, wanted).page([Span()], before, after, limit, seconds)


class Walk:
    """The statements that fit a search."""

    def __init__(self, rows: Rows, state: Installed, wanted: Filter) -> None:
        self.rows = rows
        low, high = numbers(rows, wanted)
        self.span = Span(low or 0, NUMBER if high is None else high)
        self.parts = [*filters(state, wanted), *moments(wanted, low, high)]
        self.lines = lines(state, wanted)
        self.through = mapping.through(rows) if self.lines else 0

    def page(
        self, spans: Iterable[Span], before: int | None, after: int | None, limit: int, seconds: float | None
    ) -> Page:
        """One page of these spans of numbers, in the order of the walk."""
        down, found = after is None, list[Any]()
        outer = Span(0 if after is None else after + 1, NUMBER if before is None else before)
        until = time.monotonic() + seconds if down and seconds is not None else None
        for span in spans:
            taken = self.take(cut(span, outer), down, limit + 1 - len(found), until)
            found += taken.found
            if len(found) > limit:
                break
            if taken.reached is not None:
                newer = found[0].id if found and before is not None else None
                return Page(found, newer, taken.reached, self.moment(taken.reached))
        return page_of(found if down else found[::-1], before, after, limit)

    def take(self, span: Span, down: bool, limit: int, until: float | None = None) -> Taken:
        """The first ones, at most so many; until: when to stop, by the clock."""
        found: list[Any] = []
        for some, reached in self.steps(cut(span, self.span), down, limit):
            found += some
            if len(found) >= limit:
                return Taken(found[:limit], found[limit - 1].id)
            if until is not None and time.monotonic() > until:
                return Taken(found, reached)
        return Taken(found, None)

    def steps(self, span: Span, down: bool, limit: int) -> Iterator[tuple[list[Any], int]]:
        """Statements in the order of the walk, and through which number all were looked at."""
        if span.low >= span.high:
            return
        if not self.lines:
            found = self.between(span, down, limit)
            yield found, span.low if down else span.high - 1
            return
        mapped = cut(span, Span(1, self.through + 1))
        rest = cut(span, Span(self.through + 1))
        if down:
            yield from self.one_by_one(rest, down, limit)
            yield from self.by_map(mapped, down, limit)
        else:
            yield from self.by_map(mapped, down, limit)
            yield from self.one_by_one(rest, down, limit)

    def between(self, span: Span, down: bool, limit: int) -> list[Any]:
        """Those of a span."""
        query = SQL("select {} from dbadmin_audit.statement {} order by id {} limit {}").format(
            COLUMNS, where([*self.parts, *span.parts()]), direction(down), Literal(limit)
        )
        return list(self.rows(query))

    def one_by_one(self, span: Span, down: bool, limit: int) -> Iterator[tuple[list[Any], int]]:
        """Where there is no map, as many numbers at a time as take milliseconds; gaps are passed over."""
        size, most = NUMBERS
        while span.low < span.high:
            edge = self.rows(EDGE.format(SQL("max" if down else "min"), where(span.parts())))[0].id
            if edge is None:
                return
            near = (
                Span(max(span.low, edge - size + 1), edge + 1)
                if down
                else Span(edge, min(span.high, edge + size))
            )
            yield self.between(near, down, limit), near.low if down else near.high - 1
            span = Span(span.low, near.low) if down else Span(near.high, span.high)
            size = min(size * 4, most)

    def by_map(self, span: Span, down: bool, limit: int) -> Iterator[tuple[list[Any], int]]:
        """Only blocks of neighbours in which each filter is found."""
        some, most = BLOCKS
        blocks = self.blocks(span, down)
        while taken := list(islice(blocks, some)):
            end = max(taken[-1] << BLOCK, span.low) if down else (taken[-1] + 1 << BLOCK) - 1
            yield self.of_blocks(taken, span, down, limit), end
            some = min(some * 4, most)

    def of_blocks(self, blocks: list[int], span: Span, down: bool, limit: int) -> list[Any]:
        """The statements of these blocks; neighbours are read as one."""
        ranges: list[list[int]] = []
        for block in sorted(blocks):
            if ranges and ranges[-1][1] + 1 == block << BLOCK:
                ranges[-1][1] = (block + 1 << BLOCK) - 1
            else:
                ranges.append([block << BLOCK, (block + 1 << BLOCK) - 1])
        parts = [*self.parts, SQL("id >= b.low and id <= b.high")]
        query = RANGES.format(
            columns=COLUMNS, where=where(parts), direction=direction(down), limit=Literal(limit),
            lows=Literal([max(low, span.low) for low, _ in ranges]),
            highs=Literal([min(high, span.high - 1) for _, high in ranges]),
        )  # fmt: skip
        return list(self.rows(query))

    def blocks(self, span: Span, down: bool) -> Iterator[int]:
        """The blocks of the span where the map has all filters, in the order of the walk."""
        if span.low >= span.high:
            return
        low, high = span.low >> BLOCK, span.high - 1 >> BLOCK
        first, last = low >> STRETCH - BLOCK, high >> STRETCH - BLOCK
        limit, most = LINES
        while True:
            found = self.rows(together(self.lines, first, last, down, limit))
            for row in found:
                places = [number for number, bit in enumerate(row.blocks) if bit == "1"]
                for place in reversed(places) if down else places:
                    block = (row.number << STRETCH - BLOCK) + place
                    if low <= block <= high:
                        yield block
            if len(found) < limit:
                return
            first, last = (first, found[-1].number - 1) if down else (found[-1].number + 1, last)
            limit = min(limit * 4, most)

    def moment(self, number: int) -> Any:
        """When the log came to a number."""
        query = SQL("select at from dbadmin_audit.statement where id >= {} order by id limit 1")
        found = self.rows(query.format(Literal(number)))
        return found[0].at if found else None


def cut(span: Span, other: Span) -> Span:
    """What both have."""
    return Span(max(span.low, other.low), min(span.high, other.high))


def direction(down: bool) -> SQL:
    """As ORDER BY says it."""
    return SQL("desc" if down else "asc")


def lines(state: Installed, wanted: Filter) -> list[Composable]:
    """Which lines of the map a search looks at, a condition for each filter."""
    found: list[tuple[str, list[Composable]]] = []
    if wanted.table:
        found.append((TABLE, [Literal(table.id) for table in tables_named(state, wanted.table)]))
    if wanted.person:
        found.append((PERSONS, [mapping.digest(Literal(wanted.person))]))
    if wanted.operation:
        found.append((OPERATION, [Literal(ord(letter_of(wanted.operation)))]))
    return [
        SQL("kind = {} and value in ({})").format(Literal(kind), SQL(", ").join(values))
        for kind, values in found
    ]


def together(some: list[Composable], first: int, last: int, down: bool, limit: int) -> Composable:
    """The stretches in which all of these lines have a bit in common."""
    one = SQL(
        "(select number, bit_or(blocks) as blocks from {}.stretch where {} and number between {} and {} group by 1) {}"
    )
    names = [SQL(f"s{place}") for place in range(len(some))]
    sources = [
        one.format(SQL(SCHEMA), line, Literal(first), Literal(last), name)
        for line, name in zip(some, names, strict=True)
    ]
    joined = sources[0]
    for source in sources[1:]:
        joined = SQL("{} join {} using (number)").format(joined, source)
    blocks = SQL(" & ").join([SQL("{}.blocks").format(name) for name in names])
    return SQL(
        "select number, ({blocks})::text as blocks from {joined} where {blocks} <> 0::bit({bits})"
        " order by number {direction} limit {limit}"
    ).format(
        blocks=blocks,
        joined=joined,
        bits=SQL(str(mapping.BITS)),
        direction=direction(down),
        limit=Literal(limit),
    )
