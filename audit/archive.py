"""A month of the log as an object in a store, compressed and signed, and back into the log."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg
from backports import zstd
from psycopg.sql import SQL, Composable, Identifier

from audit import sealing
from audit.canonical import SETTINGS
from audit.capture import SCHEMA
from dbadmin.models import Server
from dbadmin.operations import Refused
from dbadmin.stores import Shelf

FORM = "dbadmin-audit-archive-1"
COLUMNS = """
select a.attname from pg_catalog.pg_attribute a
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
REGISTRY = """
select json_build_object('shapes', (select json_agg(s order by s.id) from dbadmin_audit.shape s),
    'tables', (select json_agg(w order by w.id) from dbadmin_audit.watched w))::text
"""


@dataclass(frozen=True)
class Archive:
    """Where a month lies, and by which digest it is known."""

    key: str
    sha256: str
    size_bytes: int
    lines: int

    def said(self) -> dict[str, Any]:
        """For the signed record."""
        return vars(self) | {}


def first_day(month: str) -> dt.date:
    """2025-01 -> the first of January."""
    return dt.date.fromisoformat(f"{month}-01")


def folder(server: Server, database: str) -> str:
    """Below this all archived months of a database lie."""
    return f"audit-log/{server.key}/{database}/"


def key_of(server: Server, database: str, month: str) -> str:
    """The object of one month."""
    return f"{folder(server, database)}{month}.jsonl.zst"


def lines(connection: psycopg.Connection[Any], month: str, leaves: list[str]) -> Iterator[bytes]:
    """What makes the log readable, then each partition: a line with its columns, a line of texts for each row."""
    registry = (connection.execute(REGISTRY).fetchone() or ("{}",))[0]
    head = {"form": FORM, "month": month, "registry": json.loads(registry)}
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
            yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


def write(
    connection: psycopg.Connection[Any], shelf: Shelf, server: Server, month: str, leaves: list[str],
    tell: Callable[[int], None],
) -> Archive:  # fmt: skip
    """Put a month into the store, read it back, and then its signed description: only with that it exists."""
    database = connection.info.dbname
    key, digest, count = key_of(server, database, month), sha256(), 0
    packer, upload = zstd.ZstdCompressor(), shelf.upload(key)
    try:
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read read only")
            connection.execute(SETTINGS)
            for line in lines(connection, month, leaves):
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
    made = Archive(key, digest.hexdigest(), size, count)
    if read_digest(shelf, key) != made.sha256:
        raise Refused(f"The store gives back other bytes of {key} than were sent. Nothing was dropped.")
    shelf.put(f"{key}.json", description(server, database, month, made))
    return made


def description(server: Server, database: str, month: str, made: Archive) -> bytes:
    """What the object is, signed."""
    facts = {"form": FORM, "server": str(server.key), "database": database, "month": month, **made.said()}
    key, text = sealing.signing_key(), json.dumps(facts, sort_keys=True)
    signed = {"text": text, "signature": sealing.sign(key, text), "key": key.key_id, "public": key.public}
    return json.dumps(signed).encode()


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


def described(shelf: Shelf, server: Server, database: str, month: str) -> Archive:
    """The description of an archived month, if it is ours."""
    key = key_of(server, database, month)
    if shelf.head(f"{key}.json") is None:
        known = ", ".join(months(shelf, server, database)) or "none"
        raise Refused(f"The store holds no archive of {month}. It holds: {known}.", field="month")
    signed = json.loads(shelf.get(f"{key}.json"))
    facts = json.loads(signed["text"])
    public = sealing.public_key(signed["key"])
    if public is None or not sealing.is_signed(public, signed["text"], signed["signature"]):
        raise Refused(f"The description of {month} in the store was altered: its signature does not fit.")
    return Archive(facts["key"], facts["sha256"], facts["size_bytes"], facts["lines"])


def months(shelf: Shelf, server: Server, database: str) -> list[str]:
    """Archived months."""
    start = folder(server, database)
    keys = [item.key for item in shelf.items(start) if item.key.endswith(".jsonl.zst.json")]
    return sorted(key.removeprefix(start).partition(".")[0] for key in keys)


def load(
    connection: psycopg.Connection[Any], shelf: Shelf, found: Archive, month: str, tell: Callable[[int], None]
) -> int:
    """Put an archived month back into its partitions, in the caller's transaction; returns the number of rows."""
    digest, count = sha256(), 0
    table, names, waiting = "", list[str](), list[Any]()
    for line in unpacked(shelf, found.key):
        digest.update(line + b"\n")
        facts = json.loads(line)
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
            into.write_row(row)
