"""What searches rest on, held against the log: whoever takes a person out of the map or the sums hides what they did,
though the log itself is whole."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import canonical, mapping, open_text
from audit.indexing import ROWS, touched
from audit.log_tables import SCHEMA, is_there
from audit.prepared import open_from, reached
from audit.registry import Installed, installed
from audit.search import LONGEST_NAME, OPERATIONS, PERSON
from audit.tables import Rows
from audit.text_copies import texts
from audit.verifying import Finding
from dbadmin.connections import named_rows

#: Numbers that one question looks at; differences that it names.
STEP, MOST = 1 << 20, 20
LAST = "select max(id) as id from dbadmin_audit.statement"
# ruff: noqa: S608 - the parts are constants of ours
#: What the map must have, and has not.
MAP = SQL(
    "select distinct due.kind::text as kind, due.name from ({lines}) due left join {schema}.stretch s"
    " on s.kind = due.kind and s.value = due.value and s.number = due.number"
    " where s.blocks is null or s.blocks | due.blocks <> s.blocks order by 1, 2 limit {most}"
)
#: Days on which the sums have less than the log.
SUMS = SQL(
    "with there as (select (at at time zone {zone})::date as day, left({person}, {letters}) as person, watched_id,"
    f" operation, count(*) as statements, sum({ROWS}) as rows"
    " from {schema}.statement s where s.id > {expired} and (s.id <= {above} or s.xid::text::bigint < {xid})"
    " group by 1, 2, 3, 4)"
    " select day, person from there left join {schema}.activity a using (day, person, watched_id, operation)"
    " where a.statements is null or a.statements < there.statements or a.rows < there.rows"
    " group by 1, 2 order by 1, 2 limit {most}"
)
#: Days on which the sums by person are not those by person and table.
DAYS = SQL(
    "select day, person from (select day, person, sum(statements) as statements, sum(rows) as rows"
    " from {schema}.activity group by 1, 2) a"
    " full join (select day, person, statements, rows from {schema}.person_days) d using (day, person)"
    " where a.statements is distinct from d.statements or a.rows is distinct from d.rows"
    " order by 1, 2 limit {most}"
)
#: Columns whose changes the map of them does not lead to; found: what it must have.
TOUCHED = SQL(
    "select distinct d.shape_id, d.attnum from ({found}) d where not exists (select from {schema}.touched t"
    " where t.shape_id = d.shape_id and t.attnum = d.attnum and t.block = d.block) limit {most}"
)
#: Lines of texts that no copy of their neighbours has: a copy may have more, of statements that were closed later.
TEXTS = SQL(
    "with lacking as (select block, shape_id, line"
    " from ({found}) d cross join lateral string_to_table(d.text, E'\\n') line"
    " except select block, shape_id, line"
    " from {schema}.open_text t cross join lateral string_to_table(t.text, E'\\n') line"
    " where t.block between {first} and {last}) select min(block) as low, max(block) as high from lacking"
)
#: Numbers whose texts one question compares.
FEW = 1 << 17
ANEW = " The log itself is not concerned. Index the audit log, with “Throw away and fill anew”."


def differences(connection: psycopg.Connection[Any], seal: int, expired: int = 0) -> Iterator[Finding]:
    """Each person, table, operation, day, column or text that a search would not find whole; sums of what expired went
    with it, and stay away when it is loaded again."""

    def rows(query: Any, params: Any = None) -> list[Any]:
        return named_rows(connection.execute(query, params))

    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        canonical.settle(connection)
        state = installed(rows)
        found = [*map_lacks(rows, state), *sums_lack(rows, expired)]
        found += [
            *columns_lack(connection, rows, state, expired),
            *texts_lack(connection, rows, state, expired),
        ]
        for what in found:
            yield Finding("hidden", seal, what + ANEW)


def spans(low: int, high: int, step: int) -> Iterator[tuple[int, int]]:
    """Numbers above the one, up to the other, in pieces."""
    for first in range(low, high, step):
        yield first, min(first + step, high)


def columns_lack(
    connection: psycopg.Connection[Any], rows: Rows, state: Installed, expired: int
) -> list[str]:
    """Columns whose changes are not where the map says."""
    far = reached(rows)
    if far is None:
        return []
    begun, last = open_from(rows, far), rows(LAST)[0].id or 0
    found: dict[tuple[int, int], None] = {}
    for low, high in spans(expired, last if begun is None else begun - 1, STEP):
        where = SQL("s.id > {} and s.id <= {}").format(Literal(low), Literal(high))
        for each in touched(connection, state, where):
            query = TOUCHED.format(found=each, schema=Identifier(SCHEMA), most=Literal(MOST))
            found |= dict.fromkeys((row.shape_id, row.attnum) for row in rows(query))
    names = dict.fromkeys(column_named(state, *one) for one in sorted(found))
    return [f"The map lacks changes of {name}: a search for them finds less." for name in names]


def column_named(state: Installed, shape_id: int, attnum: int) -> str:
    """`name of public.items`."""
    shape = state.shapes.get(shape_id)
    if shape is None:
        return "rows that were kept whole"
    name = next((column.name for column in shape.columns if column.attnum == attnum), f"column {attnum}")
    return f"{name} of {state.watched[shape.watched_id]}"


def texts_lack(connection: psycopg.Connection[Any], rows: Rows, state: Installed, expired: int) -> list[str]:
    """Where the copied texts of the open month are not those of the log."""
    copied = open_text.covered(rows)
    if copied is None:
        return []
    found = []
    for low, high in spans(max(copied.low - 1, expired), copied.high, FEW):
        where = SQL("s.id > {} and s.id <= {}").format(Literal(low), Literal(high))
        query = TEXTS.format(
            found=SQL(" union all ").join(texts(connection, state, where)), schema=Identifier(SCHEMA),
            first=Literal(low >> open_text.BLOCK), last=Literal(high >> open_text.BLOCK),
        )  # fmt: skip
        found += [row for row in rows(query) if row.low is not None]
    if not found:
        return []
    first, last = found[0].low << open_text.BLOCK, ((found[-1].high + 1) << open_text.BLOCK) - 1
    return [f"The copied texts lack some of statements {first} to {last}: a search for a text finds less."]


def map_lacks(rows: Rows, state: Installed) -> list[str]:
    """What the map does not lead to."""
    through = mapping.through(rows)
    if not through:
        return []
    found: dict[tuple[str, str], None] = {}
    top = min(through, rows(LAST)[0].id or 0)
    for low in range(0, top, STEP):
        where = SQL("s.id > {} and s.id <= {}").format(Literal(low), Literal(min(low + STEP, top)))
        lines = mapping.lines(Identifier(SCHEMA, "statement"), where)
        query = MAP.format(lines=lines, schema=Identifier(SCHEMA), most=Literal(MOST))
        found |= dict.fromkeys((row.kind, row.name) for row in rows(query))
    return [
        f"The map lacks changes {named(kind, name, state)}: a search for them finds less."
        for kind, name in found
    ]


def named(kind: str, name: str, state: Installed) -> str:
    """Whose, or of what."""
    if kind == mapping.TABLE:
        return f"of {state.watched.get(int(name), f'table {name}')}"
    return f"by {name}" if kind == mapping.PERSONS else f"of the kind {OPERATIONS.get(name, name)}"


def sums_lack(rows: Rows, expired: int) -> list[str]:
    """Days whose sums are too small, or not the same in both places."""
    far = reached(rows)
    if far is None:
        return []
    parts: dict[str, Composable] = {
        "zone": Literal(far.zone), "letters": Literal(LONGEST_NAME), "person": SQL(PERSON),
        "above": Literal(far.above), "xid": Literal(far.high), "schema": Identifier(SCHEMA), "most": Literal(MOST),
        "expired": Literal(expired),
    }  # fmt: skip
    found: list[tuple[dt.date, str]] = [(row.day, row.person) for row in rows(SUMS.format(**parts))]
    if is_there(rows, "person_days"):
        found += [(row.day, row.person) for row in rows(DAYS.format(**parts))]
    return [f"The sums of {day} have other than what {person} did." for day, person in dict.fromkeys(found)]
