"""Parts of an index that people write as SQL: checked before they become part of a statement."""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg import sql
from sqlglot import exp, parse
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType
from sqlglot.tokens import Tokenizer

from dbadmin.operations import Refused

COLUMN = re.compile(
    r"""^(?P<key>"(?:[^"]|"")+"|[a-zA-Z_][\w$]*|\(.+\)|[a-zA-Z_][\w$]*\(.*\))
        (?:\s+(?P<opclass>[a-z_][\w]*_ops))?
        (?:\s+(?P<order>asc|desc))?
        (?:\s+nulls\s+(?P<nulls>first|last))?$""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class IndexColumn:
    """One column or expression of an index, as it was written and as it goes into the statement."""

    key: str
    rest: str
    is_expression: bool

    @property
    def column(self) -> str:
        """The column's real name; "" for an expression."""
        if self.is_expression:
            return ""
        if self.key.startswith('"'):
            return self.key[1:-1].replace('""', '"')
        return self.key.lower()

    def composed(self) -> sql.Composable:
        """For the statement."""
        key: sql.Composable = sql.Identifier(self.column) if self.column else sql.SQL(self.key)
        return key + sql.SQL(f" {self.rest}") if self.rest else key


def columns_of(text: str, field: str = "columns") -> list[IndexColumn]:
    """email, lower(name), created_at DESC NULLS LAST, title text_pattern_ops."""
    found = []
    for part in split(text, field):
        matched = COLUMN.match(part)
        if matched is None:
            raise Refused(
                f"{part!r} is not a column. Write: name, or (expression), then an operator class,"
                " ASC or DESC, NULLS FIRST or LAST.",
                field,
            )
        key = matched["key"]
        is_expression = key.endswith(")") and not key.startswith('"')
        if is_expression:
            check_expression(key, field)
        words = [matched["opclass"] or "", (matched["order"] or "").upper()]
        words += [f"NULLS {matched['nulls'].upper()}" if matched["nulls"] else ""]
        found.append(IndexColumn(key, " ".join(filter(None, words)), is_expression))
    return found


def split(text: str, field: str) -> list[str]:
    """At the commas that stand in no bracket."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "()":
            depth += 1 if sign == "(" else -1
        if sign == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    if depth or quote:
        raise Refused("A bracket or a quote is not closed.", field)
    cleaned = [part.strip() for part in parts]
    if not all(cleaned):
        raise Refused("A column is empty: look at the commas.", field)
    return cleaned


def check_expression(text: str, field: str) -> None:
    """One expression and nothing else: no second statement, no comment, no subquery; raises Refused."""
    if "--" in text or "/*" in text or "$$" in text or "\x00" in text:
        raise Refused("Leave out comments and dollar quotes.", field)
    try:
        tokens = Tokenizer(dialect="postgres").tokenize(text)
        statements = parse(f"SELECT 1 WHERE ({text})", dialect="postgres")
    except SqlglotError as error:
        raise Refused(f"This is not an expression: {str(error).splitlines()[0]}", field) from error
    depth = 0
    for token in tokens:
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if depth < 0 or token.token_type is TokenType.SEMICOLON:
            raise Refused("This is more than one expression.", field)
    whole = statements[0] if len(statements) == 1 else None
    if not isinstance(whole, exp.Select) or set(filled(whole)) != {"expressions", "where"}:
        raise Refused("This is more than one expression.", field)
    if whole.args["where"].find(exp.Select, exp.Subquery):
        raise Refused("An index cannot hold a subquery.", field)


def filled(whole: exp.Expression) -> list[str]:
    """The clauses that a statement has."""
    return [name for name, value in whole.args.items() if value]
