"""Passwords in what a server tells, in statements, connection strings and addresses: neither kept nor shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Columns that hold SQL.
CODE = ("query", "definition", "statement", "sql", "condition", "ddl", "plan")
#: Columns that hold what somebody wrote into a setting.
WRITTEN = ("value", "built_in")
HIDDEN = "***"

#: Looked for first: most texts have none of these.
WORDS = ("passw", "secret", "token", "://")
#: `PASSWORD 'x'`, `OPTIONS (password 'x')`; a text that was cut has no second quote.
CLAUSE = re.compile(r"(?i)\b(password|passwd|secret)(\s*(?::=|=>?)?\s*)(?:E|U&)?'(?:[^']|'')*(?:'|\Z)")
LITERAL = re.compile(r"'(?:[^']|'')*(?:'|\Z)")
#: `password=x` of a connection string, `PGPASSWORD=x` of a command; the value may stand in quotes.
PAIR = re.compile(
    r"(?i)(\b\w*(?:passw(?:or)?d|secret|token|access_key)\w*\s*=\s*)(''.*?''|'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|[^\s'\"&;]+)"
)
#: `//user:x@host`.
ADDRESS = re.compile(r"(://[^\s:/@'\"]*:)[^\s/@'\"]+@")


def is_code(name: str) -> bool:
    """Does a column of this name hold SQL or the like?"""
    return name in CODE or name.endswith(tuple(f"_{word}" for word in CODE))


def in_statement(text: str) -> str:
    """A statement without the passwords that are written in it; names and comparisons stay as they are."""
    if not any(word in text.lower() for word in WORDS):
        return text
    plain = LITERAL.sub(lambda literal: in_written(literal[0]), text)
    return CLAUSE.sub(rf"\1\2'{HIDDEN}'", plain)


def in_written(text: str) -> str:
    """A setting's value without the passwords of its connection string, address or command."""
    if not any(word in text.lower() for word in (*WORDS, "access_key")):
        return text
    return ADDRESS.sub(rf"\1{HIDDEN}@", PAIR.sub(rf"\1{HIDDEN}", text))


def in_rows(names: Sequence[str], rows: list[Any]) -> list[Any]:
    """Rows of a reading (named tuples), without the passwords in their texts."""
    ways = {
        place: in_statement if is_code(name) else in_written
        for place, name in enumerate(names)
        if is_code(name) or name in WRITTEN
    }
    return [_clean(row, ways) for row in rows] if ways else rows


def _clean(row: Any, ways: Mapping[int, Callable[[str], str]]) -> Any:
    cells = [
        ways[place](cell) if place in ways and isinstance(cell, str) else cell
        for place, cell in enumerate(row)
    ]
    return type(row)._make(cells)
