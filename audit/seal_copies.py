"""Copies of seals in a store: where its objects are locked, nobody can take back what was sealed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from audit.models import Expiry, Seal
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


def stamp_key(seal: Seal, server: Server) -> str:
    """The name of the copy of its time stamp: it may come later, and a locked copy of the seal cannot be changed."""
    return key_of(seal, server).removesuffix(".json") + ".tsr"


def witness_of(seal: Seal, expiries: Iterable[Expiry] = ()) -> str:
    """The same with the time stamp, and with the signed records of months that expired."""
    more: dict[str, Any] = {}
    if seal.stamp:
        more["stamp"] = base64.b64encode(bytes(seal.stamp)).decode()
    told = [{"text": one.text, "signature": one.signature, "public": one.key.public} for one in expiries]
    if told:
        more["expiries"] = told
    return json.dumps(json.loads(line_of(seal)) | more) + "\n"


def copy_seals(shelf: Shelf, server: Server, database: str, name: str) -> int:
    """Copy the seals that are not in this store yet; a copy that is there already is left as it is."""
    waiting = Seal.objects.filter(server=server, database=database).exclude(store=name)
    count = 0
    for seal in waiting.select_related("key").order_by("number").iterator(20):
        if shelf.head(key_of(seal, server)) is None:
            shelf.put(key_of(seal, server), line_of(seal).encode())
        Seal.objects.filter(pk=seal.pk).update(store=name)
        count += 1
    stamped = Seal.objects.filter(server=server, database=database, stamp__isnull=False)
    for seal in stamped.exclude(stamp_store=name).iterator(20):
        if shelf.head(stamp_key(seal, server)) is None:
            shelf.put(stamp_key(seal, server), bytes(seal.stamp or b""))
        Seal.objects.filter(pk=seal.pk).update(stamp_store=name)
    return count


def copied_stamp(shelf: Shelf, seal: Seal, server: Server) -> bytes | None:
    """The copy of a time stamp; None: it is gone."""
    key = stamp_key(seal, server)
    return shelf.get(key) if shelf.head(key) is not None else None


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
        if seal.stamp_store == name and copied_stamp(shelf, seal, server) != bytes(seal.stamp or b""):
            text = f"The time stamp of seal {seal.number} is not the one that was copied to {name}."
            yield "stamp", seal.number, text
    last = seals[-1].number
    for item in shelf.items(folder(server, database)):
        number = int(item.key.rpartition("/")[2].partition(".")[0])
        if (
            number > last
            and not Seal.objects.filter(server=server, database=database, number=number).exists()
        ):
            yield "chain", number, f"Seal {number} is in {name}, and was removed from dbadmin."
