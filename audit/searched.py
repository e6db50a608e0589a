"""What searches rest on, held against the log: whoever takes a person out of the map or the sums hides what they did,
though the log itself is whole."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import mapping
from audit.indexing import ROWS
from audit.log_tables import SCHEMA, is_there
from audit.prepared import reached
from audit.registry import Installed, installed
from audit.search import LONGEST_NAME, OPERATIONS, PERSON
from audit.tables import Rows
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
ANEW = " The log itself is not concerned. Index the audit log, with “Throw away and fill anew”."


def differences(connection: psycopg.Connection[Any], seal: int, expired: int = 0) -> Iterator[Finding]:
    """Each person, table, operation or day that a search would not find whole; sums of what expired went with it, and
    stay away when it is loaded again."""

    def rows(query: Any, params: Any = None) -> list[Any]:
        return named_rows(connection.execute(query, params))

    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        for what in (*map_lacks(rows, installed(rows)), *sums_lack(rows, expired)):
            yield Finding("hidden", seal, what + ANEW)


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
