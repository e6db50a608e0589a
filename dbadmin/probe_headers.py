"""The head of a probe's file: what every reader of its answer shares, read from comments."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Threshold:
    """`wait_seconds > 30`, from a header; with `of`, the limit is that many times another column of the row."""

    column: str
    comparison: str
    limit: float
    of: str = ""

    def limit_for(self, row: Any) -> float | None:
        """The limit that holds for this row; None when the column it is made of is not known."""
        if not self.of:
            return self.limit
        base = getattr(row, self.of, None)
        return None if base is None else self.limit * float(base)

    def met_by(self, row: Any) -> bool:
        """Does this row cross it? An unknown value crosses nothing."""
        value, limit = getattr(row, self.column, None), self.limit_for(row)
        if value is None or limit is None:
            return False
        number = float(value)
        match self.comparison:
            case ">":
                return number > limit
            case ">=":
                return number >= limit
            case "<":
                return number < limit
            case "<=":
                return number <= limit
            case _:
                return number == limit

    def __str__(self) -> str:
        if not self.of:
            return f"{self.column} {self.comparison} {self.limit:g}"
        part = "" if self.limit == 1 else f" / {1 / self.limit:g}"
        return f"{self.column} {self.comparison} {self.of}{part}"


@dataclass(frozen=True)
class Action:
    """`drop_index(schema, index)`: a row's button, its columns becoming the form's fields.

    `field=column` names a field that differs from the column.
    """

    operation: str
    fields: tuple[tuple[str, str], ...]


class HeaderError(ValueError):
    """A probe's header cannot be understood; the file is named."""


KEYS = {
    "title", "about", "empty", "scope", "source", "on", "judged", "needs", "every", "key", "series", "warning",
    "critical", "actions", "timeout", "rename", "params", "keeps",
}  # fmt: skip
LINE = re.compile(r"^--\s?(?:column\s+(?P<column>\w+):\s*(?P<text>.*)|(?P<key>\w+):\s*(?P<value>.*))$")
THRESHOLD = re.compile(
    r"^(\w+)\s*(>=|<=|>|<|=)\s*(?:(-?[\d.]+(?:e\d+)?)|([a-z_]+)(?:\s*/\s*(\d+(?:\.\d+)?))?)$"
)
CALL = re.compile(r"(\w+)\(([^)]*)\)")
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """30s, 5m, 1h -> seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", text.strip())
    if not found:
        raise HeaderError(f"{text!r} is no length of time; write 30s, 5m or 1h")
    return float(found[1]) * SECONDS[found[2]]


def parse_header(lines: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Header lines -> (keys, notes on columns); raises HeaderError for what it does not know."""
    header: dict[str, str] = {}
    columns: dict[str, str] = {}
    for line in lines:
        found = LINE.match(line.rstrip())
        if not found:
            raise HeaderError(f"not a header line: {line.strip()!r}")
        if found["column"]:
            columns[found["column"]] = found["text"].strip()
        elif found["key"] not in KEYS:
            raise HeaderError(f"unknown key {found['key']!r}")
        else:
            header[found["key"]] = found["value"].strip()
    for required in ("title", "about"):
        if not header.get(required):
            raise HeaderError(f"{required!r} is missing")
    return header, columns


def split_sql(text: str) -> tuple[list[str], str]:
    """A file's leading comment lines, and its statement."""
    lines = text.splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return lines[:end], "\n".join(lines[end:]).strip().rstrip(";")


def threshold(text: str) -> Threshold | None:
    """`wait_seconds > 30`, `covered_seconds < lead_seconds / 7` -> Threshold."""
    if not text:
        return None
    found = THRESHOLD.match(text)
    if not found:
        raise HeaderError(f"{text!r} is no threshold; write: column > number, or: column > column / number")
    if found[4]:
        return Threshold(found[1], found[2], 1 / float(found[5] or 1), found[4])
    return Threshold(found[1], found[2], float(found[3]))


def parse_actions(text: str) -> tuple[Action, ...]:
    """`cancel_backend(pid), drop_index(schema, index=name)` -> Actions."""
    return tuple(
        Action(
            name,
            tuple(
                (part.partition("=")[0].strip(), (part.partition("=")[2] or part).strip())
                for part in inside.split(",")
                if part.strip()
            ),
        )
        for name, inside in CALL.findall(text)
    )
