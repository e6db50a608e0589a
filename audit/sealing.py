"""Sealing: closed transactions become a batch, its root goes into a chain of signed headers, outside of the server."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.db import transaction

from audit import canonical, fresh, merkle, sealed_states
from audit.canonical import FORM, Entry, Range
from audit.models import Seal, SealKey
from audit.registry import Installed, installed
from dbadmin import secrets
from dbadmin.connections import named_rows
from dbadmin.models import Server

#: Statements in one seal at most.
MOST = 50_000
#: Where the server stands. The horizon and the rows come from one snapshot, so no transaction can fall between.
PLACE = """
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon,
       (select system_identifier from pg_control_system())::text as system_identifier,
       (select timeline_id from pg_control_checkpoint()) as timeline, current_database() as database,
       (select oid::bigint from pg_database where datname = current_database()) as number
"""
LIMIT = """
select count(*) as statements, max(xid::text::bigint) + 1 as high from (
    select xid from dbadmin_audit.statement where id > %s and xid::text::bigint >= %s order by id limit %s) s
"""


@dataclass(frozen=True)
class Place:
    """The server at the moment of sealing."""

    horizon: int
    system_identifier: str
    timeline: int
    database: str
    #: The database's own number: one that came with a restore has another.
    number: int
    #: The oldest transaction under way; the horizon lies before it where something is not listed yet.
    under_way: int

    def is_another_database(self, seal: Seal) -> bool:
        """Was this database made after the one of a seal, in the same cluster? Older seals do not tell."""
        return bool(self.number != json.loads(seal.header).get("database_number", self.number))


def place_of(connection: psycopg.Connection[Any]) -> Place:
    """Where the server stands now. What is not listed yet comes behind the horizon, as what is not committed does."""
    row = named_rows(connection.execute(PLACE))[0]
    unlisted = fresh.oldest(connection)  # asked second: what was listed meanwhile is there by now
    horizon = row.horizon if unlisted is None else min(row.horizon, unlisted)
    return Place(horizon, row.system_identifier, row.timeline, row.database, row.number, row.horizon)


def signing_key() -> SealKey:
    """The key in use; made when there is none."""
    found = SealKey.objects.filter(retired_at=None).last()
    if found:
        return found
    private = Ed25519PrivateKey.generate()
    raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    key_id = sha256(bytes.fromhex(public)).hexdigest()[:16]
    sealed = secrets.seal(raw.hex(), f"sealkey.private:{key_id}")
    return SealKey.objects.create(key_id=key_id, public=public, sealed_private=sealed)


def public_key(key_id: str) -> str | None:
    """The public half of a key of ours; None for a stranger's."""
    found = SealKey.objects.filter(key_id=key_id).first()
    return found.public if found else None


def sign(key: SealKey, header: str) -> str:
    """The signature of a header."""
    return Ed25519PrivateKey.from_private_bytes(key.private()).sign(header.encode()).hex()


def signed_digest(text: str) -> dict[str, str]:
    """The digest of a file, with its signature and the key that it fits."""
    key = signing_key()
    return {"sha256": text, "signature": sign(key, text), "key": key.key_id, "public": key.public}


def is_signed(public: str, header: str, signature: str) -> bool:
    """Does the signature fit?"""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(
            bytes.fromhex(signature), header.encode()
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def next_range(
    connection: psycopg.Connection[Any], last: Seal | None, place: Place, state: Installed
) -> Range:
    """The transactions that the next seal covers. A server that was made anew or put back begins a new segment."""
    behind = last.last_id if last else 0
    if last is None:
        low, above = 0, 0
    elif last.system_identifier != place.system_identifier:
        low, above = 0, last.last_id
    elif is_same_course(last, place) or (lost := first_lost(connection, last, state)) is None:
        low, above = last.high, last.above
    else:
        low, above, behind = lost.low, lost.above, 0
    row = connection.execute(LIMIT, [behind, low, MOST]).fetchone()
    high = min(row[1], place.horizon) if row and row[0] == MOST else place.horizon
    return Range(low, max(high, low), above)


def is_same_course(last: Seal, place: Place) -> bool:
    """Did the server go on from where it was sealed last? A promoted standby, or a copy that was put back, may not."""
    is_same = place.timeline == last.timeline and not place.is_another_database(last)
    return is_same and place.under_way >= last.high


def first_lost(connection: psycopg.Connection[Any], last: Seal, state: Installed) -> Seal | None:
    """The oldest of the last seals whose statements are not all there as they were sealed: from its transactions on
    the server numbers anew. None when all are there."""
    lost = None
    for seal in Seal.objects.filter(server=last.server, database=last.database):
        if seal.system_identifier != last.system_identifier:
            break
        there = canonical.entries(connection, state, Range(seal.low, seal.high, seal.above))
        known = canonical.unpack(bytes(seal.leaves))
        if known and all(one.id in there and there[one.id].leaf() == one.leaf for one in known):
            break
        if known:
            lost = seal
    return lost


def seal_next(connection: psycopg.Connection[Any], server: Server) -> Seal | None:
    """Seal what was closed since the last seal, and what became of the registry; None when nothing happened."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        canonical.settle(connection)
        place = place_of(connection)
        last = Seal.objects.filter(server=server, database=place.database).first()
        state = installed(lambda query, params=None: named_rows(connection.execute(query, params)))
        span = next_range(connection, last, place, state)
        found = canonical.entries(connection, state, span)
        registry = registry_facts(connection) | sealed_states.facts(connection, last)
        if not found and not is_news(registry, last):
            return None
        moments = connection.execute(
            "select min(at), max(at) from dbadmin_audit.statement where id = any(%s)",
            [[min(found), max(found)] if found else []],
        ).fetchone()
    return keep(server, place, span, last, list(found.values()), registry, moments or (None, None))


def registry_facts(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """What makes the log readable, as a header tells of it."""
    through = canonical.registry_through(connection)
    return {
        "registry": {
            name: canonical.registry_digest(connection, name, through) for name in canonical.REGISTRY
        },
        "registry_through": through,
        "tables": canonical.table_names(connection),
    }


def is_news(registry: dict[str, Any], last: Seal | None) -> bool:
    """Did a table come, or change its name or how it is watched, or did a gap, since the last seal?"""
    if last is None:
        return bool(registry["tables"])
    facts = json.loads(last.header)
    return any(facts.get(name) != now for name, now in registry.items())


def keep(
    server: Server,
    place: Place,
    span: Range,
    last: Seal | None,
    found: list[Entry],
    registry: dict[str, Any],
    moments: Any,
) -> Seal:
    """Write the seal: chained to the one before, signed."""
    found.sort(key=lambda entry: entry.id)
    leaves = [entry.leaf() for entry in found]
    images = sum(len(entry.rows) for entry in found)
    key = signing_key()
    header = header_text(
        server, place, span, last, leaves, images, registry, key, [m and str(m) for m in moments], found
    )
    with transaction.atomic():
        return Seal.objects.create(
            server=server,
            server_name=server.name,
            database=place.database,
            number=(last.number if last else 0) + 1,
            header=header,
            header_hash=sha256(header.encode()).hexdigest(),
            signature=sign(key, header),
            key=key,
            leaves=canonical.pack(found, leaves),
            statements=len(found),
            images=images,
            low=span.low,
            high=span.high,
            above=span.above,
            last_id=found[-1].id if found else last.last_id if last else 0,
            system_identifier=place.system_identifier,
            timeline=place.timeline,
            first_at=moments[0],
            last_at=moments[1],
        )


def header_text(
    server: Server, place: Place, span: Range, last: Seal | None, leaves: list[bytes], images: int,
    registry: dict[str, Any], key: SealKey, moments: list[str | None], found: list[Entry],
) -> str:  # fmt: skip
    """The signed text: JSON with sorted names and no spaces."""
    facts = {
        "form": FORM,
        "encoding": "UTF8",
        "server": str(server.key),
        "server_name": server.name,
        "database": place.database,
        "database_number": place.number,
        "number": (last.number if last else 0) + 1,
        "previous": last.header_hash if last else "",
        "system_identifier": place.system_identifier,
        "timeline": place.timeline,
        "from_transaction": span.low,
        "before_transaction": span.high,
        "above_statement": span.above,
        "first_statement": found[0].id if found else None,
        "last_statement": found[-1].id if found else None,
        "statements": len(found),
        "images": images,
        "first_at": moments[0],
        "last_at": moments[1],
        **registry,
        "root": merkle.root(leaves).hex(),
        "key": key.key_id,
        "sealed_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
