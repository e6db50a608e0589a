"""Every line that pg_restore writes to its error stream is understood; nothing is ignored in silence."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The one error that may pass: a newer pg_restore sets a parameter that an older server does not have.
_HARMLESS = re.compile(r'unrecognized configuration parameter "transaction_timeout"')
_ERROR = re.compile(r"pg_restore: error: (?P<text>.*)")
#: What kind of trouble, how to know it, and what to do about it.
_KINDS = [
    ("A role is missing", re.compile(r'role "[^"]*" does not exist'), "Create it"),
    (
        "An extension is missing on the host",
        re.compile(r'extension "[^"]*" is not available|could not open extension'),
        "Install its package there",
    ),
    (
        "A tablespace is missing",
        re.compile(r'tablespace "[^"]*" does not exist'),
        "Create it, or put everything in the default,",
    ),
    (
        "A right is missing",
        re.compile(r"permission denied|must be (owner|member|superuser|able)"),
        "Grant it, or let dbadmin operate as a superuser,",
    ),
    (
        "A provider of security labels is missing",
        re.compile(r"security label provider"),
        "Load its module there (shared_preload_libraries)",
    ),
    (
        "The disk of the server is full",
        re.compile(r"No space left on device|could not extend file"),
        "Free space there",
    ),
    ("A constraint is violated", re.compile(r"violates|could not create unique index"), ""),
    (
        "The archive is damaged",
        re.compile(r"could not read from input file|unexpected end of file|corrupt"),
        "Take another backup",
    ),
    (
        "The connection was lost",
        re.compile(r"server closed the connection|terminating connection|connection to server"),
        "See that the server runs",
    ),
    ("Something is in the way", re.compile(r"already exists"), ""),
]


@dataclass(frozen=True)
class RestoreError:
    """One error: what kind of trouble, pg_restore's own words, and what to do."""

    kind: str
    text: str
    harmless: bool = False
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"

    @property
    def next(self) -> str:
        """What to do about it, as a sentence; empty where that depends on what it says."""
        return f"{self.remedy} and restore again." if self.remedy else ""


def classify(line: str) -> RestoreError | None:
    """The error of a line; None where the line only adds to another or is a note."""
    found = _ERROR.match(line)
    if found is None:
        return None
    text = found["text"].strip().partition("could not execute query: ERROR:  ")
    said = (text[2] or text[0]).strip()
    if _HARMLESS.search(said):
        return RestoreError("A setting that this server does not know", said, harmless=True)
    kind, remedy = next(
        ((kind, remedy) for kind, pattern, remedy in _KINDS if pattern.search(said)),
        ("pg_restore failed", ""),
    )
    return RestoreError(kind, said, remedy=remedy)
