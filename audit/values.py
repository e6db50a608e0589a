"""What a search asks of the rows of a statement: a text anywhere, the value of a column or of a path inside of it,
a column that changed."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

from psycopg.sql import SQL, Composable, Identifier, Literal

from audit.log_tables import SCHEMA
from audit.registry import Installed, KeptColumn, Shape, images_of
from audit.search import BadFilter, Filter, tables_named
from audit.tables import Rows
from audit.whole_rows import are_there

WAYS = ("contains", "equals")
#: Three letters or digits in a row: less cannot be found by an index of three-letter pieces.
FINDABLE = re.compile(r"\w{3}")
STEP = re.compile(r'("(?:[^"\\]|\\.)*")|([^.\[\]]+)|\[(\d+)\]')
PLAIN = re.compile(r"[A-Za-z0-9 _.,:@/+-]+")


def pattern(text: str) -> str:
    """As ILIKE wants it."""
    return "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def path_of(text: str) -> list[str]:
    """`address.zip`, `tags[0].name`, `limits."a.b"` -> the steps. What is no text in quotes stands for itself."""
    return [unquoted(quoted) or name or number for quoted, name, number in STEP.findall(text)]


def unquoted(step: str) -> str:
    """The name that a step in quotes is."""
    try:
        return str(json.loads(step)) if step else ""
    except ValueError:
        return step


def check(rows: Rows, state: Installed, wanted: Filter) -> None:
    """Refuse what cannot be asked, before anything is read. Rows that were kept whole may have any column."""
    if wanted.how and wanted.how not in WAYS:
        raise BadFilter(f"{wanted.how} is none of: {', '.join(WAYS)}.", "how")
    if wanted.path and not wanted.of:
        raise BadFilter("Choose the column that the path leads into.", "path")
    if (wanted.of or wanted.path) and not wanted.value:
        raise BadFilter("Say which value is looked for.", "value")
    tables = tables_named(state, wanted.table) if wanted.table else list(state.watched.values())
    columns = [column for table in tables for shape in table.shapes for column in shape.columns]
    for field in ("column", "of"):
        name = getattr(wanted, field)
        if name and columns and all(column.name != name for column in columns) and not are_there(rows):
            where = wanted.table or "the watched tables"
            raise BadFilter(f"No version of {where} has a column {name}.", field)
    named = [column for column in columns if column.name == wanted.of]
    if wanted.path and named and not any(column.kept_type in {"json", "jsonb"} for column in named):
        raise BadFilter(f"{wanted.of} holds no JSON: it has no paths.", "path")


def column_named(shape: Shape, name: str) -> KeptColumn | None:
    """The kept column of this name in this version of the table."""
    return next((column for column in shape.kept if column.name == name), None)


def hashed(rows: Rows, value: str) -> str:
    """What a hashed column holds for this value."""
    salt = rows(SQL("select salt from {}.secret").format(Identifier(SCHEMA)))[0].salt
    return "sha256:" + sha256(f"{salt}{value}".encode()).hexdigest()


def value_condition(rows: Rows, shape: Shape, wanted: Filter) -> Composable | None:
    """The condition on one image of a row; None: no row of this version can fulfil it."""
    if wanted.of:
        column = column_named(shape, wanted.of)
        if column is None or column.rule == "masked":
            return None
        columns = [column]
    else:
        columns = shape.kept
    if wanted.path and columns[0].kept_type not in {"json", "jsonb"}:
        return None
    parts = [
        one_value(rows, SQL("r.{}").format(Identifier(each.kept_name)), each, wanted) for each in columns
    ]
    return SQL("({})").format(SQL(" or ").join(parts)) if parts else None


#: A value of json that jsonb may refuse, and with it the whole search: halves of pairs of code units, \\u0000, numbers
#: without end. What no path leads into is found by its text.
REFUSED = SQL(
    r"regexp_replace({f}::text, '\\u[dD][89abAB]..\\u[dD][c-fC-F]..', '', 'g')"
    r" ~ '\\u(0000|[dD][89a-fA-F])|[eE]\+?\d{{6}}'"
    r" or octet_length({f}::text) > 131072 and {f}::text ~ '\d{{255}}'"
)


def one_value(rows: Rows, field: Composable, column: KeptColumn, wanted: Filter) -> Composable:
    """The condition on one column."""
    if wanted.path and column.kept_type == "json":
        inside = value_of(rows, SQL("{}::jsonb").format(field), column, wanted)
        refused, anywhere = REFUSED.format(f=field), Literal(pattern(wanted.value))
        return SQL("case when {} then {}::text ilike {} else {} end").format(refused, field, anywhere, inside)
    return value_of(rows, field, column, wanted)


def value_of(rows: Rows, field: Composable, column: KeptColumn, wanted: Filter) -> Composable:
    """The same for what a path leads into."""
    value = wanted.value
    text: Composable = SQL("{}::text").format(field)
    if wanted.path:
        text = SQL("({} #>> {})").format(field, Literal(path_of(wanted.path)))
    if column.rule == "hashed":
        value = hashed(rows, value)
    if wanted.how == "equals" or column.rule == "hashed":
        return SQL("{} = {}").format(text, Literal(value))
    return SQL("{} ilike {}").format(text, Literal(pattern(value)))


def needles(rows: Rows, shape: Shape, wanted: Filter) -> list[str]:
    """Texts that a fitting row must hold somewhere, for the index over whole rows."""
    found = [wanted.text] if wanted.text else []
    column = column_named(shape, wanted.of) if wanted.of else None
    if wanted.value and column and column.rule == "hashed":
        found.append(hashed(rows, wanted.value))
    elif wanted.value and (wanted.path or (column and column.kept_type in {"json", "jsonb"})):
        # Inside of JSON letters may be written as escapes; what is plain stands as it is.
        found += PLAIN.findall(wanted.value)
    elif wanted.value:
        found.append(wanted.value)
    return findable(found)


def findable(texts: list[str]) -> list[str]:
    """Those that an index of three-letter pieces finds."""
    return [each for each in texts if FINDABLE.search(each)]


#: Which of these statements have a row that fits.
FITTING = SQL("select distinct r.statement_id from {table} r where r.statement_id = any({ids}) and {fits}")
#: The same where before and after hold another value. Grouped, not joined: a plan that looks for the other image of
#: each row, as one without statistics does, takes too long where a statement changed very many.
CHANGED = SQL(
    "select distinct g.statement_id from (select r.statement_id, bool_or({fits}) as fits from {table} r"
    " where r.statement_id = any({ids}) and r.side in ('-', '+', 'o') group by r.statement_id, r.n"
    ' having count(*) = 2 and (count({value}) = 1 or min({value} collate "C") <> max({value} collate "C"))) g'
    " where g.fits"
)


def match_query(rows: Rows, shape: Shape, wanted: Filter, ids: list[int]) -> Composable | None:
    """Which of these statements fulfil all that is asked of their rows."""
    column = column_named(shape, wanted.column) if wanted.column else None
    if wanted.column and column is None:
        return None
    parts: list[Composable] = [SQL("true")]
    if wanted.text:
        joined = SQL(", ").join([SQL("r.{}::text").format(Identifier(c.kept_name)) for c in shape.kept])
        parts.append(SQL("concat_ws(E'\\n', {}) ilike {}").format(joined, Literal(pattern(wanted.text))))
    if wanted.value:
        condition = value_condition(rows, shape, wanted)
        if condition is None:
            return None
        parts.append(condition)
    value = SQL("r.{}::text").format(Identifier(column.kept_name)) if column else SQL("")
    query = CHANGED if column else FITTING
    return query.format(table=images_of(shape), ids=Literal(ids), fits=SQL(" and ").join(parts), value=value)


LOOSE = """
select distinct r.statement_id from {schema}.loose r where r.statement_id = any({ids}) and {parts}
"""


def loose_query(wanted: Filter, ids: list[int]) -> Composable:
    """The same for rows that were kept whole, because their table had just been altered."""
    parts: list[Composable] = [SQL("true")]
    if wanted.text:
        values = SQL("(select string_agg(e.value, E'\\n') from jsonb_each_text(r.image) e)")
        parts.append(SQL("{} ilike {}").format(values, Literal(pattern(wanted.text))))
    if wanted.value:
        parts.append(loose_value(wanted))
    if wanted.column:
        parts.append(
            SQL(
                "exists (select from {schema}.loose o where o.statement_id = r.statement_id and (o.n >> 8) ="
                " (r.n >> 8) and o.n = r.n and o.side <> r.side"
                " and o.image -> {name} is distinct from r.image -> {name})"
            ).format(schema=Identifier(SCHEMA), name=Literal(wanted.column))
        )
    return SQL(LOOSE).format(schema=Identifier(SCHEMA), ids=Literal(ids), parts=SQL(" and ").join(parts))


def loose_value(wanted: Filter) -> Composable:
    """A value in a row that was kept whole."""
    test = SQL("= {}").format(Literal(wanted.value))
    if wanted.how != "equals":
        test = SQL("ilike {}").format(Literal(pattern(wanted.value)))
    if wanted.of:
        steps = Literal([wanted.of, *path_of(wanted.path)])
        return SQL("r.image #>> {} {}").format(steps, test)
    return SQL("exists (select from jsonb_each_text(r.image) e where e.value {})").format(test)


def matching(rows: Rows, state: Installed, wanted: Filter, batch: list[Any]) -> set[int]:
    """Of these statements, those whose rows match."""
    from audit.changes import exact

    hits: set[int] = set()
    by_shape: dict[int, list[int]] = {}
    for row in batch:
        by_shape.setdefault(row.shape_id, []).append(row.id)
        only_text = wanted.text and not wanted.column and not wanted.value
        if only_text and wanted.text.lower() in f"{row.note or ''} {row.query or ''}".lower():
            hits.add(row.id)
    for shape_id, ids in by_shape.items():
        shape = state.shapes.get(shape_id)
        if shape is not None:
            query = match_query(rows, shape, wanted, ids)
        else:
            query = loose_query(wanted, ids)
        if query is not None:
            hits |= {row.statement_id for row in rows(exact(query))}
    return hits
