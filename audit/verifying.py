"""Verification: the chain of seals, and the log itself against them; each difference is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import psycopg

from audit import canonical, merkle, sealed_states
from audit.canonical import Entry, Packed, Range
from audit.models import Expiry, Seal
from audit.registry import installed
from audit.sealing import Place, is_signed, place_of
from dbadmin.connections import named_rows

#: Findings that a report names; more are counted.
MOST = 200
#: A key without its private half.
STRANGE = "Seal {} is signed by key {}, whose private half DBADMIN_KEYS does not open: it is not known to be dbadmin's."
SIDES = {b"-": "before", b"o": "before", b"+": "after", b"x": "deleted"}


@dataclass(frozen=True)
class Finding:
    """One difference. kind: altered, removed, inserted, lost, chain or signature; what: a sentence."""

    kind: str
    seal: int
    what: str
    statement: int = 0
    row: int = 0

    def said(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def chain(seals: Iterable[Seal]) -> list[Finding]:
    """The headers: each signed, each tied to the one before, none missing, each as it says of its leaves."""
    found: list[Finding] = []
    previous: Seal | None = None
    keys: dict[str, bool] = {}
    for seal in seals:
        if seal.key.key_id not in keys:
            keys[seal.key.key_id] = seal.key.is_ours()
            if not keys[seal.key.key_id]:
                found.append(Finding("signature", seal.number, STRANGE.format(seal.number, seal.key.key_id)))
        facts = json.loads(seal.header)
        if sha256(seal.header.encode()).hexdigest() != seal.header_hash or not is_signed(
            seal.key.public, seal.header, seal.signature
        ):
            found.append(
                Finding(
                    "signature", seal.number, f"Seal {seal.number} was altered: its signature does not fit."
                )
            )
        if facts["number"] != seal.number or (previous and seal.number != previous.number + 1):
            found.append(Finding("chain", seal.number, f"A seal before seal {seal.number} was removed."))
        elif previous and facts["previous"] != previous.header_hash:
            found.append(
                Finding("chain", seal.number, f"Seal {seal.number} does not follow seal {previous.number}.")
            )
        previous = seal
    return found


def expired_through(seals: list[Seal]) -> int:
    """The last statement that a signed record says was dropped by policy."""
    server = seals[0].server if seals else None
    if server is None:
        return 0
    for one in Expiry.objects.filter(server=server, database=seals[0].database).select_related("key"):
        facts = json.loads(one.text)
        is_of_this = (facts["server"], facts["database"]) == (str(server.key), seals[0].database)
        if is_of_this and one.key.is_ours() and is_signed(one.key.public, one.text, one.signature):
            return int(facts["through"])
    return 0


def leaves_of(seal: Seal) -> list[Packed] | None:
    """The statements of a seal; None where the bytes are not those that were sealed, whatever is wrong with them."""
    try:
        return canonical.unpack(bytes(seal.leaves))
    except Exception:  # noqa: BLE001
        return None


def sealed_again(seals: list[Seal]) -> dict[int, dict[int, bytes]]:
    """Seal -> statements, with their leaves, of later seals that cover its transactions once more.

    There are such after a failover or a restore: the server numbered transactions anew from an earlier one on.
    """
    found: dict[int, dict[int, bytes]] = {}
    highest = 0
    for place, later in enumerate(seals):
        is_anew = later.low < highest
        highest = max(highest, later.high)
        before = [
            seal for seal in seals[:place] if is_anew and seal.low < later.high and later.low < seal.high
        ]
        leaves = {packed.id: packed.leaf for packed in leaves_of(later) or ()} if before else {}
        for seal in before:
            found.setdefault(seal.number, {}).update(leaves)
    return found


#: The log is not there in the form that it was made in.
UNREADABLE = "{} cannot be compared: the log is not as it was made, {}."
UNVERSIONED = (
    "Seal {} cannot be compared: the comment on schema dbadmin_audit no longer tells the log's version."
)


def readable(what: str, seal: int, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What a look finds, or that tables or columns of the log are gone or of other types."""
    try:
        return look()
    except psycopg.errors.InsufficientPrivilege:
        raise
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        return [Finding("unreadable", seal, UNREADABLE.format(what, str(error).splitlines()[0]))]


def verify_seal(
    connection: psycopg.Connection[Any], seal: Seal, expired: int = 0, again: dict[int, bytes] | None = None
) -> list[Finding]:
    """One batch of the log, read anew, against its seal; statements up to `expired` were dropped by policy.

    again: statements that a later seal covers: where they are other ones than those sealed here, these are lost.
    """
    known = leaves_of(seal)
    if known is None:
        return [Finding("signature", seal.number, f"The leaves of seal {seal.number} were altered.")]
    if merkle.root([packed.leaf for packed in known]).hex() != json.loads(seal.header)["root"]:
        return [Finding("signature", seal.number, f"The leaves of seal {seal.number} were altered.")]
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        canonical.settle(connection)
        place = place_of(connection)
        state = installed(lambda query, params=None: named_rows(connection.execute(query, params)))
        if not state.version:
            return [Finding("unreadable", seal.number, UNVERSIONED.format(seal.number))]
        canonical.set_encoding(connection, json.loads(seal.header))
        there = canonical.entries(connection, state, Range(seal.low, seal.high, seal.above))
    # What expired by policy may be gone; what is there, or was loaded again, must be as it was sealed.
    known = [packed for packed in known if packed.id > expired or packed.id in there]
    again = again or {}
    known = [packed for packed in known if again.get(packed.id) != packed.leaf]
    there = {number: entry for number, entry in there.items() if number not in again}
    return compare(seal, known, there, place, again)


#: Table of the registry -> what is said when it differs.
REGISTRY = {
    "watched": "The numbers of watched tables, or since when they are watched, were altered.",
    "shape": "The versions of columns were altered.",
    "gap": "The recorded gaps were altered.",
    "whole": "The versions of columns, the numbers of tables or the recorded gaps were altered.",
}


def registry(connection: psycopg.Connection[Any], seals: list[Seal]) -> list[Finding]:
    """The tables, versions of columns and gaps that make the log readable: as each seal knew them?"""
    found: dict[str, Finding] = {}
    now: dict[str, str] = {}
    with connection.transaction():
        canonical.settle(connection)
        names, states = canonical.table_names(connection), sealed_states.states(connection)
        for seal in seals:
            facts = json.loads(seal.header)
            canonical.set_encoding(connection, facts)
            kept, through = facts["registry"], facts.get("registry_through")
            if isinstance(kept, str):  # one hash over all of it, as older seals have it
                whole = seal is seals[-1] and through
                if whole and canonical.whole_registry_digest(connection, through) != kept:
                    found.setdefault("whole", Finding("altered", seal.number, REGISTRY["whole"]))
                continue
            for name, sealed in kept.items():
                absent = through["gap_absent"] if name == "gap" else []
                place = json.dumps([name, through[name], absent, facts.get("encoding")])
                if place not in now:
                    now[place] = canonical.registry_digest(connection, name, through)
                if now[place] != sealed:
                    found.setdefault(name, Finding("altered", seal.number, REGISTRY[name]))
    said = list(found.values())
    for seal in seals[-1:]:
        said += [
            Finding(kind, seal.number, text)
            for _, kind, text in sealed_states.differences(connection, seal, states, names)
        ]
    return said


def was_put_back(seal: Seal, place: Place, again: Container[int]) -> bool:
    """Was the server put back to before this seal? Another cluster or database, a new timeline, a counter of
    transactions that is behind what was sealed, or a later seal over the same transactions says so."""
    return (
        place.system_identifier != seal.system_identifier
        or place.timeline > seal.timeline
        or place.is_another_database(seal)
        or place.under_way < seal.high
        or bool(again)
    )


def compare(
    seal: Seal, known: list[Packed], there: dict[int, Entry], place: Place, again: Container[int] = ()
) -> list[Finding]:
    """What differs, statement by statement, in order."""
    found: list[Finding] = []
    missing = [packed.id for packed in known if packed.id not in there]
    is_lost = (
        was_put_back(seal, place, again)
        and bool(missing)
        and len(missing) == len(known) - known_before(known, missing)
    )
    for packed in known:
        if len(found) >= MOST:
            break
        entry = there.get(packed.id)
        if entry is None:
            what = "another one" if packed.id in again else "gone"
            words = (
                f"is {what} since the server was put back to an earlier moment" if is_lost else "was removed"
            )
            kind = "lost" if is_lost else "removed"
            found.append(Finding(kind, seal.number, f"Statement {packed.id} {words}.", packed.id))
        elif entry.times > 1:
            text = f"Statement {packed.id} stands {entry.times} times in the log."
            found.append(Finding("inserted", seal.number, text, packed.id))
        elif entry.leaf() != packed.leaf:
            found += differences(seal, packed, entry)
    sealed = {packed.id for packed in known}
    for number in sorted(set(there) - sealed)[:MOST]:
        found.append(Finding("inserted", seal.number, f"Statement {number} was inserted later.", number))
    return found


END_GONE = (
    "All that was sealed from statement {} on is missing ({} statements), and the sequence dbadmin_audit.statement_id"
    " stands at {}: most likely the server was put back to a copy of an earlier moment (its files, or a snapshot)."
    " Then these changes are not in the watched tables either. If they are, somebody removed the end of the log."
)


def known_before(known: list[Packed], missing: list[int]) -> int:
    """How many statements stand before the first missing one: a restore takes the end, nothing from the middle."""
    first = min(missing)
    return sum(1 for packed in known if packed.id < first)


def differences(seal: Seal, packed: Packed, entry: Entry) -> list[Finding]:
    """Where one statement differs: in itself, or in which of its rows."""
    found: list[Finding] = []
    if entry.own != packed.own:
        text = f"Statement {packed.id} was altered: who, when, what or how many."
        found.append(Finding("altered", seal.number, text, packed.id))
    rows = {(n, side): digest[: canonical.SHORT] for n, side, digest in entry.rows}
    sealed = packed.rows()
    for key in sorted(sealed.keys() | rows.keys()):
        (n, side), before, now = key, sealed.get(key), rows.get(key)
        if before == now:
            continue
        where = f"Row {n} ({SIDES.get(side, '?')}) of statement {packed.id}"
        kind = "removed" if now is None else "inserted" if before is None else "altered"
        words = "was inserted later" if kind == "inserted" else f"was {kind}"
        found.append(Finding(kind, seal.number, f"{where} {words}.", packed.id, n))
    if not found:  # the same row twice, or a digest that differs only beyond its short form
        found.append(
            Finding("altered", seal.number, f"The rows of statement {packed.id} were altered.", packed.id)
        )
    return found[:MOST]


def verify(
    connection: psycopg.Connection[Any], seals: list[Seal], progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """The chain, then each batch; oldest first."""
    found = chain(seals)
    expired, again = expired_through(seals), sealed_again(seals)
    last = seals[-1].number if seals else 0
    found += readable("What makes the log readable", last, lambda: registry(connection, seals))
    for done, seal in enumerate(seals, start=1):
        if len(found) < MOST:
            look = partial(verify_seal, connection, seal, expired, again.get(seal.number))
            found += readable(f"Seal {seal.number}", seal.number, look)
        if progress:
            progress(done, len(seals))
    return [*end_gone(connection, seals, found, expired), *found]


END = """
select s.id from dbadmin_audit.statement s where s.id >= %s
"""
GIVEN = "select last_value from dbadmin_audit.statement_id"


def end_gone(
    connection: psycopg.Connection[Any], seals: list[Seal], found: list[Finding], expired: int
) -> list[Finding]:
    """Where all that is missing is the end of the log, and its numbers were not even given out: what that most likely
    is. A copy of the server's files or a snapshot that was put back begins no new timeline."""
    gone = [one for one in found if one.kind == "removed" and not one.row]
    if not gone or any((one.statement and one.kind in {"altered", "inserted"}) or one.row for one in found):
        return []
    first = min(gone, key=lambda one: one.statement)
    known = {packed.id for seal in seals for packed in leaves_of(seal) or () if packed.id > expired}
    missing = {number for number in known if number >= first.statement}
    given = int((connection.execute(GIVEN).fetchone() or (0,))[0])
    there = {row[0] for row in connection.execute(END, [first.statement])}
    if given >= first.statement or missing & there or missing == known:
        return []
    return [
        Finding("lost", first.seal, END_GONE.format(first.statement, len(missing), given), first.statement)
    ]
