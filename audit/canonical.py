"""The log as bytes that are the same on every server and every day, and their hashes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg
from psycopg.pq import ExecStatus
from psycopg.sql import SQL, Composable, Identifier, Literal

from audit import merkle, raw_text
from audit.log_tables import SCHEMA
from audit.registry import Installed, Shape, images_of

#: Named in each seal: another form gets another name.
FORM = "dbadmin-audit-1"
SETTINGS = (
    "select set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),"
    " set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '1', true),"
    " set_config('bytea_output', 'hex', true), set_config('statement_timeout', '0', true),"
    " set_config('client_encoding', case pg_catalog.getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII'"
    " else 'UTF8' end, true)"
)
MICROSECONDS = SQL("(extract(epoch from {}.at) * 1000000)::bigint")
STATEMENT = SQL(
    "select s.id, {at}, s.xid, s.images, s.watched_id, s.shape_id, s.operation, s.session_role, s.set_role, s.app_user,"
    " s.client, s.application, s.query, s.note from {schema}.statement s where {where} order by s.id"
)
SHORT = 8


def settle(connection: psycopg.Connection[Any]) -> None:
    """For the transaction, have values come in the one form that is sealed, whatever the database and the session: in
    UTF-8, or as the bytes that a database in SQL_ASCII has."""
    raw_text.accept(connection)
    connection.execute(SETTINGS)


def set_encoding(connection: psycopg.Connection[Any], facts: dict[str, Any]) -> None:
    """For a seal whose header does not tell it: of an older dbadmin, which took the database's own."""
    if "encoding" not in facts and not raw_text.has_no_encoding(connection):
        connection.execute("select set_config('client_encoding', pg_catalog.getdatabaseencoding(), true)")


@dataclass
class Entry:
    """A statement of a batch: its own digest, those of its rows by (n, side), and the leaf over all of them.

    times: lines of the log with this number; more than one, and somebody wrote them.
    """

    id: int
    own: bytes
    rows: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    times: int = 1

    def leaf(self) -> bytes:
        """The hash of the statement with its rows in order."""
        self.rows.sort()
        return merkle.leaf(b"S" + self.own + b"".join(digest for _, _, digest in self.rows))


@dataclass(frozen=True)
class Range:
    """The transactions of a batch: from this one, before that one; above: statements above this number only."""

    low: int
    high: int
    above: int = 0

    def where(self, alias: str) -> Composable:
        """As a condition on statements."""
        return SQL(
            "{a}.xid::text::bigint >= {low} and {a}.xid::text::bigint < {high} and {a}.id > {above}"
        ).format(
            a=Identifier(alias),
            low=Literal(str(self.low)),
            high=Literal(str(self.high)),
            above=Literal(self.above),
        )


def lines(connection: psycopg.Connection[Any], query: Composable) -> Iterator[bytes]:
    """The rows of a query in PostgreSQL's own text form, one line each.

    What has come is taken from libpq itself, which gives a row at a time: psycopg takes many steps for each, and these
    are most of what a seal costs.
    """
    libpq = connection.pgconn
    with connection.cursor() as cursor, cursor.copy(SQL("copy ({}) to stdout").format(query)) as copy:
        while line := bytes(copy.read()):  # waits
            while line:
                yield line[:-1]
                length, data = libpq.get_copy_data(1)
                if length < 0:
                    ended(connection)
                    return
                line = bytes(data)


def ended(connection: psycopg.Connection[Any]) -> None:
    """A copy has given its last row: did it end well?"""
    results = []
    while (result := connection.pgconn.get_result()) is not None:
        results.append(result)
    for result in results:
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)


def entries(connection: psycopg.Connection[Any], state: Installed, span: Range) -> dict[int, Entry]:
    """Every statement of the range with the digests of its rows. The caller holds one snapshot and settled."""
    found: dict[int, Entry] = {}
    query = STATEMENT.format(
        at=MICROSECONDS.format(SQL("s")), schema=Identifier(SCHEMA), where=span.where("s")
    )
    shapes: set[int] = set()
    for line in lines(connection, query):
        parts = line.split(b"\t", 6)
        number = int(parts[0])
        if number in found:
            found[number].times += 1
            continue
        found[number] = Entry(number, statement_digest(line))
        shapes.add(int(parts[5]))
    for number in sorted(shapes):
        shape_or_none, prefix = state.shapes.get(number), row_prefix(number)
        for line in lines(connection, row_query(shape_or_none, found)):
            statement, n, side, _ = line.split(b"\t", 3)
            entry = found.get(int(statement))
            if entry is not None:
                entry.rows.append((int(n), side, sha256(prefix + line).digest()))
    return found


def statement_digest(line: bytes) -> bytes:
    """The hash of a statement's own line."""
    return sha256(b"statement\n" + line).digest()


def row_prefix(shape: int) -> bytes:
    """What is hashed before the line of a row: the version of columns that it is of."""
    return b"rows %d\n" % shape


def row_query(shape: Shape | None, found: dict[int, Entry]) -> Composable:
    """The rows of one version of columns in a range; without a version, those that were kept whole."""
    if shape is None:
        table: Composable = Identifier(SCHEMA, "loose")
        columns: Composable = SQL("r.image::text")
    else:
        table = images_of(shape)
        columns = SQL(", ").join(
            [SQL("null")] + [SQL("r.{}::text").format(Identifier(c.kept_name)) for c in shape.kept]
        )
    return SQL("select r.statement_id, r.n, r.side, {at}, {columns} from {table} r where r.{which}").format(
        at=MICROSECONDS.format(SQL("r")), columns=columns, table=table, which=numbered(sorted(found))
    )


def numbered(numbers: Sequence[int]) -> Composable:
    """The rows of statements by their numbers, in order: as one stretch of the index where they lie together, else each
    looked up."""
    low, high = numbers[0], numbers[-1]
    if high - low <= 4 * len(numbers) + 1000:
        return SQL("statement_id between {} and {}").format(Literal(low), Literal(high))
    return SQL("statement_id = any({})").format(Literal(list(numbers)))


REGISTRY = {
    "watched": "id, since",
    "shape": "id, watched_id, signature, columns::text, key_columns::text, since",
    "gap": "id, at, xid, watched_id, kind, text",
}


#: Numbers of gaps that are missing in their row, the last of them: of transactions that failed, or have not ended.
ABSENT = SQL(
    "select * from (select before + 1 as first, id - 1 as last from (select id, lag(id, 1, 0::bigint) over"
    " (order by id) as before from {}) g where id > before + 1 order by 1 desc limit 1000) newest order by 1"
)


def registry_through(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """The last line of each table of the registry; of gaps those, too, that may still come between."""
    found: dict[str, Any] = {}
    for name in REGISTRY:
        query = SQL("select coalesce(max(id), 0) from {}").format(Identifier(SCHEMA, name))
        found[name] = int((connection.execute(query).fetchone() or (0,))[0])
    absent = connection.execute(ABSENT.format(Identifier(SCHEMA, "gap"))).fetchall()
    return {**found, "gap_absent": [list(row) for row in absent]}


def registry_digest(connection: psycopg.Connection[Any], name: str, through: dict[str, Any]) -> str:
    """One hash over a table of the registry, up to these lines: what is watched, versions of columns, gaps."""
    return hashed(registry_lines(connection, name, through))


def whole_registry_digest(connection: psycopg.Connection[Any], through: dict[str, Any]) -> str:
    """The same over all of its tables, as older seals have it."""
    return hashed(line for name in REGISTRY for line in registry_lines(connection, name, through))


def hashed(parts: Iterable[bytes]) -> str:
    """One hash over all of them, one after the other."""
    whole = sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def registry_lines(
    connection: psycopg.Connection[Any], name: str, through: dict[str, Any]
) -> Iterator[bytes]:
    """What is hashed of a table of the registry."""
    absent = through.get("gap_absent", []) if name == "gap" else []
    query = SQL("select {} from {} where id <= {}{} order by id").format(
        SQL(REGISTRY[name]), Identifier(SCHEMA, name), Literal(int(through[name])),
        SQL("").join(SQL(" and id not between {} and {}").format(*map(Literal, pair)) for pair in absent),
    )  # fmt: skip
    for line in lines(connection, query):
        yield name.encode() + b"\t" + line + b"\n"


def table_names(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """What the watched tables are called now, by number."""
    query = SQL("select id, schema_name || '.' || table_name from {} order by id")
    return {str(row[0]): row[1] for row in connection.execute(query.format(Identifier(SCHEMA, "watched")))}


HEAD, ROW = struct.Struct(">QI32s32s"), struct.Struct(f">Ic{SHORT}s")


def pack(ordered: Sequence[Entry], leaves: Sequence[bytes]) -> bytes:
    """What names the altered row later: whole digests of statements, short ones of rows. Kept outside of the server.

    leaves: those of the statements, in the same order.
    """
    out = bytearray()
    for entry, leaf in zip(ordered, leaves, strict=True):
        out += HEAD.pack(entry.id, len(entry.rows), entry.own, leaf)
        for row in entry.rows:
            out += ROW.pack(*row)  # which keeps the start of the digest
    return zlib.compress(bytes(out), 1)


@dataclass
class Packed:
    """A statement as a seal remembers it."""

    id: int
    own: bytes
    leaf: bytes
    packed_rows: bytes

    def rows(self) -> dict[tuple[int, bytes], bytes]:
        """The start of the digest of each of its rows; asked for only where they differ."""
        return {(n, side): digest for n, side, digest in ROW.iter_unpack(self.packed_rows)}


def unpack(data: bytes) -> list[Packed]:
    """The statements that a seal covers."""
    raw, position, found = zlib.decompress(data), 0, []
    while position < len(raw):
        number, count, own, leaf = HEAD.unpack_from(raw, position)
        start = position + HEAD.size
        position = start + count * ROW.size
        found.append(Packed(number, own, leaf, raw[start:position]))
    return found
