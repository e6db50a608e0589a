"""Read a backup back: every stored byte, every layer, the whole archive, against the manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backups.archive import ArchiveError, Scanner
from backups.manifest import Contents, Manifest
from backups.pipeline import Damaged, checked, receive
from backups.stores import Store
from dbadmin import units

Tell = Callable[[int], None]


@dataclass(frozen=True)
class ReadBack:
    """How it went: whether it was opened or only its stored bytes compared, and how long it took."""

    opened: bool
    seconds: float
    stored_bytes: int

    def sentence(self) -> str:
        count = units.count(self.stored_bytes)
        if self.opened:
            return f"Every one of {count} stored bytes was read, decrypted, unpacked and compared."
        return (
            f"All {count} stored bytes have the SHA-256 of the manifest. They were not opened, "
            "because the private key is not kept here."
        )


def read_back(
    store: Store,
    manifest: Manifest,
    identities: Sequence[str],
    tick: Callable[[], None] = lambda: None,
    tell: Tell = lambda size: None,
) -> ReadBack:
    """Raises Damaged or NoKey. Without any private key at hand the stored bytes alone are compared."""
    started = time.monotonic()
    opened = bool(identities) or not manifest.recipients
    for name, piece in manifest.pieces.items():
        if not opened:
            for block in checked(store, piece.volumes):
                tell(len(block))
                tick()
        elif name == "database":
            _read_archive(store, manifest, identities, tick, tell)
        else:
            _read_plain(store, manifest, name, identities, tick)
    return ReadBack(opened, time.monotonic() - started, manifest.stored_bytes)


def keys_for(manifest: Manifest, identities: Sequence[str]) -> Sequence[str]:
    """None for what is not encrypted."""
    return identities if manifest.recipients else []


def _read_plain(
    store: Store, manifest: Manifest, name: str, identities: Sequence[str], tick: Callable[[], None]
) -> None:
    piece, size = manifest.pieces[name], 0
    for block in receive(store, piece.volumes, keys_for(manifest, identities), tick):
        size += len(block)
    if size != piece.plain_bytes:
        raise Damaged(f"The {name} unpack to {size} bytes, the manifest says {piece.plain_bytes}.")


def _read_archive(
    store: Store, manifest: Manifest, identities: Sequence[str], tick: Callable[[], None], tell: Tell
) -> None:
    scanner = Scanner()
    try:
        for block in receive(
            store, manifest.pieces["database"].volumes, keys_for(manifest, identities), tick
        ):
            scanner.feed(block)
            tell(len(block))
        must_be_same(manifest, scanner)
    except ArchiveError as reason:
        raise Damaged(str(reason)) from reason


def must_be_same(manifest: Manifest, scanner: Scanner) -> None:
    """The archive that came out holds what went in, table by table."""
    if not Contents.of(scanner).is_as(manifest.contents):
        raise Damaged("The archive that was read back does not hold what the manifest lists.")
    if scanner.size_bytes != manifest.plain_bytes:
        raise Damaged(
            f"The archive has {scanner.size_bytes} bytes, the manifest says {manifest.plain_bytes}."
        )
