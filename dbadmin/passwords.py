"""Passwords that servers tell in texts: in settings, in statements, in addresses. They are neither shown nor kept."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

HIDDEN = "***"
#: No text without one of these holds any.
HINTS = ("passw", "passphrase", "-pass", "secret", "token", "access_key", "access-key", "://")
#: host=… password=…, also within a statement, where its quotes are doubled.
CONNECTION = re.compile(r"(?i)\b(?:host|hostaddr|user|dbname|port|service)\s*=")
IN_CONNECTION = re.compile(
    r"(?i)\b((?:ssl)?password\s*=\s*)(?:''(?:[^'\\]|\\.)+''|'(?:[^'\\]|\\.|'')+'|(?!\$\d)[^\s'\"]+)"
)
#: ALTER ROLE … PASSWORD '…'; a text that was cut has no second quote.
IN_STATEMENT = re.compile(
    r"(?is)\b(password|passwd|secret)(\s*=?\s*)(?:(?:E|U&)?'(?:[^']|'')*(?:'|\Z)|\$(\w*)\$.*?\$\3\$)"
)
#: PGPASSWORD=… or --secret-key=… of a command
IN_COMMAND = re.compile(
    r"(\b[A-Z0-9_]*(?:PASSWORD|PASSPHRASE|SECRET|TOKEN|ACCESS_KEY)[A-Z0-9_]*=|"
    r"-[a-z0-9-]*(?:-pass|password|passphrase|secret|token|access-key)[a-z-]*=)(?:'[^']*'|\"[^\"]*\"|[^\s'\";]+)"
)
#: postgresql://name:…@host
IN_ADDRESS = re.compile(r"(\w://[^\s:/@'\"]*:)[^\s@'\"]+(?=@)")


def is_suspect(text: str) -> bool:
    """May it hold a password? Found out fast, for nearly none does."""
    small = text.lower()
    return any(hint in small for hint in HINTS)


def without_passwords(text: str) -> str:
    """The text with each password hidden."""
    if not is_suspect(text):
        return text
    if CONNECTION.search(text):
        text = IN_CONNECTION.sub(rf"\1{HIDDEN}", text)
    text = IN_STATEMENT.sub(rf"\1\2'{HIDDEN}'", text)
    return IN_ADDRESS.sub(rf"\1{HIDDEN}", IN_COMMAND.sub(rf"\1{HIDDEN}", text))


def hide(rows: list[Any], places: Iterable[int]) -> list[Any]:
    """Rows (named tuples) whose texts in these places tell no password; rows without any are the same."""
    suspect = {place for place in places if is_suspect("\0".join(texts(rows, place)))}
    if not suspect:
        return rows

    def hidden(place: int, value: Any) -> Any:
        return without_passwords(value) if place in suspect and isinstance(value, str) else value

    return [row._make(hidden(place, value) for place, value in enumerate(row)) for row in rows]


def texts(rows: Iterable[Any], place: int) -> Iterator[str]:
    """What is text there."""
    return (row[place] for row in rows if isinstance(row[place], str))
