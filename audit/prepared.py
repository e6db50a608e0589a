"""What index_log has prepared for searches inside of rows: texts of whole months, columns that changed, sums by day."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import open_text
from audit.log_tables import SCHEMA, is_there
from audit.open_text import OPEN, Stretch
from audit.registry import Installed, Shape
from audit.search import Filter, tables_named
from audit.tables import Rows
from audit.values import PLAIN, findable, needles, pattern

MONTH = re.compile(r"^(statement|loose|(?:rows|pairs)_(\d+))_(\d{4}_\d{2}|default|open)$")
LEAVES = """
select c.relname as name, pg_get_expr(i.indexprs, i.indrelid) as expression
from pg_catalog.pg_class c
left join pg_catalog.pg_class x on x.relnamespace = c.relnamespace and x.relname = c.relname || '_text'
left join pg_catalog.pg_index i on i.indexrelid = x.oid and i.indrelid = c.oid and i.indisvalid
where c.relnamespace = 'dbadmin_audit'::regnamespace and c.relispartition and c.relkind = 'r'
order by 1
"""
REACHED = """
select system_identifier, high, above, last_id, at, zone from dbadmin_audit.summary
"""
#: Neighbours in number that share one entry of the map of changed columns: id >> 6.
BLOCK = 6


@dataclass(frozen=True)
class Reached:
    """How far the sums and the map of changed columns go: all transactions before `high`."""

    system_identifier: str
    high: int
    above: int
    last_id: int
    at: Any
    zone: str


def reached(rows: Rows) -> Reached | None:
    """None: index_log has not been here yet."""
    if not is_there(rows, "summary"):
        return None
    found = rows(REACHED)
    return Reached(*found[0]) if found else None


def open_from(rows: Rows, until: Reached) -> int | None:
    """The first statement that is not prepared yet."""
    found: int | None = rows(OPEN, [until.high, until.above])[0].id
    return found


@dataclass(frozen=True)
class Month:
    """A month of the log: its statements' numbers, and the expressions of its text indexes by partition.

    is_open: that part of the open month whose texts are copied.
    """

    name: str
    low: int
    high: int
    texts: dict[str, str] = field(default_factory=dict)
    is_prepared: bool = False
    is_open: bool = False

    def without(self, stretch: Stretch) -> list[Month]:
        """What of a month that is not prepared lies outside of the copied texts."""
        if self.is_prepared or stretch.high < self.low or stretch.low > self.high:
            return [self]
        parts = [(self.low, min(self.high, stretch.low - 1)), (max(self.low, stretch.high + 1), self.high)]
        return [replace(self, low=low, high=high) for low, high in parts if low <= high]


def shapes_of(state: Installed, wanted: Filter) -> list[Shape]:
    """The versions of columns that the search may meet."""
    tables = tables_named(state, wanted.table) if wanted.table else list(state.watched.values())
    return [shape for table in tables for shape in table.shapes]


def months(rows: Rows, state: Installed, wanted: Filter) -> list[Month]:
    """Newest first; a month is prepared when each of its partitions that the search may meet has its index,
    or no rows."""
    relevant = {shape.id for shape in shapes_of(state, wanted)}
    by_month: dict[str, dict[str, str | None]] = {}
    for row in rows(LEAVES):
        known = MONTH.match(row.name)
        if known and (known[2] is None or int(known[2]) in relevant):
            by_month.setdefault(known[3], {})[row.name] = row.expression
    bare = [name for leaves in by_month.values() for name, text in leaves.items() if text is None]
    filled = with_rows(rows, bare)
    strays = any(name in filled for name in by_month.get("default", {}))
    found = []
    for name, leaves in by_month.items():
        span = number_span(rows, f"statement_{name}") if f"statement_{name}" in leaves else None
        if span is None:
            continue
        ready = name != "default" and not strays and not any(leaf in filled for leaf in leaves)
        texts = {leaf: text for leaf, text in leaves.items() if text}
        found.append(Month(name, *span, texts, ready and bool(texts)))
    if copied := open_text.covered(rows):
        found = [part for month in found for part in month.without(copied)]
        found.append(Month("open", copied.low, copied.high, {}, True, True))
    return sorted(found, key=lambda month: month.low, reverse=True)


def with_rows(rows: Rows, leaves: list[str]) -> set[str]:
    """Of these partitions, those that hold anything."""
    if not leaves:
        return set()
    asked = [
        SQL("select {} as name where exists (select from {})").format(Literal(leaf), Identifier(SCHEMA, leaf))
        for leaf in leaves
    ]
    return {row.name for row in rows(SQL(" union all ").join(asked))}


def number_span(rows: Rows, leaf: str) -> tuple[int, int] | None:
    """The first and the last number of a month."""
    query = SQL("select min(id) as low, max(id) as high from {}").format(Identifier(SCHEMA, leaf))
    row = rows(query)[0]
    return (row.low, row.high) if row.low is not None else None


def text_hits(
    rows: Rows, state: Installed, wanted: Filter, found: list[Month], low: int, high: int
) -> Composable | None:
    """The numbers between low and high whose rows, note or text hold what is looked for, as the indexes tell.

    None: they cannot tell.
    """
    parts: list[Composable] = []
    for month in found:
        if month.is_open:
            asked = open_needles(rows, state, wanted)
            if asked is None:
                return None
            if asked:
                parts.append(open_text.hits(asked, max(low, month.low - 1), min(high, month.high + 1)))
        for leaf, expression in month.texts.items():
            said = leaf_needles(rows, state, wanted, leaf)
            if said is None:
                continue
            if not said:
                return None
            number, likes = Identifier("statement_id"), [like(expression, each) for each in said]
            if leaf.startswith("statement"):
                number = Identifier("id")
                likes.append(SQL("(note is not null or query is not null)"))
            parts.append(
                SQL("select distinct {n} as id from {t} where {likes} and {n} > {low} and {n} < {high}").format(
                    n=number, t=Identifier(SCHEMA, leaf), low=Literal(low), high=Literal(high),
                    likes=SQL(" and ").join(likes),
                )
            )  # fmt: skip
    return SQL(" union all ").join(parts) if parts else SQL("select null::bigint as id where false")


def like(expression: str, text: str) -> Composable:
    """The very expression of the index holds the text."""
    escaped = expression.replace("{", "{{").replace("}", "}}")
    return SQL("({}) ilike {}").format(SQL(escaped).format(), Literal(pattern(text)))


def open_needles(rows: Rows, state: Installed, wanted: Filter) -> list[tuple[int, tuple[str, ...]]] | None:
    """Version of columns -> what the copied texts are asked for; those that cannot hold a hit are left out. None: the
    texts cannot say."""
    names = ["statement_open", "loose_open", *(f"rows_{shape.id}_open" for shape in shapes_of(state, wanted))]
    found = []
    for name in names:
        said = leaf_needles(rows, state, wanted, name)
        if said == []:
            return None
        if said:
            known = MONTH.match(name)
            found.append((int(known[2]) if known and known[2] else 0, tuple(said)))
    return found


def leaf_needles(rows: Rows, state: Installed, wanted: Filter, leaf: str) -> list[str] | None:
    """What a partition's index is asked for; None: this partition cannot hold a hit; []: its index cannot say."""
    known = MONTH.match(leaf)
    shape = state.shapes.get(int(known[2])) if known and known[2] else None
    if shape is not None:
        if (wanted.of and all(column.name != wanted.of for column in shape.kept)) or (
            wanted.column and all(column.name != wanted.column for column in shape.kept)
        ):
            return None
        return needles(rows, shape, wanted)
    if leaf.startswith("statement"):
        if wanted.value or wanted.column:
            return None
        return [wanted.text]
    return findable([wanted.text, *(PLAIN.findall(wanted.value) if wanted.path else [wanted.value])])


def touched_blocks(rows: Rows, state: Installed, wanted: Filter, below: int, limit: int) -> list[int]:
    """Blocks of 64 neighbours in which the column changed, newest first."""
    pairs = [
        (shape.id, column.attnum)
        for shape in shapes_of(state, wanted)
        for column in shape.columns
        if column.name == wanted.column
    ]
    # (0, 0): rows that were kept whole, of which only a look inside tells.
    asked = [
        SQL(
            "(select block from {}.touched where shape_id = {} and attnum = {} and block <= {}"
            " order by block desc limit {})"
        ).format(Identifier(SCHEMA), Literal(shape), Literal(attnum), Literal(below >> BLOCK), Literal(limit))
        for shape, attnum in [*pairs, (0, 0)]
    ]
    return sorted({row.block for row in rows(SQL(" union ").join(asked))}, reverse=True)[:limit]
