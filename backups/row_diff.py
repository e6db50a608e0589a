"""Two tables compared by key, wherever each of them is: which rows are missing, changed or extra in the live one.

Both servers sort the keys and a digest of each row; one pass over the two streams finds what differs. Nothing is
kept in memory, and no value leaves the servers but the keys.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from backups.row_places import Shape

MISSING, CHANGED, EXTRA, SAME = "missing", "changed", "extra", "same"
Line = tuple[bytes, bytes]
#: What a row is, its key and its digest: that of the live row where there is one.
Found = tuple[str, bytes, bytes]
_MARK_DIGITS = 15
#: Sums of marks are taken modulo this.
MARKS = 2**63


@dataclass(frozen=True)
class Pairing:
    """Which columns two tables have in common, and by which of them their rows are told apart."""

    key: Sequence[str]
    columns: Sequence[str]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def has_key(self) -> bool:
        """Without one, rows are compared as a whole and none is called changed."""
        return bool(self.key)


class NotToldApart(Exception):
    """A key that is one on one side is none on the other; a sentence says why."""


def pair(source: Shape, live: Shape) -> Pairing:
    """The live table's key, where the other has its columns as well; else the other's own."""
    common = [column.name for column in live.columns if column.name in source]
    key = next((key for key in (live.key, source.key) if key and all(name in common for name in key)), [])
    notes = [f"The column {name} is not in the live table." for name in only(source, live)]
    notes += [f"The column {name} is new in the live table." for name in only(live, source)]
    return Pairing(list(key), common, notes) if key else as_a_whole(common, notes)


def as_a_whole(columns: Sequence[str], notes: Sequence[str]) -> Pairing:
    """For tables without a common key."""
    no_key = "No key tells the rows apart: they are compared as a whole, and cannot be copied back."
    return Pairing([], columns, [*notes, no_key])


def only(one: Shape, other: Shape) -> list[str]:
    """Columns that the other lacks."""
    return [column.name for column in one.columns if column.name not in other]


def sorted_rows(rows: sql.Composed, pairing: Pairing) -> sql.Composed:
    """Rows (see rows_of) as key and digest, in the order of the keys' bytes: the same on every server."""
    key = list(pairing.key or pairing.columns)
    rest = [name for name in pairing.columns if name not in key]
    return sql.SQL(
        "COPY (SELECT key, pg_catalog.left(pg_catalog.encode("
        "pg_catalog.sha256(pg_catalog.convert_to(rest, 'UTF8')), 'hex'), 32)"
        " FROM (SELECT {key} AS key, {rest} AS rest FROM {table} AS t) AS rows"
        " ORDER BY pg_catalog.convert_to(key, 'UTF8')) TO STDOUT"
    ).format(key=array_text(key), rest=array_text(rest), table=rows)


def mark_of(names: Sequence[str], alias: str) -> sql.Composed:
    """The mark of a row, asked of the server; see mark."""
    return sql.SQL(
        "('x' || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({}, 'UTF8')), 'hex'), {}))"
        "::bit({})::int8"
    ).format(array_text(names, alias), _MARK_DIGITS, _MARK_DIGITS * 4)


def mark(digest: bytes) -> int:
    """A number from the digest of a row; those of many rows can be added up, see MARKS."""
    return int(digest[:_MARK_DIGITS], 16)


def array_text(names: Sequence[str], alias: str = "t") -> sql.Composable:
    """Values as one JSON array of texts: whatever is in them, two rows read alike only if they are."""
    if not names:
        return sql.Literal("")
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(alias, name)) for name in names)
    # A function takes a hundred arguments at most, an array any number.
    return sql.SQL("pg_catalog.to_json(ARRAY[{}]::text[])::text").format(texts)


def lines(connection: psycopg.Connection[Any], statement: sql.Composed) -> Generator[Line, None, None]:
    """The rows of a COPY, as their two fields."""
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in copy:
            for line in bytes(block).splitlines():
                key, _, digest = line.rpartition(b"\t")
                yield key, digest


def told_apart(rows: Iterable[Line], key: Sequence[str], where: str) -> Iterator[Line]:
    """The same rows; raises NotToldApart at the first whose key is another row's as well, or null in part."""
    names, before = ", ".join(key), None
    for line in rows:
        if line[0] == before or (b"null" in line[0] and None in key_of(line[0])):
            found = ", ".join("null" if part is None else part for part in key_of(line[0]))
            raise NotToldApart(
                f"The key {names} does not tell the rows of the {where} apart: of some it is {found}."
            )
        before = line[0]
        yield line


def merge(source: Iterable[Line], live: Iterable[Line]) -> Iterator[Found]:
    """Every row of either side, in order, and what it is. Both sides are sorted by key; a key may repeat."""
    theirs, ours = iter(source), iter(live)
    one, two = next(theirs, None), next(ours, None)
    while one is not None and two is not None:
        if one[0] < two[0]:
            yield MISSING, *one
            one = next(theirs, None)
        elif two[0] < one[0]:
            yield EXTRA, *two
            two = next(ours, None)
        else:
            yield (SAME if one[1] == two[1] else CHANGED), *two
            one, two = next(theirs, None), next(ours, None)
    for kind, first, rest in ((MISSING, one, theirs), (EXTRA, two, ours)):
        if first is not None:
            yield kind, *first
            yield from ((kind, *line) for line in rest)


def differences(
    source: psycopg.Connection[Any],
    other: sql.Composed,
    live: psycopg.Connection[Any],
    table: sql.Composed,
    pairing: Pairing,
) -> Iterator[Found]:
    """Every row of both tables, and what it is; the connections are steady ones. May raise NotToldApart."""
    with (
        closing(lines(source, sorted_rows(other, pairing))) as theirs,
        closing(lines(live, sorted_rows(table, pairing))) as ours,
    ):
        if pairing.has_key:
            yield from merge(
                told_apart(theirs, pairing.key, "backup"), told_apart(ours, pairing.key, "live table")
            )
        else:
            yield from merge(theirs, ours)


def key_of(raw: bytes) -> list[str | None]:
    """A key as its texts, from the line of a COPY, which doubles backslashes."""
    found: list[str | None] = json.loads(raw.replace(b"\\\\", b"\\"))
    return found
