"""A comparison of rows as it is kept: the keys of what differs, counted in full and listed up to a limit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from django.db import transaction
from django.utils import timezone

from backups.models import RowComparison, RowDifference, SideSchema
from backups.row_diff import (
    CHANGED,
    EXTRA,
    MARKS,
    MISSING,
    SAME,
    Found,
    NotToldApart,
    Pairing,
    as_a_whole,
    differences,
    key_of,
    mark,
    pair,
)  # fmt: skip
from backups.row_places import TableName, rows_of, shape_of, steady
from dbadmin.models import Run

#: So many differences of a table are listed with their keys; the others are only counted.
MOST_LISTED = 10_000


def compare_rows(
    side: SideSchema,
    connections: tuple[psycopg.Connection[Any], psycopg.Connection[Any]],
    run: Run,
    tell: Callable[[str, int], None] = lambda table, rows: None,
) -> list[RowComparison]:
    """Compare each table of a side schema with the live one and keep the outcome, in the place of an earlier one.

    connections: one for the tables beside, one for the live ones.
    """
    for connection in connections:
        steady(connection)
    found = []
    for each in side.tables:
        other, table = TableName(side.name, each["side"]), TableName(each["schema"], each["name"])
        row = RowComparison(
            server=side.server, database=side.database, schema=table.schema, name=table.name,
            other_schema=other.schema, other_name=other.name, side=side, run=run,
        )  # fmt: skip
        keys = _compare(row, other, table, connections, tell)
        _keep(row, keys)
        found.append(row)
    return found


def compare_again(
    row: RowComparison,
    connections: tuple[psycopg.Connection[Any], psycopg.Connection[Any]],
    run: Run,
    tell: Callable[[str, int], None] = lambda table, rows: None,
) -> RowComparison:
    """The same two tables as they are now."""
    for connection in connections:
        steady(connection)
    now = RowComparison(
        server=row.server, database=row.database, schema=row.schema, name=row.name, side=row.side, run=run,
        other_schema=row.other_schema, other_name=row.other_name,
    )  # fmt: skip
    other, table = TableName(row.other_schema, row.other_name), TableName(row.schema, row.name)
    _keep(now, _compare(now, other, table, connections, tell))
    return now


def _compare(
    row: RowComparison,
    other: TableName,
    table: TableName,
    connections: tuple[psycopg.Connection[Any], psycopg.Connection[Any]],
    tell: Callable[[str, int], None],
) -> list[RowDifference]:
    started, there, here = time.monotonic(), shape_of(connections[0], other), shape_of(connections[1], table)
    if there is None or here is None:
        row.problem = (
            f"There is no table {table} in {row.database} any more."
            if here is None
            else f"There is no table {other} to compare with any more."
        )
        return []
    tables = connections[0], rows_of(other, there), connections[1], rows_of(table, here)
    pairing = pair(there, here)
    try:
        keys = _count(row, pairing, differences(*tables, pairing), tell)
    except NotToldApart as reason:
        pairing = as_a_whole(pairing.columns, [*pairing.notes, str(reason)])
        keys = _count(row, pairing, differences(*tables, pairing), tell)
    row.key, row.columns, row.notes = list(pairing.key), list(pairing.columns), list(pairing.notes)
    row.seconds = time.monotonic() - started
    return keys


def _count(
    row: RowComparison,
    pairing: Pairing,
    rows: Iterable[Found],
    tell: Callable[[str, int], None],
) -> list[RowDifference]:
    counts: Counter[str] = Counter()
    listed: list[RowDifference] = []
    row.changed_marks = 0
    for number, (kind, key, digest) in enumerate(rows, start=1):
        counts[kind] += 1
        live_mark = mark(digest) if kind == CHANGED else None
        row.changed_marks = (row.changed_marks + (live_mark or 0)) % MARKS
        if kind != SAME and pairing.has_key and len(listed) < MOST_LISTED:
            listed.append(RowDifference(kind=kind, key=key_of(key), live_mark=live_mark))
        if number % 20_000 == 0:
            tell(str(row), number)
    row.same, row.missing, row.changed, row.extra = (counts[kind] for kind in (SAME, MISSING, CHANGED, EXTRA))
    row.listed = len(listed)
    return listed


@transaction.atomic
def _keep(row: RowComparison, found: list[RowDifference]) -> None:
    """A newer comparison takes the place of an older one of the same two tables."""
    old = RowComparison.objects.filter(side=row.side, schema=row.schema, name=row.name).first()
    if old is not None:
        old.differences.all().delete()
        row.pk = old.pk
    row.compared_at = timezone.now()
    row.save()
    for each in found:
        each.comparison = row
    RowDifference.objects.bulk_create(found, batch_size=2000)
