"""Copies of seals in a store: where its objects are locked, nobody can take back what was sealed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from audit.models import Seal
from dbadmin.failures import Told
from dbadmin.models import Server
from dbadmin.stores import Shelf


def folder(server: Server, database: str) -> str:
    """Below this all copies of a database's seals lie."""
    return f"audit-seals/{server.key}/{database}/"


def key_of(seal: Seal, server: Server) -> str:
    """The name of a copy."""
    return f"{folder(server, seal.database)}{seal.number:08}.json"


def line_of(seal: Seal) -> str:
    """A seal as one line: all that a second party needs, and nothing of what is in the log."""
    facts = {
        "header": seal.header,
        "signature": seal.signature,
        "public": seal.key.public,
        "leaves": base64.b64encode(bytes(seal.leaves)).decode(),
    }
    return json.dumps(facts) + "\n"


def copy_seals(shelf: Shelf, server: Server, database: str, name: str) -> int:
    """Copy the seals that are not in this store yet; a copy that is there already is left as it is."""
    waiting = Seal.objects.filter(server=server, database=database).exclude(store=name)
    count = 0
    for seal in waiting.select_related("key").order_by("number").iterator(20):
        if shelf.head(key_of(seal, server)) is None:
            shelf.put(key_of(seal, server), line_of(seal).encode())
        Seal.objects.filter(pk=seal.pk).update(store=name)
        count += 1
    return count


def differences(shelf: Shelf, name: str, server: Server, seals: list[Seal]) -> Iterator[tuple[str, int, str]]:
    """Where dbadmin's own seals differ from their copies: (kind, seal, sentence)."""
    if not seals:
        return
    database = seals[0].database
    for seal in seals:
        if seal.store != name:
            continue
        try:
            copied = shelf.get(key_of(seal, server)).decode()
        except Told as reason:
            yield (
                "chain",
                seal.number,
                f"Seal {seal.number} cannot be compared with its copy in {name}: {reason}",
            )
            continue
        if copied != line_of(seal):
            yield "signature", seal.number, f"Seal {seal.number} is not the one that was copied to {name}."
    last = seals[-1].number
    for item in shelf.items(folder(server, database)):
        number = int(item.key.rpartition("/")[2].partition(".")[0])
        if (
            number > last
            and not Seal.objects.filter(server=server, database=database, number=number).exists()
        ):
            yield "chain", number, f"Seal {number} is in {name}, and was removed from dbadmin."
