"""Texts of the month that is still written to, as index_log copies them: which numbers they reach, and where a text
stands."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit.log_tables import SCHEMA, is_there
from audit.tables import Rows
from audit.values import pattern

#: Neighbours in number, and rows of one statement, that share a line: (id >> 4), (n >> 4).
BLOCK = 4
FROM = "select from_id, high from dbadmin_audit.open_text_reached"
# Few are open; without OFFSET 0 the planner looks for the least number from the beginning of the log on.
OPEN = """
select min(id) as id from (
    select id from dbadmin_audit.statement where xid::text::bigint >= %s and id > %s offset 0) s
"""
LAST = "select max(id) as id from dbadmin_audit.statement"


@dataclass(frozen=True)
class Stretch:
    """The numbers whose texts are copied, with both ends."""

    low: int
    high: int


def covered(rows: Rows) -> Stretch | None:
    """None: nothing is copied."""
    found = rows(FROM) if is_there(rows, "open_text_reached") else []
    if not found:
        return None
    begun = rows(OPEN, [found[0].high, found[0].from_id - 1])[0].id
    last = rows(LAST)[0].id if begun is None else begun - 1
    return None if last is None else Stretch(found[0].from_id, last)


def forget(first_kept: dt.date) -> list[Composable]:
    """Away with the copies when they hold what is older; the next ones are made of what is there."""
    query = SQL("DELETE FROM {schema}.{table} WHERE (SELECT from_id FROM {schema}.open_text_reached)"
                " < {schema}.first_id({moment})")  # fmt: skip
    moment = Literal(dt.datetime.combine(first_kept, dt.time(), dt.UTC))
    return [
        query.format(schema=Identifier(SCHEMA), table=Identifier(table), moment=moment)
        for table in ("open_text", "open_text_reached")
    ]


def hits(asked: list[tuple[int, tuple[str, ...]]], low: int, high: int) -> Composable:
    """The numbers between low and high that lie beside a row which holds all that its version of columns is asked
    for; version 0 stands for rows that were kept whole, notes and texts of statements."""
    by_texts: dict[tuple[str, ...], list[int]] = {}
    for shape, texts in asked:
        by_texts.setdefault(texts, []).append(shape)
    query = SQL(
        "select (block << {b}) + g as id from {schema}.open_text cross join generate_series(0, (1 << {b}) - 1) g"
        " where shape_id = any({shapes}) and {likes} and block between {first} and {last}"
        " and (block << {b}) + g > {low} and (block << {b}) + g < {high}"
    )
    return SQL(" union all ").join(
        query.format(
            b=Literal(BLOCK), schema=Identifier(SCHEMA), shapes=Literal(shapes), low=Literal(low), high=Literal(high),
            likes=SQL(" and ").join(SQL("text like lower({})").format(Literal(pattern(text))) for text in texts),
            first=Literal(low >> BLOCK), last=Literal(high >> BLOCK),
        )
        for texts, shapes in by_texts.items()
    )  # fmt: skip
