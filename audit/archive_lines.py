"""A month of the log as lines of JSON, compressed, in one object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg
from backports import zstd
from psycopg.sql import SQL, Composable, Identifier

from audit import raw_text
from audit.log_tables import SCHEMA
from dbadmin.operations import Refused
from dbadmin.stores import Shelf

FORM = "dbadmin-audit-archive-1"
COLUMNS = """
select a.attname from pg_catalog.pg_attribute a
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum
"""


@dataclass(frozen=True)
class File:
    """An object of an archive, and by which digest it is known; table and columns where it holds one table alone."""

    key: str
    sha256: str
    size_bytes: int
    lines: int
    table: str = ""
    columns: list[str] = field(default_factory=list)


def lines(
    connection: psycopg.Connection[Any], month: str, registry: dict[str, Any], leaves: list[str]
) -> Iterator[bytes]:
    """What makes the log readable, then each partition: a line with its columns, a line of texts for each row."""
    head = {"form": FORM, "month": month, "registry": registry}
    yield json.dumps(head, ensure_ascii=False).encode() + b"\n"
    for leaf in sorted(leaves, key=lambda name: (not name.startswith("statement"), name)):
        names = columns_of(connection, leaf)
        yield json.dumps({"table": leaf[:-8], "columns": names}).encode() + b"\n"
        yield from rows_of_leaf(connection, leaf, names)


def columns_of(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """The columns of one of the log's tables."""
    name = Identifier(SCHEMA, table).as_string(None)
    return [row[0] for row in connection.execute(COLUMNS, [name])]


def rows_of_leaf(connection: psycopg.Connection[Any], leaf: str, names: list[str]) -> Iterator[bytes]:
    """Its rows in the order of their numbers, each value as the text that PostgreSQL reads back to the same value."""
    number = "id" if leaf.startswith("statement") else "statement_id"
    texts = SQL(", ").join([SQL("{}::text").format(Identifier(name)) for name in names])
    query = SQL("select {} from {} order by {}").format(texts, Identifier(SCHEMA, leaf), Identifier(number))
    with connection.cursor(name="dbadmin_archive") as cursor:
        cursor.itersize = 5000
        cursor.execute(query)
        for row in cursor:
            yield json.dumps(raw_text.smuggled(row), ensure_ascii=False).encode(*raw_text.BYTES) + b"\n"


def write(
    connection: psycopg.Connection[Any], shelf: Shelf, key: str, month: str, registry: dict[str, Any],
    leaves: list[str], tell: Callable[[int], None],
) -> list[File]:  # fmt: skip
    """One object; its digest is that of its lines."""
    digest, count = sha256(), 0
    packer, upload = zstd.ZstdCompressor(), shelf.upload(key)
    try:
        for line in lines(connection, month, registry, leaves):
            digest.update(line)
            upload.write(packer.compress(line))
            count += 1
            if count % 5000 == 0:
                tell(count)
        upload.write(packer.flush())
        size = upload.complete().size_bytes
    except BaseException:
        upload.abort()
        raise
    return [File(key, digest.hexdigest(), size, count)]


def unpacked(shelf: Shelf, key: str) -> Iterator[bytes]:
    """The lines of an object."""
    unpacker, rest = zstd.ZstdDecompressor(), b""
    for block in shelf.read(key):
        parts = (rest + unpacker.decompress(block)).split(b"\n")
        rest = parts.pop()
        yield from parts
    if rest or not unpacker.eof:
        raise Refused(f"{key} is cut short.")


def read_digest(shelf: Shelf, key: str) -> str:
    """The digest of what is in the store."""
    digest = sha256()
    for line in unpacked(shelf, key):
        digest.update(line + b"\n")
    return digest.hexdigest()


def load(
    connection: psycopg.Connection[Any], shelf: Shelf, files: list[File], month: str,
    tell: Callable[[int], None],
) -> int:  # fmt: skip
    """Put an archived month back into its partitions, in the caller's transaction; returns the number of rows."""
    (found,), digest, count = files, sha256(), 0
    table, names, waiting = "", list[str](), list[Any]()
    for line in unpacked(shelf, found.key):
        digest.update(line + b"\n")
        facts = json.loads(line.decode(*raw_text.BYTES))
        if isinstance(facts, dict):
            put_in(connection, table, names, month, waiting)
            table, names, waiting = facts.get("table", ""), facts.get("columns", []), []
            continue
        waiting.append(facts)
        count += 1
        if len(waiting) == 5000:
            put_in(connection, table, names, month, waiting)
            waiting = []
            tell(count)
    put_in(connection, table, names, month, waiting)
    if digest.hexdigest() != found.sha256:
        raise Refused(f"The archive of {month} was altered: its digest does not fit. Nothing was loaded.")
    return count


def put_in(
    connection: psycopg.Connection[Any], table: str, names: list[str], month: str, rows: list[Any]
) -> None:
    """Rows of texts into one partition."""
    if not rows:
        return
    copy: Composable = SQL("copy {} ({}) from stdin").format(
        Identifier(SCHEMA, f"{table}_{month.replace('-', '_')}"), SQL(", ").join(map(Identifier, names))
    )
    with connection.cursor() as cursor, cursor.copy(copy) as into:  # type: ignore[arg-type]
        for row in rows:
            into.write_row(raw_text.with_raw(row))
