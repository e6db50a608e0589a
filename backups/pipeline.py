"""From a process to a store and back: compressed, encrypted, hashed, in memory that does not grow.

The way there is process -> scan -> zstd -> age -> volumes. The way back is volumes -> age -> zstd. Each layer
is checked by the one outside it, and an object is published only after the process that fed it ended well.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyrage
from backports import zstd

from backups import memory
from backups.channel import Channel, ChannelClosed
from backups.stores import Item, Store, StoreError, Upload
from backups.stores.base import Opened
from dbadmin.failures import Told

LEVEL = 1
WORKERS = 2
JOB_BYTES = 2 << 20
PORTION = 1 << 20


class Damaged(Told):
    """What the store gives back is not what was written; a sentence that says where."""


class NoKey(Told):
    """None of the private keys at hand opens this backup."""


@dataclass(frozen=True)
class Volume:
    """One object of a stream; a stream has several only where one would be too large for the store."""

    key: str
    size_bytes: int
    sha256: str


@dataclass
class Stored:
    """What a stream became."""

    volumes: list[Volume] = field(default_factory=list)
    plain_bytes: int = 0
    compressed_bytes: int = 0
    seconds: float = 0

    @property
    def stored_bytes(self) -> int:
        return sum(volume.size_bytes for volume in self.volumes)


class VolumeWriter:
    """Writes a stream as one object, and as further ones when the first is as large as the store allows."""

    def __init__(self, store: Store, key: str, opened: Opened | None = None) -> None:
        self._store, self._key, self._opened = store, key, opened
        self.volumes: list[Volume] = []
        self._upload: Upload | None = None
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        left = data
        while left:
            upload = self._upload or self._begin()
            room = self._store.largest_object_bytes - upload.size_bytes
            part = left[:room]
            upload.write(part)
            self._hash.update(part)
            left = left[len(part) :]
            if len(part) == room:
                self._finish(upload)
        return len(data)

    def flush(self) -> None:
        """Nothing to do; the encryption library expects it."""

    def _begin(self) -> Upload:
        number = len(self.volumes) + 1
        key = self._key if number == 1 else f"{self._key}.{number:03d}"
        self._upload, self._hash = self._store.upload(key, self._opened), hashlib.sha256()
        return self._upload

    def _finish(self, upload: Upload) -> None:
        item: Item = upload.complete()
        self._upload = None
        self.volumes.append(Volume(item.key, item.size_bytes, self._hash.hexdigest()))

    def complete(self) -> list[Volume]:
        if self._upload is not None:
            self._finish(self._upload)
        return self.volumes

    def give_up(self) -> None:
        """From another thread: a write that waits for the store ends."""
        if self._upload is not None:
            self._upload.give_up()

    def abort(self) -> None:
        """Remove the unfinished volume and those before it: a part of a stream is worth nothing."""
        if self._upload is not None:
            self._upload.abort()
            self._upload = None
        for volume in self.volumes:
            self._store.delete(volume.key)
        self.volumes = []


class _Encryptor(threading.Thread):
    """Takes compressed blocks from a channel and writes encrypted ones, beside the thread that compresses."""

    def __init__(self, channel: Channel, out: VolumeWriter, recipients: Sequence[str]) -> None:
        super().__init__(name="encrypt", daemon=True)
        self._channel, self._out = channel, out
        self._recipients = [pyrage.x25519.Recipient.from_str(each) for each in recipients]
        self._source = _Source(channel.next)
        self._sink = _Sink(out)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            if self._recipients:
                pyrage.encrypt_io(self._source, self._sink, self._recipients)
            else:
                while block := self._channel.next():
                    self._out.write(block)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            self.failure = self._sink.failure or self._source.failure or error
            self._channel.break_off()


class _Source:
    """Blocks as a file; remembers the error that foreign code would turn into its own words."""

    def __init__(self, following: Callable[[], bytes | None]) -> None:
        self._following = following
        # A view, because foreign code asks for small pieces: what is left of a large block is not copied for each.
        self._rest = memoryview(b"")
        self.failure: BaseException | None = None

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes, of one block; none at the end."""
        try:
            while not self._rest:
                block = self._following()
                if block is None:
                    return b""
                self._rest = memoryview(block)
        except BaseException as error:
            self.failure = error
            raise
        taken = self._rest if count < 0 else self._rest[:count]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)


class _Sink:
    """The same for writing."""

    def __init__(self, out: VolumeWriter | Channel) -> None:
        self._out = out
        self.failure: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._out.write(data)
        except BaseException as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self._out.flush()


def compressor(level: int = LEVEL, workers: int = WORKERS) -> zstd.ZstdCompressor:
    """One frame with a checksum. Small jobs keep the memory of the threads low."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: 1,
        zstd.CompressionParameter.nb_workers: workers,
    }
    if workers:
        options[zstd.CompressionParameter.job_size] = JOB_BYTES
    return zstd.ZstdCompressor(options=options)


def send(
    source: Iterable[bytes],
    store: Store,
    key: str,
    recipients: Sequence[str] = (),
    *,
    level: int = LEVEL,
    workers: int = WORKERS,
    inspect: Callable[[bytes], None] = lambda block: None,
    tick: Callable[[], None] = lambda: None,
    opened: Opened | None = None,
) -> Stored:
    """Everything the source gives, as an object of the store; if the source raises, there is no object."""
    started = time.monotonic()
    memory.give_back()
    out, channel, packed = VolumeWriter(store, key, opened), Channel(tick), compressor(level, workers)
    encryptor = _Encryptor(channel, out, recipients)
    stored = Stored()
    encryptor.start()
    try:
        for block in source:
            stored.plain_bytes += len(block)
            inspect(block)
            stored.compressed_bytes += _pass_on(channel, packed.compress(block))
        stored.compressed_bytes += _pass_on(channel, packed.flush())
        channel.end()
        while encryptor.is_alive():
            encryptor.join(0.2)
            tick()
        if encryptor.failure:
            raise encryptor.failure
        stored.volumes = out.complete()
    except BaseException as error:
        channel.break_off()
        out.give_up()
        encryptor.join(5)
        # A store that does not answer now is asked again by the clean-up of the run, which knows what it may hold.
        with suppress(StoreError):
            out.abort()
        if isinstance(error, ChannelClosed) and encryptor.failure:
            raise encryptor.failure from None
        raise
    stored.seconds = time.monotonic() - started
    return stored


def _pass_on(channel: Channel, data: bytes) -> int:
    if data:
        channel.write(data)
    return len(data)


class _Fetcher(threading.Thread):
    """Reads the volumes, checks each against its hash, decrypts, and puts the result into a channel."""

    def __init__(
        self, store: Store, volumes: Sequence[Volume], identities: Sequence[str], channel: Channel
    ) -> None:
        super().__init__(name="fetch", daemon=True)
        self._identities = [pyrage.x25519.Identity.from_str(each) for each in identities]
        self._channel = channel
        self._at = ""
        blocks = self._volumes(store, volumes)
        self._source = _Source(lambda: next(blocks, None))
        self.failure: BaseException | None = None

    def _volumes(self, store: Store, volumes: Sequence[Volume]) -> Iterator[bytes]:
        for volume in volumes:
            self._at = volume.key
            yield from checked(store, [volume])

    def run(self) -> None:
        sink = _Sink(self._channel)
        try:
            if self._identities:
                pyrage.decrypt_io(self._source, sink, self._identities)
            # What follows the last encrypted block is read as well, so that every hash is compared.
            while block := self._source.read(1 << 20):
                if self._identities:
                    raise Damaged(f"Something follows the end of the encrypted stream in {self._at}.")
                sink.write(block)
            self._channel.end()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            self.failure = self._source.failure or sink.failure or _named(error, self._at)
            self._channel.break_off()


def _named(error: BaseException, key: str) -> BaseException:
    if isinstance(error, pyrage.DecryptError) and "No matching keys" in str(error):
        return NoKey(
            "None of the private keys at hand opens this backup. Bring the key that it was made for."
        )
    if isinstance(error, pyrage.DecryptError | OSError):
        return Damaged(f"{key} is not what was written: it cannot be decrypted ({str(error).rstrip('.')}).")
    return error


def checked(
    store: Store, volumes: Sequence[Volume], tell: Callable[[int], None] = lambda size: None
) -> Iterator[bytes]:
    """The stored bytes of all volumes, each compared with the hash that was taken when it was written."""
    for volume in volumes:
        digest, size = hashlib.sha256(), 0
        for block in store.read(volume.key):
            digest.update(block)
            size += len(block)
            tell(len(block))
            yield block
        if size != volume.size_bytes:
            raise Damaged(f"{volume.key} has {size} bytes, the manifest says {volume.size_bytes}.")
        if digest.hexdigest() != volume.sha256:
            raise Damaged(f"{volume.key} is not what was written: its SHA-256 differs from the manifest's.")


def receive(
    store: Store,
    volumes: Sequence[Volume],
    identities: Sequence[str],
    tick: Callable[[], None] = lambda: None,
) -> Iterator[bytes]:
    """The plain bytes of a stream; nothing of it may be believed before the iteration has ended."""
    memory.give_back()
    channel = Channel(tick)
    fetcher = _Fetcher(store, volumes, identities, channel)
    opener = zstd.ZstdDecompressor()
    fetcher.start()
    try:
        while (block := channel.next()) is not None:
            if opener.eof:
                raise Damaged("Something follows the end of the compressed stream.")
            yield from _unpacked(opener, block)
        fetcher.join()
        if not opener.eof or opener.unused_data:
            raise Damaged("The compressed stream is not complete.")
    except zstd.ZstdError as error:
        raise Damaged(f"The compressed stream is damaged: {str(error).rstrip('.')}.") from error
    except ChannelClosed:
        fetcher.join(10)
        raise fetcher.failure or StoreError("Reading was broken off.") from None
    finally:
        channel.break_off()


def _unpacked(opener: zstd.ZstdDecompressor, block: bytes) -> Iterator[bytes]:
    """In portions, because a small block may hold a very long run of the same."""
    plain = opener.decompress(block, PORTION)
    while plain:
        yield plain
        plain = b"" if opener.needs_input or opener.eof else opener.decompress(b"", PORTION)


def fetch_bytes(store: Store, volumes: Sequence[Volume], identities: Sequence[str]) -> bytes:
    """A short stream as a whole, believed."""
    return b"".join(receive(store, volumes, identities))
