"""What is searched for, and the statements of one row: each page is one short walk down an index, at any depth, in
either direction."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import whole_rows
from audit.log_tables import SCHEMA
from audit.registry import Installed, Shape, Watched, images_of
from audit.tables import Rows
from dbadmin.addresses import whole

#: Statements per page.
PAGE = 50
#: Seconds that one page may look before it says how far it came, and asks whether to go on.
SECONDS = 1.2
#: Statements of one row that are looked through at a time.
MANY = 5000
#: Numbers and times rise together, but two sessions may take them in another order: never further apart than
#: this.
SKEW = dt.timedelta(seconds=30)
OPERATIONS = {"I": "insert", "U": "update", "D": "delete", "T": "truncate", "A": "definition"}
PERSON = "coalesce(app_user, set_role, session_role)"
#: Letters of a name in sums by day: an index entry takes no more than these.
LONGEST_NAME = 500
SUMMED_PERSON = f"left({PERSON}, {LONGEST_NAME})"
COLUMNS = SQL(
    "id, at, xid::text as xid, images, watched_id, shape_id, operation::text as operation,"
    " session_role, set_role,"
    " app_user, host(client) as client, application, query, note, " + PERSON + " as person"
)
#: Values as text that PostgreSQL reads back to the same value, whatever the session's taste.
EXACT = (
    "set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),"
    " set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '1', true),"
    " set_config('bytea_output', 'hex', true)"
)


@dataclass(frozen=True)
class Filter:
    """What is searched for; an empty field filters nothing."""

    table: str = ""
    person: str = ""
    operation: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    xid: str = ""
    key: str = ""
    column: str = ""
    text: str = ""
    of: str = ""
    path: str = ""
    how: str = ""
    value: str = ""
    source: str = ""

    def said(self) -> dict[str, str]:
        """The fields that filter, for the record of who looked at what."""
        return {name: str(value) for name, value in vars(self).items() if value and name != "source"}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.said().items())

    @property
    def is_inside(self) -> bool:
        """Does it ask for what is in the rows?"""
        return bool(self.column or self.text or self.value or self.of or self.path)


class BadFilter(ValueError):
    """A filter that cannot be used; the message says why. field: where on the form it belongs."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass
class Change:
    """One row of the log: before and after, as texts by column."""

    statement_id: int
    n: int
    shape: Shape | None
    old: dict[str, str | None] | None
    new: dict[str, str | None] | None
    at: dt.datetime | None = None
    statement: Any = None
    #: The key's columns of a row that was kept whole; others have a version of columns.
    key_names: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """insert, update or delete, by what is there."""
        if self.old is None:
            return "insert"
        return "delete" if self.new is None else "update"

    @property
    def ended_with_table(self) -> bool:
        """No row of the log: the table was emptied, and this row with it."""
        return self.n == 0

    @property
    def key(self) -> dict[str, str | None]:
        """The key's columns, after the change if there is an after."""
        names = self.shape.key if self.shape else self.key_names
        row = self.new if self.new is not None else self.old or {}
        return {name: row.get(name) for name in names}

    @property
    def other_keys(self) -> list[str]:
        """The keys that the row had before and after, where the change moved it to another one."""
        names = list(self.key)
        both = [key_text({name: row.get(name) for name in names}) for row in (self.old, self.new) if row]
        return both if len(set(both)) == 2 else []

    @property
    def changed(self) -> list[str]:
        """Columns whose value is another; all of them for an insert or a delete."""
        old, new = self.old or {}, self.new or {}
        if self.old is None or self.new is None:
            return list(new or old)
        return [
            name
            for name in {**old, **new}
            if old.get(name) != new.get(name) or (name in old) != (name in new)
        ]


@dataclass
class Page:
    """A page of statements.

    newer, older: where the neighbours begin, None at an end;
    searched_to: a search in rows that stopped before the end says how far it came.
    """

    statements: list[Any] = field(default_factory=list)
    newer: int | None = None
    older: int | None = None
    searched_to: dt.datetime | None = None


def tables_named(state: Installed, text: str) -> list[Watched]:
    """`public.users` or `users` -> the watched tables of that name, gone ones too."""
    return [w for w in state.watched.values() if text in (str(w), w.name)]


def conditions(rows: Rows, state: Installed, wanted: Filter) -> list[Composable]:
    """The filter on statements as conditions."""
    return [*filters(state, wanted), *moments(wanted, *numbers(rows, wanted))]


def filters(state: Installed, wanted: Filter) -> list[Composable]:
    """All of it but the times."""
    parts: list[Composable] = []
    if wanted.table:
        ids = [w.id for w in tables_named(state, wanted.table)]
        if not ids:
            raise BadFilter(f"{wanted.table} was never watched.", "table")
        parts.append(SQL("watched_id = any({})").format(Literal(ids)))
    if wanted.person:
        parts.append(SQL(PERSON + " = {}").format(Literal(wanted.person)))
    if wanted.operation:
        parts.append(SQL('operation = {}::"char"').format(Literal(letter_of(wanted.operation))))
    if wanted.xid:
        if whole(wanted.xid) is None:
            raise BadFilter(f"{wanted.xid} is no transaction number.", "xid")
        parts.append(SQL("xid::text::bigint = {}").format(Literal(int(wanted.xid))))
    return parts


def letter_of(operation: str) -> str:
    """`update` or `U` -> `U`."""
    letter = next((k for k, word in OPERATIONS.items() if word == operation), operation)
    if letter not in OPERATIONS:
        raise BadFilter(f"{operation} is none of: {', '.join(OPERATIONS.values())}.", "operation")
    return letter


def numbers(rows: Rows, wanted: Filter) -> tuple[int | None, int | None]:
    """The times of a search as numbers, which the index follows: from one, before the other; a little too wide."""
    first = f"select {SCHEMA}.first_id(%s) as id"
    return (
        rows(first, [wanted.since - SKEW])[0].id if wanted.since else None,
        rows(first, [wanted.until + SKEW])[0].id if wanted.until else None,
    )


def moments(wanted: Filter, low: int | None, high: int | None) -> list[Composable]:
    """Times as ranges of numbers and exactly."""
    parts: list[Composable] = []
    for moment, bound, compare in ((wanted.since, low, ">="), (wanted.until, high, "<")):
        if moment is not None:
            said = SQL("id {c} {bound} and at {c} {at}")
            parts.append(said.format(c=SQL(compare), bound=Literal(bound), at=Literal(moment)))
    return parts


def where(parts: list[Composable]) -> Composable:
    """WHERE, or nothing."""
    return SQL("where ") + SQL(" and ").join(parts) if parts else SQL("")


def page_of(found: list[Any], before: int | None, after: int | None, limit: int) -> Page:
    """limit + 1 were asked for: the one too many tells that there is more."""
    more = len(found) > limit
    if after is not None:
        shown = found[-limit:] if more else found
        return Page(shown, shown[0].id if shown and more else None, shown[-1].id if shown else None)
    shown = found[:limit]
    newer = shown[0].id if shown and before is not None else None
    return Page(shown, newer, shown[-1].id if shown and more else None)


def of_key(
    rows: Rows, state: Installed, wanted: Filter, before: int | None, after: int | None, limit: int
) -> Page:
    """A page of the statements that touched one row: its numbers, newest first, then those that fit the rest."""
    parts = conditions(rows, state, replace(wanted, table="", since=None, until=None))
    found: list[Any] = []
    began, size, down = time.monotonic(), 2 * limit + 1, after is None
    while True:
        touched, is_end = key_statements(rows, state, wanted, before, after, size)
        if touched:
            found += of_numbers(rows, parts, touched, down)
            before, after = (touched[-1][0], None) if down else (None, touched[-1][0])
        if len(found) > limit or is_end:
            break
        if down and time.monotonic() - began > SECONDS:
            return Page(found, None, before, touched[-1][1])
        size = min(size * 5, MANY)
    found = found[: limit + 1]
    return page_of(found if down else found[::-1], before, after, limit)


def of_numbers(
    rows: Rows, parts: list[Composable], touched: list[tuple[int, dt.datetime]], down: bool
) -> list[Any]:
    """Statements by their numbers, under conditions, in the order of the walk. Their times tell in which months."""
    moments = [at for _, at in touched]
    numbers = SQL("id = any({}) and at between {} and {}").format(
        Literal([number for number, _ in touched]), Literal(min(moments)), Literal(max(moments))
    )
    query = SQL("select {} from {}.statement {} order by id {}").format(
        COLUMNS, Identifier(SCHEMA), where([*parts, numbers]), SQL("desc" if down else "asc")
    )
    return list(rows(query))


def key_condition(shape: Shape, values: list[str | None], alias: str = "r") -> Composable | None:
    """The condition that finds a key by its index; None when this version of the table has another key."""
    if not values or len(values) != len(shape.key_columns) or len(shape.key) != len(values):
        return None
    parts = []
    for column, value in zip(shape.key_columns, values, strict=True):
        kept = Identifier(alias, column.kept_name)
        if column.long_text:
            parts.append(
                SQL('(left({}::text, 100) COLLATE "C") = left({}, 100)').format(kept, Literal(value))
            )
            parts.append(SQL("{}::text = {}").format(kept, Literal(value)))
        else:
            parts.append(
                SQL("{} = {}::{}").format(kept, Literal(value), Identifier("pg_catalog", column.kept_type))
            )
    return SQL(" and ").join([*parts, SQL("{} <> '-'").format(Identifier(alias, "side"))])


def key_values(text: str) -> list[str | None]:
    """A key as it stands in addresses: its columns separated by commas, quoted as in CSV."""
    import csv

    return list(next(csv.reader([text]), []))


def key_text(key: dict[str, str | None]) -> str:
    """A key for addresses and for the eye."""
    import csv
    import io

    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(["" if value is None else value for value in key.values()])
    return out.getvalue()


def key_statements(rows: Rows, state: Installed, wanted: Filter, before: int | None, after: int | None,
                   limit: int) -> tuple[list[tuple[int, dt.datetime]], bool]:  # fmt: skip
    """Numbers and times of the next statements that touched one row within the times of the search, in the order of
    the walk; are these all?"""
    tables = tables_named(state, wanted.table)
    if not tables:
        raise BadFilter("Choose the table whose row is looked for.", "table")
    down = after is None
    parts: list[Composable] = []
    bounds = bound_parts("r.statement_id", before, after)
    for moment, compare in ((wanted.since, ">="), (wanted.until, "<")):
        if moment is not None:
            bounds.append(SQL("r.at {} {}").format(SQL(compare), Literal(moment)))
    for shape in [shape for table in tables for shape in table.shapes]:
        condition = key_condition(shape, key_values(wanted.key))
        if condition is None:
            continue
        parts.append(
            SQL("(select {} as shape, statement_id, at from {} r where {} order by statement_id {} limit {})").format(
                Literal(shape.id), images_of(shape), SQL(" and ").join([condition, *bounds]),
                SQL("desc" if down else "asc"), Literal(limit),
            )
        )  # fmt: skip
    if not parts:
        raise BadFilter(f"The key of {tables[0]} is {key_name(tables[0])}.", "key")
    parts += whole_rows.numbers(rows, tables, key_values(wanted.key), bounds, down, limit)
    try:
        found = rows(SQL(" union all ").join(parts))
    except Exception as error:
        raise bad_value(error) from error
    ordered = sorted({(row.statement_id, row.at) for row in found}, reverse=down)
    # A version of the columns with more than were asked for says nothing of what lies beyond its last one.
    full = {number for number, count in Counter(row.shape for row in found).items() if count == limit}
    ends = [
        (min if down else max)(row.statement_id for row in found if row.shape == number) for number in full
    ]
    if not ends:
        return ordered, True
    end = max(ends) if down else min(ends)
    return [one for one in ordered if (one[0] >= end if down else one[0] <= end)], False


def bad_value(error: Exception) -> Exception:
    """A value that the key's type does not take is the reader's slip; anything else stays what it is."""
    from psycopg.errors import DataError

    if isinstance(error, DataError):
        return BadFilter(f"{str(error).splitlines()[0].capitalize()}.", "key")
    return error


def key_name(table: Watched) -> str:
    """`(id)`, `(order_id, line)`, or that there is none."""
    shape = table.shapes[-1] if table.shapes else None
    return f"({', '.join(shape.key)})" if shape and shape.key else "not known: it has no unique key"


def bound_parts(column: str, before: int | None, after: int | None) -> list[Composable]:
    """column < before, column > after."""
    parts: list[Composable] = []
    if before is not None:
        parts.append(SQL(column + " < {}").format(Literal(before)))
    if after is not None:
        parts.append(SQL(column + " > {}").format(Literal(after)))
    return parts


def statement(rows: Rows, statement_id: int) -> Any:
    """One statement by its number, or None."""
    query = SQL("select {} from {}.statement where id = {}").format(
        COLUMNS, Identifier(SCHEMA), Literal(statement_id)
    )
    return next(iter(rows(query)), None)


def transaction(rows: Rows, xid: str, limit: int = 1000) -> list[Any]:
    """A whole transaction, in order."""
    query = SQL("select {} from {}.statement where xid::text::bigint = {} order by id limit {}").format(
        COLUMNS, Identifier(SCHEMA), Literal(int(xid)), Literal(limit)
    )
    return list(rows(query))
