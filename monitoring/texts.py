"""Texts of statements: each fetched once, kept once, with a fingerprint that outlives upgrades."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from dbadmin.connections import Session
from dbadmin.deadlines import deadline
from dbadmin.models import Server
from dbadmin.probes import PROBES, Reading
from monitoring.models import Name, Statement, Text

#: Texts fetched at once, the costliest statements first.
MOST = 1000
#: The server loads all its texts to give one: it rests so many times longer than that took, or longer.
REST, LEAST_REST = 50.0, 55.0
CUT = 100_000
NAMES = """
/* dbadmin names */ select 'role' as kind, oid::int8 as number, rolname::text as name from pg_catalog.pg_roles
union all select 'database', oid::int8, datname::text from pg_catalog.pg_database
"""

TOKEN = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)"""
    r"""|(?P<literal>(?:\b[eEbBxXnN]|\b[uU]&)?'(?:[^']|'')*'"""
    r"""|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|\$\d+|\b\d[\d.]*(?:[eE][+-]?\d+)?\b)"""
    r"""|(?P<name>"(?:[^"]|"")*")"""
    r"""|(?P<word>\w+)|(?P<mark>.)""",
    re.DOTALL,
)
LIST = re.compile(r"\( \?(?: , \?)+ \)")
ROWS = re.compile(r"\( \? \)(?: , \( \? \))+")


def fingerprint(text: str) -> str:
    """Equal for statements that differ only in values, lengths of lists, spacing, case or comments."""
    words = []
    for token in TOKEN.finditer(text):
        if token["skip"] is not None:
            continue
        if token["literal"] is not None:
            words.append("?")
        else:
            words.append(token[0] if token["name"] is not None else token[0].lower())
    plain = ROWS.sub("( ? )", LIST.sub("( ? )", " ".join(words))).rstrip(" ;")
    return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=8).hexdigest()


@dataclass
class Found:
    """Texts and names that a round brought home."""

    texts: dict[tuple[int, int], str] = field(default_factory=dict)
    names: list[tuple[str, int, str]] = field(default_factory=list)


class Fetcher:
    """Knows which texts are kept, and fetches new ones now and then."""

    def __init__(self, known: Iterable[tuple[int, int]] = ()) -> None:
        self.known = set(known)
        self.numbers: set[int] = set()
        self.next_at = 0.0

    def fetch(self, session: Session, statements: Reading) -> Found | None:
        """The texts of statements that are new, and the names of their roles and databases."""
        now = time.monotonic()
        if statements.problem or now < self.next_at:
            return None
        rows: list[Any] = [
            row for row in statements.rows if (row.database_id, row.query_id) not in self.known
        ]
        if not rows:
            return None
        rows.sort(key=lambda row: row.exec_seconds_total or 0, reverse=True)
        found = Found()
        wanted = {row.query_id for row in rows[:MOST]}
        probe = PROBES["statement_texts"]
        with deadline(session.connection, probe.timeout + 1):
            answer = probe.read(session, ids=list(wanted))
        for row in answer.rows:
            found.texts[row.database_id, row.query_id] = row.query
        # Asked is asked: one that was forgotten meanwhile is not asked for again each minute.
        self.known |= {(row.database_id, row.query_id) for row in rows[:MOST]}
        numbers = {number for row in rows for number in (row.user_id, row.database_id)}
        if numbers - self.numbers:
            found.names = self.fetch_names(session)
            self.numbers |= numbers  # One that was dropped has no name any more.
        self.next_at = now + max(LEAST_REST, REST * answer.took_ms / 1000)
        return found

    def fetch_names(self, session: Session) -> list[tuple[str, int, str]]:
        """What roles and databases are called."""
        try:
            with deadline(session.connection, 3):
                names = [(row.kind, row.number, row.name) for row in session.rows(NAMES)]
        except psycopg.errors.QueryCanceled:
            return []
        self.numbers |= {number for _, number, _ in names}
        return names


def known_texts(server: Server) -> list[tuple[int, int]]:
    """(database, query id) of the statements whose text is kept."""
    return list(Statement.objects.filter(server=server).values_list("database_id", "query_id"))


def keep(server: Server, found: Found) -> None:
    """Store texts and names; equal texts are stored once for all servers."""
    digests = {
        place: hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
        for place, text in found.texts.items()
    }
    new = {
        digest: Text(
            digest=digest,
            fingerprint=fingerprint(found.texts[place]),
            text=found.texts[place],
            is_cut=len(found.texts[place]) >= CUT,
        )
        for place, digest in digests.items()
    }
    Text.objects.bulk_create(new.values(), ignore_conflicts=True)
    kept = Text.objects.filter(digest__in=list(new)).values_list("digest", "pk")
    numbers = {bytes(digest): pk for digest, pk in kept}
    Statement.objects.bulk_create(
        (
            Statement(server=server, database_id=place[0], query_id=place[1], text_id=numbers[digest])
            for place, digest in digests.items()
        ),
        ignore_conflicts=True,
    )
    Name.objects.bulk_create(
        (Name(server=server, kind=kind, number=number, name=name) for kind, number, name in found.names),
        update_conflicts=True,
        unique_fields=["server", "kind", "number"],
        update_fields=["name"],
    )
