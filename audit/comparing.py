"""A table as it was at a moment, and what differs between two: read from the log alone."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import whole_rows
from audit.chains import chained
from audit.changes import exact, image
from audit.log_tables import SCHEMA
from audit.long_values import columns_of, not_compared, of_json, told
from audit.moments import row_at
from audit.registry import Installed, Shape, Watched, images_of
from audit.search import SKEW, BadFilter, Change, bad_value, key_text, key_values
from audit.tables import Rows

#: Images of rows that one comparison reads; rows of a table on one page.
MOST, PAGE = 50_000, 25

Row = dict[str, str | None]


@dataclass
class Between:
    """What differs: changes from the first moment to the second, and when the table was emptied meanwhile."""

    changes: list[Change]
    emptied_at: dt.datetime | None = None
    images: int = 0


@dataclass
class TablePage:
    """Rows as they were, each with its key; later: the key after which the next page begins."""

    rows: list[tuple[str, Row]]
    later: str


def columns(table: Watched, shown: list[tuple[str, Row]]) -> list[str]:
    """The columns of all versions, newest first, and those that only rows have which were kept whole."""
    known = [column.name for shape in table.shapes[::-1] for column in shape.kept]
    return list(dict.fromkeys([*known, *(name for _, row in shown for name in row)]))


def refuse_without_key(table: Watched) -> None:
    """What tells one row from another, there must be."""
    if not table.shapes or not table.shapes[-1].key:
        raise BadFilter(f"{table} has no key in the log: its rows cannot be told apart.", "at")


def between(rows: Rows, state: Installed, table: Watched, low: dt.datetime, high: dt.datetime) -> Between:
    """Each row that is another at the second moment: its first image after the one, its last before the other."""
    refuse_without_key(table)
    edges = "select dbadmin_audit.first_id(%s) as low, dbadmin_audit.first_id(%s) as high"
    bounds = rows(edges, [low - SKEW, high + SKEW])[0]
    within = SQL("{{a}}.at > {} and {{a}}.at <= {}").format(Literal(low), Literal(high)).as_string(None)
    events: list[tuple[int, int, int, Shape | None, Row]] = []
    for shape in table.shapes:
        events += images(rows, shape, within, bounds)
    events += whole_images(rows, table, within)
    ends = emptied(rows, table, within)
    if len(events) > MOST:
        raise BadFilter(f"More than {MOST} rows changed between these moments. Choose nearer ones.", "at")
    return Between(
        folded(events, [row.id for row in ends], table), ends[-1].at if ends else None, len(events)
    )


def images(
    rows: Rows, shape: Shape, within: str, bounds: Any
) -> list[tuple[int, int, int, Shape | None, Row]]:
    """Images of one version of the columns. Within a statement all rows leave before any comes."""
    query = SQL(
        "select r.statement_id, r.n, r.side::text as side, {columns} from {table} r"
        " where r.statement_id between {low} and {high} and {within} limit {most}"
    ).format(
        columns=columns_of(shape, "r"), table=images_of(shape), low=Literal(bounds.low),
        high=Literal(bounds.high), within=SQL(within.format(a="r")), most=Literal(MOST + 1),
    )  # fmt: skip
    return [
        (row.statement_id, int(row.side == "+"), row.n, shape, image(shape, row.texts, row.lengths) or {})
        for row in rows(exact(query))
    ]


def whole_images(rows: Rows, table: Watched, within: str) -> list[tuple[int, int, int, Shape | None, Row]]:
    """Images of rows that were kept whole."""
    query = SQL(
        "select r.statement_id, r.n, r.side::text as side, {texts}"
        " from {schema}.statement s join {schema}.loose r on r.statement_id = s.id and r.at = s.at"
        " where s.watched_id = {table} and {within} limit {most}"
    ).format(
        texts=of_json("r"), schema=Identifier(SCHEMA), table=Literal(table.id), within=SQL(within.format(a="r")),
        most=Literal(MOST + 1),
    )  # fmt: skip
    return [
        (row.statement_id, int(row.side == "+"), row.n, None, told(row.texts or {}, row.lengths or {}))
        for row in rows(query)
    ]


def emptied(rows: Rows, table: Watched, within: str) -> list[Any]:
    """When the table was emptied by TRUNCATE."""
    query = SQL(
        "select id, at from {}.statement s where watched_id = {} and operation = 'T' and note is null and {}"
        " order by id"
    ).format(Identifier(SCHEMA), Literal(table.id), SQL(within.format(a="s")))
    return list(rows(query))


def folded(
    events: list[tuple[int, int, int, Shape | None, Row]], ends: list[int], table: Watched
) -> list[Change]:
    """First and last of each row; rows that are what they were are left out."""
    steps: dict[tuple[str | None, ...], dict[int, Change]] = {}
    for number, order, n, shape, values in sorted(events, key=lambda event: event[:3]):
        known = tuple(values.get(name) for name in (shape or table.shapes[-1]).key)
        step = steps.setdefault(known, {}).setdefault(number, Change(number, n, shape, None, None))
        if order:
            step.new = values
        else:
            step.old = values
    found = [net(list(of_row.values()), ends, table) for of_row in steps.values()]
    for change in found:
        not_compared(change)
    made = [change for change in found if change.old != change.new]
    return sorted(made, key=lambda change: [in_order(str(value)) for value in change.key.values()])


def net(steps: list[Change], ends: list[int], table: Watched) -> Change:
    """What became of a row by all that happened to it, and by the last time when its table was emptied."""
    first, last = steps[0], None
    for low, high in zip([0, *ends], [*ends, math.inf], strict=True):
        if part := chained(step for step in steps if low <= step.statement_id < high):
            first = part[0] if last is None else first
            last = part[-1]
        if last and high != math.inf:
            last = Change(int(high), 0, last.shape, None, None)
    last = last or first
    return Change(last.statement_id, 0, table.shapes[-1], first.old, last.new)


def in_order(value: str) -> tuple[bool, int, str]:
    """Whole numbers by what they are worth, before all else."""
    is_number = value.removeprefix("-").isdecimal()
    return not is_number, int(value) if is_number and len(value) < 40 else 0, value


def table_at(rows: Rows, state: Installed, table: Watched, moment: dt.datetime, after: str) -> TablePage:
    """A page of the rows that the log knows, in the order of their keys, as they were."""
    refuse_without_key(table)
    keys = next_keys(rows, table, key_values(after) if after else [])
    found = []
    for values in keys[:PAGE]:
        text = key_text(dict(zip(table.shapes[-1].key, values, strict=True)))
        change = row_at(rows, state, table, text, moment)
        if change is not None and change.new is not None:
            found.append((text, change.new))
    last = dict(zip(table.shapes[-1].key, keys[PAGE - 1], strict=True)) if len(keys) > PAGE else {}
    return TablePage(found, key_text(last) if last else "")


def next_keys(rows: Rows, table: Watched, after: list[str | None]) -> list[list[str | None]]:
    """The next keys that the log knows, over all versions of the columns that have this key."""
    newest = table.shapes[-1]
    parts = []
    for shape in table.shapes:
        columns = shape.key_columns
        if shape.key != newest.key or len(columns) != len(newest.key):
            continue
        parts.append(keys_of(shape, columns, newest, after))
    if whole_rows.are_there(rows):
        parts.append(whole_rows.next_keys(table, newest, after, PAGE + 1))
    query = SQL("select keys from ({}) k group by keys, sort order by sort limit {}").format(
        SQL(" union all ").join(parts), Literal(PAGE + 1)
    )
    try:
        return [row.keys for row in rows(query)]
    except Exception as error:
        raise bad_value(error) from error


def keys_of(shape: Shape, columns: list[Any], newest: Shape, after: list[str | None]) -> Composable:
    """Those of one version, by its index over keys; sorted as the newest version's types are."""
    names = [Identifier(column.kept_name) for column in columns]
    types = [Identifier("pg_catalog", column.kept_type) for column in newest.key_columns]
    beyond: Composable = SQL("")
    if after:
        values = [
            SQL("{}::{}").format(Literal(value), kind) for value, kind in zip(after, types, strict=False)
        ]
        beyond = SQL(" and ({}) > ({})").format(SQL(", ").join(names), SQL(", ").join(values))
    typed = [SQL("{}::text::{}").format(name, kind) for name, kind in zip(names, types, strict=True)]
    return SQL(
        "(select distinct {names}, array[{texts}] as keys, row({typed}) as sort from {table} r"
        " where side <> '-'{beyond} order by {names} limit {most})"
    ).format(
        names=SQL(", ").join(names), texts=SQL(", ").join([SQL("{}::text").format(name) for name in names]),
        typed=SQL(", ").join(typed), table=images_of(shape), beyond=beyond, most=Literal(PAGE + 1),
    )  # fmt: skip
