"""Statements as lines of a list: what happened in a few words, and the change if it was one row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psycopg.sql import SQL, Literal

from audit import diff
from audit.changes import exact, image, paired, whole_images
from audit.long_values import columns_of, told_apart
from audit.registry import Installed, Watched, images_of
from audit.search import OPERATIONS, Change, key_text
from audit.tables import Rows

VERBS = {"I": "inserted", "U": "updated", "D": "deleted", "T": "emptied", "A": "altered"}


@dataclass
class Line:
    """A statement for the eye."""

    statement: Any
    table: Watched | None
    change: Change | None = None
    brief: diff.Brief = field(default_factory=diff.Brief)

    @property
    def operation(self) -> str:
        """insert, update …"""
        return OPERATIONS.get(str(self.statement.operation), "")

    @property
    def verb(self) -> str:
        """inserted, updated …"""
        return VERBS.get(str(self.statement.operation), "")

    @property
    def rows(self) -> int | None:
        """How many rows; an update keeps two images of each. None where the server does not say."""
        images: int | None = self.statement.images
        if images is None or self.statement.operation in "TA":
            return None
        return (images + 1) // 2 if self.statement.operation == "U" else images

    @property
    def key(self) -> str:
        """The row's key, when it is one row and has one."""
        return key_text(self.change.key) if self.change and self.change.key else ""


def lines_of(rows: Rows, state: Installed, statements: list[Any], detail: bool = True) -> list[Line]:
    """Lines in the order of the statements."""
    lines = [Line(each, state.watched.get(each.watched_id)) for each in statements]
    if not detail:
        return lines
    found = single_rows(rows, state, statements)
    for line in lines:
        line.change = found.get(line.statement.id)
        if line.change:
            line.brief = diff.brief(*without_key(line.change))
    return lines


Row = dict[str, str | None]


def without_key(change: Change) -> tuple[Row | None, Row | None]:
    """Before and after, without the key of an inserted or deleted row: it stands beside."""
    if change.kind == "update":
        return change.old, change.new
    old, new = (
        {name: value for name, value in row.items() if name not in change.key} if row is not None else None
        for row in (change.old, change.new)
    )
    return old, new


def single_rows(rows: Rows, state: Installed, statements: list[Any]) -> dict[int, Change]:
    """The row of each statement that has but one, in one question per version of columns."""
    by_shape: dict[int, list[Any]] = {}
    for each in statements:
        if Line(each, None).rows == 1:
            by_shape.setdefault(each.shape_id, []).append(each)
    found: dict[int, Change] = {}
    for shape_id, group in by_shape.items():
        shape = state.shapes.get(shape_id)
        if shape is None:
            found |= whole(rows, state, group)
            continue
        query = SQL(
            "select r.statement_id, r.n, r.side::text as side, {columns} from {table} r"
            " where r.statement_id = any({ids}) and r.at between {low} and {high} order by 1, 2, 3"
        ).format(
            columns=columns_of(shape, "r"), table=images_of(shape),
            ids=Literal([each.id for each in group]),
            low=Literal(min(each.at for each in group)), high=Literal(max(each.at for each in group)),
        )  # fmt: skip
        images: dict[int, list[tuple[int, str, Any]]] = {}
        for row in rows(exact(query)):
            values = image(shape, row.texts, row.lengths)
            images.setdefault(row.statement_id, []).append((row.n, row.side, values))
        for each in group:
            changes = paired(each, shape, images.get(each.id, []))
            if changes:
                found[each.id] = changes[0]
        told_apart(rows, [found[each.id] for each in group if each.id in found])
    return found


def whole(rows: Rows, state: Installed, statements: list[Any]) -> dict[int, Change]:
    """The same of rows that were kept whole."""
    images = whole_images(rows, [each.id for each in statements])
    return {
        each.id: paired(each, None, images[each.id], state.watched.get(each.watched_id))[0]
        for each in statements
        if each.id in images
    }
