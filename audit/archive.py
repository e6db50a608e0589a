"""A month of the log as signed objects in a store, and back into the log."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import psycopg

from audit import archive_lines, archive_parquet, canonical, sealing
from audit.archive_lines import File
from dbadmin.models import Server
from dbadmin.operations import Refused
from dbadmin.stores import Shelf

#: How a month can be written: the end of its key, and how that is said.
KINDS = {"jsonl.zst": "JSON lines", "parquet": "Parquet"}
MAKERS: dict[str, Any] = {"jsonl.zst": archive_lines, "parquet": archive_parquet}
REGISTRY = """
select json_build_object('shapes', (select json_agg(s order by s.id) from dbadmin_audit.shape s),
    'tables', (select json_agg(w order by w.id) from dbadmin_audit.watched w))::text
"""


@dataclass(frozen=True)
class Archive:
    """Where a month lies, and by which digest each of its objects is known."""

    key: str
    files: list[File]

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return self.key.partition(".")[2]

    @property
    def sha256(self) -> str:
        """Of its only object; of several: the digest of their digests."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return sha256("".join(f"{file.sha256} {file.key}\n" for file in self.files).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Of all objects."""
        return sum(file.size_bytes for file in self.files)

    @property
    def lines(self) -> int:
        """Of all objects."""
        return sum(file.lines for file in self.files)

    def said(self) -> dict[str, Any]:
        """For the signed record."""
        facts = {"key": self.key, "sha256": self.sha256, "size_bytes": self.size_bytes, "lines": self.lines}
        is_table = any(file.table for file in self.files)
        return facts | ({"files": [asdict(file) for file in self.files]} if is_table else {})

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Archive:
        """From the signed record."""
        files = facts.get("files") or [
            {name: facts[name] for name in ("key", "sha256", "size_bytes", "lines")}
        ]
        return cls(facts["key"], [File(**file) for file in files])


def first_day(month: str) -> dt.date:
    """2025-01 -> the first of January."""
    return dt.date.fromisoformat(f"{month}-01")


def folder(server: Server, database: str) -> str:
    """Below this all archived months of a database lie."""
    return f"audit-log/{server.key}/{database}/"


def write(
    connection: psycopg.Connection[Any], shelf: Shelf, server: Server, month: str, leaves: list[str],
    kind: str, tell: Callable[[int], None],
) -> Archive:  # fmt: skip
    """Put a month into the store, read it back, and then its signed description: only with that it exists."""
    database, maker = connection.info.dbname, MAKERS[kind]
    key = f"{folder(server, database)}{month}.{kind}"
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        canonical.settle(connection)
        registry = json.loads((connection.execute(REGISTRY).fetchone() or ("{}",))[0])
        made = Archive(key, maker.write(connection, shelf, key, month, registry, leaves, tell))
    for file in made.files:
        if maker.read_digest(shelf, file.key) != file.sha256:
            text = f"The store gives back other bytes of {file.key} than were sent. Nothing was dropped."
            raise Refused(text)
    shelf.put(f"{key}.json", description(server, database, month, made))
    return made


def description(server: Server, database: str, month: str, made: Archive) -> bytes:
    """What the objects are, signed."""
    about = {"form": MAKERS[made.kind].FORM, "server": str(server.key), "database": database, "month": month}
    key, text = sealing.signing_key(), json.dumps(about | made.said(), sort_keys=True)
    signed = {"text": text, "signature": sealing.sign(key, text), "key": key.key_id, "public": key.public}
    return json.dumps(signed).encode()


def described(shelf: Shelf, server: Server, database: str, month: str) -> Archive:
    """The description of an archived month, if it is ours."""
    known = keys(shelf, server, database)
    if month not in known:
        held = ", ".join(sorted(known)) or "none"
        raise Refused(f"The store holds no archive of {month}. It holds: {held}.", field="month")
    signed = json.loads(shelf.get(known[month]))
    facts = json.loads(signed["text"])
    public = sealing.public_key(signed["key"])
    if public is None or not sealing.is_signed(public, signed["text"], signed["signature"]):
        raise Refused(f"The description of {month} in the store was altered: its signature does not fit.")
    if f"{facts['key']}.json" != known[month]:
        raise Refused(f"The description of {month} in the store is that of {facts['key']}.")
    return Archive.of(facts)


def keys(shelf: Shelf, server: Server, database: str) -> dict[str, str]:
    """Archived months -> their descriptions."""
    start, ends = folder(server, database), tuple(f".{kind}.json" for kind in KINDS)
    found = [item.key for item in shelf.items(start) if item.key.endswith(ends)]
    return {key.removeprefix(start).partition(".")[0]: key for key in found}


def load(
    connection: psycopg.Connection[Any], shelf: Shelf, found: Archive, month: str, tell: Callable[[int], None]
) -> int:
    """Put an archived month back into its partitions, in the caller's transaction; returns the number of rows."""
    canonical.settle(connection)
    count: int = MAKERS[found.kind].load(connection, shelf, found.files, month, tell)
    return count
