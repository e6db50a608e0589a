"""Values that are too long for a page or a line of a file: of them the server sends the start and the length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.errors import QueryCanceled
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit.registry import Shape, images_of
from audit.tables import Rows

#: Bytes from which on a value is long; characters of it that are shown.
LONG, START = 1_000_000, 20_000
#: Values of one page that the server compares to the end; further ones would keep the reader waiting.
MOST = 2
#: Bytes of a value that are fetched at a time, where all of it is wanted.
PIECE = 1 << 24
#: Of these types no value is long.
SHORT = {
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "money", "oid", "uuid", "date", "time", "timetz",
    "timestamp", "timestamptz", "interval", "inet", "cidr", "macaddr", "macaddr8", "pg_lsn", "name", "char", "xid8",
}  # fmt: skip
TEXTS = {"text", "varchar", "bpchar"}
#: Kept in fewer bytes than these no value is long, however well it was compressed.
SURELY_SHORT = 2000


class LongText(str):
    """The start of a long value, with what it is the start of."""

    start: str
    octets: int

    def __new__(cls, start: str, octets: int, more: str = "") -> LongText:
        """octets: the bytes of all of it; more: what else is known of the rest."""
        made = super().__new__(
            cls, f"{start}… (the first {len(start):,} characters of {octets:,} bytes{more})"
        )
        made.start, made.octets = start, octets
        return made

    def after(self, differs: bool | None) -> LongText:
        """The same behind one that starts alike and is as long; differs: None when that is not known."""
        if differs is False:
            return self
        words = "the rest is another" if differs else "whether the rest is the same was not compared"
        return LongText(self.start, self.octets, f"; {words}")


def columns_of(shape: Shape, alias: str, whole: bool = False, prefix: str = "") -> Composable:
    """The kept columns as one array of texts, and the lengths of those that are long as another. whole: none is cut."""
    fields = [(SQL("{}").format(Identifier(alias, each.kept_name)), each.kept_type) for each in shape.kept]
    texts = [SQL("{}::text").format(field) if whole else start(field, kind) for field, kind in fields]
    lengths = [SQL("null") if whole else length(field, kind) for field, kind in fields]
    return SQL("array[{}]::text[] as {}, array[{}]::int8[] as {}").format(
        SQL(", ").join(texts), Identifier(f"{prefix}texts"),
        SQL(", ").join(lengths), Identifier(f"{prefix}lengths"),
    )  # fmt: skip


def start(field: Composable, kind: str) -> Composable:
    """A value as text, or the start of a long one."""
    if kind in SHORT:
        return SQL("{}::text").format(field)
    if kind in TEXTS:
        form = "case when octet_length({f}) > {long} then left({f}::text, {start}) else {f}::text end"
    elif kind == "bytea":
        form = "case when octet_length({f}) > {long} then substring({f}, 1, {start} / 2 - 1)::text else {f}::text end"
    else:
        form = (
            "case when pg_column_size({f}) > {short} then (select case when octet_length(v) > {long} then"
            " left(v, {start}) else v end from (select {f}::text as v offset 0) t) else {f}::text end"
        )
    return SQL(form).format(f=field, long=Literal(LONG), start=Literal(START), short=Literal(SURELY_SHORT))


def length(field: Composable, kind: str) -> Composable:
    """The bytes of a long value; null for others."""
    if kind in SHORT:
        return SQL("null")
    if kind in TEXTS or kind == "bytea":
        form = "nullif(greatest(octet_length({f}), {long}), {long})"
    else:
        form = (
            "case when pg_column_size({f}) > {short} then"
            " nullif(greatest(octet_length({f}::text), {long}), {long}) end"
        )
    return SQL(form).format(f=field, long=Literal(LONG), short=Literal(SURELY_SHORT))


#: The same of a row that was kept whole, as JSON.
OF_JSON = SQL(
    "(select jsonb_object_agg(e.key, case when octet_length(e.value) > {long} then left(e.value, {start})"
    " else e.value end) from jsonb_each_text({image}) e) as {texts},"
    " (select jsonb_object_agg(e.key, octet_length(e.value)) from jsonb_each_text({image}) e"
    " where octet_length(e.value) > {long}) as {lengths}"
)


def of_json(alias: str, prefix: str = "") -> Composable:
    """Column -> text of a whole row, and column -> length of those that are long."""
    return OF_JSON.format(
        image=Identifier(alias, "image"), long=Literal(LONG), start=Literal(START),
        texts=Identifier(f"{prefix}texts"), lengths=Identifier(f"{prefix}lengths"),
    )  # fmt: skip


def told(values: dict[str, str | None], lengths: dict[str, int | None]) -> dict[str, str | None]:
    """The texts, those that are long with their length."""
    return {name: with_length(value, lengths.get(name)) for name, value in values.items()}


def with_length(value: str | None, octets: int | None) -> str | None:
    """A text, or the start of a long one."""
    return value if value is None or octets is None else LongText(value, octets)


def told_apart(rows: Rows, changes: Sequence[Any]) -> None:
    """Of long values that start alike and are as long before and after, the server tells whether they are the same."""
    asked = 0
    for one in changes:
        for name in [name for name, value in (one.new or {}).items() if isinstance(value, LongText)]:
            if one.old is not None and one.old.get(name) == one.new[name]:
                asked += 1
                differs = compare(rows, one, name) if asked <= MOST and one.shape is not None else None
                one.new[name] = one.new[name].after(differs)


def not_compared(one: Any) -> None:
    """The same where nobody asks the server: it is not known whether they are the same."""
    for name, value in (one.new or {}).items():
        if isinstance(value, LongText) and one.old is not None and one.old.get(name) == value:
            one.new[name] = value.after(None)


def compare(rows: Rows, one: Any, name: str) -> bool | None:
    """Is a value another after the change? None: it takes too long to tell."""
    field = next(column.kept_name for column in one.shape.kept if column.name == name)
    query = SQL(
        "select b.{f}::text is distinct from a.{f}::text as differs from {t} b join {t} a using (statement_id, n, at)"
        " where b.statement_id = {id} and b.n = {n} and b.at = {at} and b.side <> '+' and a.side = '+'"
    ).format(
        f=Identifier(field), t=images_of(one.shape), id=Literal(one.statement_id), n=Literal(one.n), at=Literal(one.at)
    )  # fmt: skip
    try:
        return bool(rows(query)[0].differs)
    except QueryCanceled:
        return None


def piece(
    rows: Rows, shape: Shape, name: str, statement: Any, n: int, is_before: bool, first: int
) -> bytes | None:
    """The bytes of a value from the first (1) on, a few: in UTF-8, or as they are in a database in SQL_ASCII. None or
    nothing: there are none."""
    field = next(column.kept_name for column in shape.kept if column.name == name)
    query = SQL(
        "select substring(convert_to(r.{f}::text, case getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII'"
        " else 'UTF8' end), {first}, {octets}) as bytes from {t} r"
        " where r.statement_id = {id} and r.at = {at} and r.n = {n} and (r.side <> '+') = {is_before}"
    ).format(
        f=Identifier(field), t=images_of(shape), id=Literal(statement.id), at=Literal(statement.at), n=Literal(n),
        is_before=Literal(is_before), first=Literal(first), octets=Literal(PIECE),
    )  # fmt: skip
    found = rows(query)
    return bytes(found[0].bytes) if found and found[0].bytes is not None else None
