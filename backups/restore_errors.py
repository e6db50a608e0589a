"""Every line that pg_restore writes to its error stream is understood; nothing is ignored in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: The one error that may pass: a newer pg_restore sets a parameter that an older server does not have.
_HARMLESS = re.compile(r'unrecognized configuration parameter "transaction_timeout"')
_ERROR = re.compile(r"pg_restore: error: (?P<text>.*)")
_SUMMARY = re.compile(r"pg_restore: (warning: errors ignored on restore|finished main|while )")
_KINDS = [
    ("A role is missing", re.compile(r'role "[^"]*" does not exist')),
    (
        "An extension is missing on the host",
        re.compile(r'extension "[^"]*" is not available|could not open extension'),
    ),
    ("A tablespace is missing", re.compile(r'tablespace "[^"]*" does not exist')),
    ("A right is missing", re.compile(r"permission denied|must be (owner|member|superuser|able)")),
    ("The disk of the server is full", re.compile(r"No space left on device|could not extend file")),
    ("A constraint is violated", re.compile(r"violates|could not create unique index")),
    (
        "The archive is damaged",
        re.compile(r"could not read from input file|unexpected end of file|corrupt|invalid"),
    ),
    (
        "The connection was lost",
        re.compile(r"server closed the connection|terminating connection|connection to server"),
    ),
    ("Something is in the way", re.compile(r"already exists")),
]


@dataclass(frozen=True)
class RestoreError:
    """One error: what kind of trouble, and pg_restore's own words."""

    kind: str
    text: str
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def classify(line: str) -> RestoreError | None:
    """The error of a line; None where the line only adds to another or is a note."""
    found = _ERROR.match(line)
    if found is None:
        return None
    text = found["text"].strip().partition("could not execute query: ERROR:  ")
    said = (text[2] or text[0]).strip()
    if _HARMLESS.search(said):
        return RestoreError("A setting that this server does not know", said, harmless=True)
    kind = next((kind for kind, pattern in _KINDS if pattern.search(said)), "pg_restore failed")
    return RestoreError(kind, said)


def grave(lines: Iterable[str]) -> list[RestoreError]:
    """All errors that mean the restore is not what the backup was."""
    found = [classify(line) for line in lines]
    return [error for error in found if error is not None and not error.harmless]


def is_summary(line: str) -> bool:
    return bool(_SUMMARY.match(line))
