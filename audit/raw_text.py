"""Text of a database in SQL_ASCII, which takes any bytes for text: what is no UTF-8 in it is read, shown and written
back as the bytes that it is. The server refuses to send it to a session in another encoding."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.sql import Composable

#: What the server calls an encoding that knows no characters.
NO_ENCODING = "SQL_ASCII"
SENT_AS = "select pg_catalog.set_config('client_encoding', %s, false)"
#: What pages and exports of such a database say.
NOTE = "This database has no encoding (SQL_ASCII). Bytes of its text that are no UTF-8 are shown as \\xe9 is."
#: How Python carries bytes that are no UTF-8 through a text.
BYTES = ("utf-8", "surrogateescape")
TEXTS = ("text", "varchar", "bpchar", "name", '"char"', 0)


class RawText(str):
    """A text that is no UTF-8: shown with \\xe9 for each byte that has no meaning, written as `raw`, its bytes."""

    raw: bytes

    def __new__(cls, raw: bytes) -> RawText:
        """raw: what the server holds."""
        made = super().__new__(cls, raw.decode("utf-8", "backslashreplace"))
        made.raw = raw
        return made


def text_of(raw: bytes) -> str:
    """Bytes as the text that they are in UTF-8, else as text that keeps them."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawText(raw)


def smuggled(values: Sequence[str | None]) -> list[str | None]:
    """Texts with such bytes in them as BYTES has them; with_raw is the way back."""
    return [value.raw.decode(*BYTES) if isinstance(value, RawText) else value for value in values]


def with_raw(value: Any) -> Any:
    """JSON whose texts hold bytes that are no UTF-8, as Python smuggles them through: each such text keeps them."""
    if isinstance(value, dict):
        return {with_raw(name): with_raw(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_raw(each) for each in value]
    return text_of(value.encode(*BYTES)) if isinstance(value, str) else value


class TextLoader(Loader):
    """Reads any text."""

    def load(self, data: Buffer) -> str:
        """As text_of tells."""
        return text_of(bytes(data))


class JsonLoader(Loader):
    """Reads JSON, whatever bytes its texts hold."""

    def load(self, data: Buffer) -> Any:
        """As Python's objects."""
        raw = bytes(data)
        try:
            return json.loads(raw)
        except UnicodeDecodeError:
            return with_raw(json.loads(raw.decode(*BYTES)))


class RawDumper(Dumper):
    """Writes such a text as its bytes."""

    oid = psycopg.adapters.types["text"].oid

    def dump(self, obj: RawText) -> Buffer:
        """As a parameter."""
        return obj.raw

    def quote(self, obj: RawText) -> Buffer:
        """As a literal that each encoding can show."""
        plain = obj.raw.decode(*BYTES).replace("\\", "\\\\").replace("'", "''")
        return b" E'" + plain.encode(*BYTES).decode("utf-8", "backslashreplace").encode() + b"'"


psycopg.adapters.register_dumper(RawText, RawDumper)


class Utf8Cursor(psycopg.Cursor[Any]):
    """Sends queries in UTF-8, though the session has no encoding: the driver would take letters of ASCII alone."""

    def execute(self, query: Any, *args: Any, **named: Any) -> Any:
        """As ever."""
        return super().execute(in_utf8(query), *args, **named)

    def copy(self, statement: Any, *args: Any, **named: Any) -> Any:
        """As ever."""
        return super().copy(in_utf8(statement), *args, **named)


def in_utf8(query: str | bytes | Composable) -> bytes:
    """A query as it is sent."""
    if isinstance(query, Composable):
        return query.as_bytes()
    return query.encode() if isinstance(query, str) else query


def has_no_encoding(connection: psycopg.Connection[Any]) -> bool:
    """Is its database in SQL_ASCII?"""
    return connection.info.parameter_status("server_encoding") == NO_ENCODING


def accept(connection: psycopg.Connection[Any]) -> None:
    """Let a connection take any text once its encoding is the database's: in SQL_ASCII, else there is nothing to do."""
    if has_no_encoding(connection) and connection.cursor_factory is not Utf8Cursor:
        connection.cursor_factory = Utf8Cursor
        for name in TEXTS:
            connection.adapters.register_loader(name, TextLoader)
        for name in ("json", "jsonb"):
            connection.adapters.register_loader(name, JsonLoader)


@contextmanager
def accepted(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Any text comes as it is, within this block; the connection may be another reader's afterwards."""
    if not has_no_encoding(connection):
        yield
        return
    accept(connection)
    connection.execute(SENT_AS, [NO_ENCODING])
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(SENT_AS, ["UTF8"])
