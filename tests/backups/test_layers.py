"""Each layer of a stored stream finds by itself what the layer outside it lets through."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from backports import zstd

from backups.pipeline import Damaged, Volume, compressor, fetch_bytes, send
from backups.producer import Producer, ProducerFailed
from backups.stores.local import LocalStore

KEY = "shop/database.dump.zst"
#: More than one block of either layer.
PLAIN = b"".join(hashlib.sha512(str(number).encode()).digest() for number in range(10_000))
IDENTITY = pyrage.x25519.Identity.generate()


def stored(folder: Path, content: bytes) -> list[Volume]:
    """An object whose manifest fits it, whatever it holds."""
    LocalStore(folder).put(KEY, content)
    return [Volume(KEY, len(content), hashlib.sha256(content).hexdigest())]


def packed(plain: bytes = PLAIN) -> bytes:
    """As it is written where nobody has a key."""
    frame = compressor()
    return frame.compress(plain) + frame.flush()


def sealed(content: bytes) -> bytes:
    return pyrage.encrypt(content, [IDENTITY.to_public()])


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("identities", [[], [str(IDENTITY)]], ids=["plain", "encrypted"])
def test_another_whole_stream_in_its_place_is_found_by_its_hash(
    tmp_path: Path, identities: list[str]
) -> None:
    recipients = [str(IDENTITY.to_public())] if identities else []
    (written,) = send([PLAIN], LocalStore(tmp_path), KEY, recipients).volumes
    assert fetch_bytes(LocalStore(tmp_path), [written], identities) == PLAIN
    (other,) = send([PLAIN[::-1]], LocalStore(tmp_path), KEY, recipients).volumes
    assert fetch_bytes(LocalStore(tmp_path), [other], identities) == PLAIN[::-1]
    with pytest.raises(Damaged) as found:
        fetch_bytes(LocalStore(tmp_path), [replace(other, sha256=written.sha256)], identities)
    assert str(found.value) == f"{KEY} is not what was written: its SHA-256 differs from the manifest's."


@pytest.mark.parametrize(
    ("content", "identities", "says"),
    [
        (packed()[:-1], [], "The compressed stream is not complete."),
        (packed()[: len(packed()) // 2], [], "The compressed stream is not complete."),
        (b"", [], "The compressed stream is not complete."),
        (packed() + b"x", [], "The compressed stream is not complete."),
        (packed() + packed(b"more"), [], "The compressed stream is not complete."),
        (flipped(packed(), len(packed()) - 1), [], "The compressed stream is damaged: "),
        (zstd.compress(PLAIN)[:1000], [], "The compressed stream is not complete."),
        (
            sealed(packed())[: (64 << 10) * 3],
            [str(IDENTITY)],
            f"{KEY} is not what was written: it cannot be decrypted",
        ),
        (sealed(packed()) + b"x", [str(IDENTITY)], f"{KEY} is not what was written: it cannot be decrypted"),
        (sealed(packed()[:-1]), [str(IDENTITY)], "The compressed stream is not complete."),
    ],
)
def test_what_was_cut_added_or_changed_inside_is_found_by_the_layer_it_belongs_to(
    tmp_path: Path, content: bytes, identities: list[str], says: str
) -> None:
    volumes = stored(tmp_path, content)
    with pytest.raises(Damaged) as found:
        fetch_bytes(LocalStore(tmp_path), volumes, identities)
    assert str(found.value).startswith(says)


def run(script: str, **limits: float) -> Producer:
    """A process of ours that feeds a backup."""
    return Producer(["/bin/sh", "-c", script], {}, **limits)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("head -c 3000000 /dev/zero; exit 3", "sh failed: exit status 3"),
        ("head -c 3000000 /dev/zero; echo 'pg_dump: error: it broke' >&2; exit 1", "sh failed: it broke."),
        ("head -c 3000000 /dev/zero; kill -9 $$", "sh was killed by signal 9."),
    ],
)
def test_nothing_is_stored_of_a_process_that_did_not_end_well(tmp_path: Path, script: str, says: str) -> None:
    with pytest.raises(ProducerFailed) as failed:
        send(run(script), LocalStore(tmp_path), KEY)
    assert str(failed.value) == says
    assert list(LocalStore(tmp_path).items()) == []


def test_a_process_may_take_any_time_as_long_as_it_sends_something() -> None:
    slow = "for _ in 1 2 3 4; do sleep 0.6; printf x; done"
    assert b"".join(run(slow, stall_seconds=1.5)) == b"xxxx"
    stuck = run("printf x; exec sleep 60", stall_seconds=1)
    try:
        with pytest.raises(ProducerFailed) as failed:
            list(stuck)
    finally:
        stuck.stop()
    assert str(failed.value) == "sh has sent nothing for 1 seconds."


MEMORY = """
import os, sys
from pathlib import Path
from backups.pipeline import receive, send
from backups.stores.local import LocalStore
import pyrage
identity, store = pyrage.x25519.Identity.generate(), LocalStore(Path(sys.argv[1]))
noise = os.urandom(256 << 10)
blocks = (noise for _ in range(4 * int(sys.argv[2])))
volumes = send(blocks, store, "a/b", [str(identity.to_public())]).volumes
for block in receive(store, volumes, [str(identity)]):
    pass
# Not ru_maxrss: a process begins with that of the one that started it.
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) >> 10)
"""


def test_memory_does_not_grow_with_what_is_sent_and_read_back(tmp_path: Path) -> None:
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", MEMORY, str(tmp_path), str(mebibytes)]))
        for mebibytes in (50, 250)
    ]
    assert peaks[1] < peaks[0] + 30
    assert peaks[1] < 200
