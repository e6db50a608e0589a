"""A stream costs what its bytes cost, in whatever pieces it comes."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pyrage

from backups.pipeline import receive, send
from backups.stores.local import LocalStore

#: Random bytes stay as long as they are when they are compressed.
MANY = 32 << 20
#: About 0.2 are needed; thirty were, when what is left of a block was copied for each piece of 8 KiB.
SECONDS = 2.0


class InOneBlock(LocalStore):
    """Gives an object in one piece, as a fast network may give very large ones."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        yield b"".join(super().read(key, start, length))


def test_a_large_block_is_not_copied_for_each_piece_that_is_decrypted(tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    content = os.urandom(MANY)
    store = InOneBlock(tmp_path)
    stored = send([content], store, "large", [str(identity.to_public())])
    started = time.process_time()
    plain = b"".join(receive(store, stored.volumes, [str(identity)]))
    assert time.process_time() - started < SECONDS
    assert plain == content
