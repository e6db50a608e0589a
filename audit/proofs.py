"""The proof of one change: a small file that shows that it belongs to what was signed, without the rest of the log."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from audit import canonical, merkle
from audit.log_tables import SCHEMA
from audit.models import Seal
from audit.registry import Installed
from dbadmin.models import Server


class NoProof(Exception):
    """Why there is none, as a sentence."""


def seal_of(server: Server, database: str, statement: int) -> tuple[Seal, list[canonical.Packed]]:
    """The seal that covers a statement, and what it remembers; raises NoProof when none does."""
    found = Seal.objects.filter(server=server, database=database, last_id__gte=statement).select_related(
        "key"
    )
    for seal in found.order_by("number").iterator(4):
        known = canonical.unpack(bytes(seal.leaves))
        if known and known[0].id <= statement and any(one.id == statement for one in known):
            return seal, known
    raise NoProof(
        f"Statement {statement} is not sealed yet. seal_log seals it when its transaction has ended."
    )


def proof(
    connection: psycopg.Connection[Any],
    server: Server,
    database: str,
    state: Installed,
    statement: int,
    n: int,
) -> dict[str, Any]:
    """What proves the n-th row of a statement: its lines in clear, hashes of all else up to the signed root.

    Raises NoProof when the statement is not sealed, or is not as it was sealed.
    """
    seal, known = seal_of(server, database, statement)
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        canonical.settle(connection)
        query = canonical.STATEMENT.format(
            at=canonical.MICROSECONDS.format(SQL("s")), schema=Identifier(SCHEMA),
            where=SQL("s.id = {}").format(Literal(statement)),
        )  # fmt: skip
        whole = b"\n".join(canonical.lines(connection, query))
        number = int(whole.split(b"\t", 6)[5]) if whole else 0
        shape, prefix = state.shapes.get(number), canonical.row_prefix(number)
        own = canonical.Entry(statement, canonical.statement_digest(whole))
        clear: dict[tuple[int, bytes], bytes] = {}
        for line in canonical.lines(connection, canonical.row_query(shape, {statement: own})):
            _, place, side, _ = line.split(b"\t", 3)
            own.rows.append((int(place), side, sha256(prefix + line).digest()))
            if int(place) == n:
                clear[int(place), side] = line
    if not clear:
        raise NoProof(f"Statement {statement} has no row {n}.")
    index = next(place for place, one in enumerate(known) if one.id == statement)
    if own.leaf() != known[index].leaf:
        raise NoProof(
            f"Statement {statement} is not as it was sealed in seal {seal.number}. Verify the audit log."
        )
    return {
        "form": canonical.FORM,
        "header": seal.header,
        "signature": seal.signature,
        "public": seal.key.public,
        "statement": whole.decode(),
        "columns": [column.name for column in shape.kept] if shape else ["whole row"],
        "rows": [
            {"line": clear[place, side].decode()} if (place, side) in clear else {"digest": digest.hex()}
            for place, side, digest in own.rows
        ],
        "path": merkle.path([one.leaf for one in known], index),
    }
