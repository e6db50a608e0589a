"""The manifest of a base backup: written last, so that one exists exactly if it can be described."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from backups.manifest import NoManifest, Piece, made_of, must_be_readable, piece_of

FORMAT = 1
NAME = "base.json"
#: The piece that is the server's own list of files.
LIST = "backup_manifest"


@dataclass
class BaseManifest:
    """What is known about a base backup, without opening it."""

    server: str
    server_key: str
    prefix: str
    started_at: datetime
    consistent_at: datetime
    finished_at: datetime
    by: str
    run: int | None
    server_version: str
    system_id: str
    timeline: int
    start_lsn: int
    end_lsn: int
    segment_bytes: int
    compression: str
    recipients: Sequence[str]
    tablespaces: Mapping[str, str]
    files_count: int
    pieces: dict[str, Piece]
    settings: Mapping[str, str]
    superuser: str
    prior: str = ""
    why_full: str = ""
    format: int = FORMAT

    @property
    def stored_bytes(self) -> int:
        return sum(piece.stored_bytes for piece in self.pieces.values())

    @property
    def plain_bytes(self) -> int:
        return sum(piece.plain_bytes for piece in self.pieces.values())

    @property
    def major(self) -> int:
        """15 for 15.18."""
        return int(self.server_version.partition(".")[0].split()[0])

    def archives(self) -> list[tuple[str, Piece]]:
        """The archives by the oid of their tablespace; the data directory, whose oid is empty, last."""
        found = [(name.removesuffix(".tar"), piece) for name, piece in self.pieces.items() if name != LIST]
        return sorted(
            (("" if oid == "base" else oid, piece) for oid, piece in found),
            key=lambda pair: (not pair[0], pair[0]),
        )

    def dump(self) -> bytes:
        return json.dumps(asdict(self), default=str, indent=1).encode()

    @classmethod
    def load(cls, text: bytes) -> BaseManifest:
        """The manifest of a store's object; refuses what is damaged or from the future."""
        try:
            found = json.loads(text)
            must_be_readable(found, FORMAT)
            for name in ("started_at", "consistent_at", "finished_at"):
                found[name] = datetime.fromisoformat(found[name])
            found["pieces"] = {name: piece_of(piece) for name, piece in found["pieces"].items()}
            return made_of(cls, found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NoManifest(f"The manifest is damaged: {error}.") from error
