"""Read a pg_dump archive as it passes by: its table of contents, and for every table its rows and a digest.

The archive is the uncompressed custom format. Nothing is kept but the table of contents, so the memory does
not grow with the data. The digest of a table is the SHA-256 of its COPY text as the dump's snapshot saw it:
the same digest after a restore means that every row, value and their order are the same.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass, field
from typing import IO

from dbadmin.failures import Told

MAGIC = b"PGDMP"
DATA, BLOBS = 1, 3
PLACE_KNOWN = b"\x02"
CHUNKED_FROM = 19  # pg_dump 19 and later put several rows into a chunk
_LONGEST_TOC = 1 << 30


class ArchiveError(Told):
    """The stream is no complete archive; a sentence that says where it stopped."""


class _More(Exception):
    """The buffer ends before the value does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table of contents. The digest is the same for the same object in another database."""

    dump_id: int
    has_data: bool
    kind: str
    schema: str
    name: str
    owner: str
    digest: str
    section: int = 0
    depends: tuple[int, ...] = ()
    #: Where the table of contents has room for the place of its data.
    place_at: int = 0
    #: It alters what comes with another entry, and names that nowhere: a trigger that a partition has of its parent.
    alters: bool = False


def digest_of(*definition: str) -> str:
    """Of what an object is, whatever its numbers are."""
    return hashlib.sha256("\0".join(definition).encode()).hexdigest()[:32]


@dataclass(slots=True)
class Content:
    """What the data of one entry turned out to be."""

    kind: str
    schema: str
    name: str
    rows: int = 0
    size_bytes: int = 0
    sha256: str = ""
    #: Of large objects: the same in whatever order and portions they come, which versions of pg_dump choose otherwise.
    sum256: str = ""


def sum_text(number: int) -> str:
    """A sum of digests, as long as one of them."""
    return f"{number % (1 << 256):064x}"


@dataclass
class Header:
    """Who wrote the archive, of which server and database."""

    version: tuple[int, int, int]
    int_size: int
    offset_size: int
    database: str
    server_version: str
    tool_version: str
    entries: list[Entry] = field(default_factory=list)

    @property
    def tool_major(self) -> int:
        found = re.match(r"\d+", self.tool_version)
        return int(found[0]) if found else 0

    @property
    def rows_are_chunks(self) -> bool:
        return self.int_size == 4 and self.tool_major < CHUNKED_FROM


class _Reader:
    """Takes values from a buffer; raises _More when it ends inside one."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.int_size = data, 0, 4

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise _More
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        raw = self.take(1 + self.int_size)
        value = int.from_bytes(raw[1:], "little")
        return -value if raw[0] else value

    def string(self) -> str | None:
        length = self.number()
        return None if length < 0 else self.take(length).decode("utf-8", "surrogateescape")

    def text(self) -> str:
        return self.string() or ""


def _read_header(reader: _Reader) -> Header:
    if reader.take(5) != MAGIC:
        raise ArchiveError("This is no archive of pg_dump.")
    version = (reader.byte(), reader.byte(), reader.byte())
    if not (1, 12, 0) <= version < (2, 0, 0):
        raise ArchiveError("The archive has format {}.{}.{}, which is not known here.".format(*version))
    reader.int_size, offset_size = reader.byte(), reader.byte()
    if reader.byte() != 1:
        raise ArchiveError("The archive is not in the custom format.")
    compressed = reader.byte() if version >= (1, 15, 0) else reader.number()
    if compressed:
        raise ArchiveError("The archive is compressed by pg_dump; here it is compressed behind it.")
    for _ in range(7):
        reader.number()
    return Header(version, reader.int_size, offset_size, reader.text(), reader.text(), reader.text())


def _read_entry(reader: _Reader, header: Header) -> Entry:
    dump_id, has_data = reader.number(), bool(reader.number())
    reader.string(), reader.string()
    name, kind = reader.text(), reader.text()
    section = reader.number()
    definition, _drop, copy = reader.text(), reader.string(), reader.text()
    schema, tablespace = reader.text(), reader.text()
    access_method = reader.text() if header.version >= (1, 14, 0) else ""
    if header.version >= (1, 16, 0):
        reader.number()
    owner, _oids = reader.text(), reader.string()
    depends = []
    while (number := reader.string()) is not None:
        depends.append(int(number))
    place_at = reader.at
    reader.take(1 + header.offset_size)
    # There are few kinds, schemas and owners, and many objects of each.
    kind, schema, owner = (sys.intern(each) for each in (kind, schema, owner))
    digest = digest_of(definition, copy, tablespace, access_method)
    alters = kind == "TRIGGER" and definition.lstrip().startswith("ALTER ")
    return Entry(
        dump_id, has_data, kind, schema, name, owner, digest, section, tuple(depends), place_at, alters
    )


def read_contents(data: bytes) -> tuple[Header, int] | None:
    """The header with all entries and the length it took; None while the data is too short."""
    reader = _Reader(data)
    try:
        header = _read_header(reader)
        header.entries = [_read_entry(reader, header) for _ in range(reader.number())]
    except _More:
        return None
    return header, reader.at


# A row of COPY text ends with a line feed and contains no NUL. Each row is preceded by its length, five bytes
# (a zero sign and four bytes, low first), and a length of zero ends the table. So the first five zero bytes
# after a line feed are the end, and the line feeds are the rows, except those inside a length, found as well.
# Nearly every length is passed over at once: below 64 KiB, no multiple of 256, no line feed in it.
_END_OR_ODD = re.compile(
    rb"\n(?!\x00[^\x00\n][^\n]\x00\x00)\x00(?:\x00{4}|\n...|.\n..|..\n.|...\n)", re.DOTALL
)
_END = b"\n\x00\x00\x00\x00\x00"
# pg_dump closes the rows of a table with this chunk, which is no row.
_CLOSING = b"\\.\n\n\n"


class _NoDigest:
    """In the place of one that nobody asks for."""

    def update(self, data: bytes | memoryview) -> None:
        """Nothing to do."""

    def digest(self) -> bytes:
        return b""

    def hexdigest(self) -> str:
        return ""


class Scanner:
    """Fed with an archive in any portions, it knows the contents afterwards; `finish` refuses a part.

    digests: of rows, which take the most of its time; without them rows and bytes are counted.
    """

    def __init__(self, digests: bool = True) -> None:
        self._new_digest = hashlib.sha256 if digests else _NoDigest
        self.header: Header | None = None
        self.contents: list[Content] = []
        self.size_bytes = 0
        self._beginning = bytearray()
        self._buffer = b""
        self._wanted = 0
        self._current: Content | None = None
        self._hash = self._new_digest()
        self._tail = b""
        self._skip = 0
        self._left = 0
        self._in_blob = False
        self._blob, self._sum = self._new_digest(), 0
        self._by_id: dict[int, Entry] = {}
        self._places: list[tuple[Entry, int]] = []

    @property
    def current(self) -> str:
        """The table that is passing by."""
        return f"{self._current.schema}.{self._current.name}" if self._current else ""

    def feed(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self.header is None:
            self._beginning += data
            if self.size_bytes < self._wanted or not self._take_header():
                return
        else:
            self._buffer = self._buffer + data if self._buffer else data
        while self._buffer and self.header and self._advance(self.header):
            pass

    def finish(self) -> Header:
        """The header, when everything that the table of contents announces has passed by."""
        if self.header is None and self._take_header():
            self.feed(b"")
        if self.header is None:
            raise ArchiveError(
                f"The archive ends after {self.size_bytes} bytes, inside its table of contents."
            )
        if self._current is not None or self._buffer:
            raise ArchiveError(
                f"The archive ends after {self.size_bytes} bytes, inside {self.current or 'its data'}."
            )
        announced = sum(entry.has_data for entry in self.header.entries)
        if len(self.contents) != announced:
            raise ArchiveError(f"The archive holds the data of {len(self.contents)} of {announced} tables.")
        return self.header

    def write_places(self, archive: IO[bytes]) -> None:
        """Where all data begin, into the table of contents, as pg_dump does where it can go back in what it wrote.

        Without them each job of pg_restore walks through all rows before its table, and cannot take the largest first.
        """
        size = self.header.offset_size if self.header else 0
        for entry, place in self._places:
            archive.seek(entry.place_at)
            archive.write(PLACE_KNOWN + place.to_bytes(size, "little"))

    def _advance(self, header: Header) -> bool:
        """Work off what the buffer holds; False when more is needed first."""
        if self._current is None:
            return self._take_start(header)
        if self._current.kind == "TABLE DATA" and header.rows_are_chunks:
            return self._take_rows(self._current)
        return self._take_chunk(self._current, header.int_size)

    def _take_header(self) -> bool:
        found = read_contents(bytes(self._beginning))
        if found is None:
            # A long table of contents is read again only when it has doubled, not with every portion.
            self._wanted = len(self._beginning) * 2
            if self._wanted > _LONGEST_TOC:
                raise ArchiveError("The table of contents of the archive does not end.")
            return False
        self.header, used = found
        self._buffer, self._beginning = bytes(self._beginning[used:]), bytearray()
        self._by_id = {entry.dump_id: entry for entry in self.header.entries}
        return True

    def _take_start(self, header: Header) -> bool:
        length = 2 + header.int_size
        if len(self._buffer) < length:
            return False
        block, number = self._buffer[0], int.from_bytes(self._buffer[2:length], "little")
        entry = self._by_id.get(number)
        if block not in (DATA, BLOBS) or entry is None:
            raise ArchiveError(f"The archive is damaged after {self.size_bytes - len(self._buffer)} bytes.")
        self._places.append((entry, self.size_bytes - len(self._buffer)))
        self._current = Content(entry.kind, entry.schema, entry.name)
        self._hash, self._tail, self._sum = self._new_digest(), b"", 0
        self._left, self._in_blob = 0, block == DATA
        self._buffer = self._buffer[length:]
        if entry.kind == "TABLE DATA" and header.rows_are_chunks:
            # The line feed that would end a row before the first: so an empty table looks like any other.
            self._buffer = b"\n" + self._buffer
            self._current.rows, self._skip = -1, 1
        return True

    def _take_rows(self, content: Content) -> bool:
        """One row per chunk: searched for the end instead of walked, which is many times faster."""
        window, odd, ended = self._buffer, 0, False
        # A pattern has six bytes, so one that begins in the last five may not be whole yet.
        stop = len(window) - 5
        for match in _END_OR_ODD.finditer(window):
            at = match.start()
            if at >= stop:
                break
            if ended := match[0] == _END:
                stop = at + 1
                break
            odd += match[0].count(b"\n") - 1
            stop = max(stop, at + 6)
        if stop <= 0:
            return False
        rows = window[:stop]
        # As many as it is shorter without them: found in half the time that counting takes.
        content.rows += stop - len(rows.replace(b"\n", b"")) - odd
        content.size_bytes += stop - self._skip
        self._hash.update(memoryview(rows)[self._skip :])
        self._tail = (self._tail + window[max(0, stop - 5) : stop])[-5:]
        self._skip = 0
        self._buffer = window[stop + 5 :] if ended else window[stop:]
        if ended:
            self._close(content)
        return ended

    def _take_chunk(self, content: Content, int_size: int) -> bool:
        """Large objects, and tables of newer tools: chunk after chunk, each preceded by its length."""
        if self._left:
            part = self._buffer[: self._left]
            self._buffer = self._buffer[len(part) :]
            self._left -= len(part)
            self._hash.update(part)
            if content.kind != "TABLE DATA":
                self._blob.update(part)
            self._tail = (self._tail + part[-5:])[-5:]
            content.size_bytes += len(part)
            content.rows += part.count(b"\n") if content.kind == "TABLE DATA" else 0
            return True
        if len(self._buffer) <= int_size:
            return False
        number = int.from_bytes(self._buffer[1 : 1 + int_size], "little")
        self._buffer = self._buffer[1 + int_size :]
        if self._in_blob and number:
            self._left = number
        elif self._in_blob and content.kind == "TABLE DATA":
            self._close(content)
        elif self._in_blob:
            self._in_blob = False
            self._sum += int.from_bytes(self._blob.digest(), "big")
        elif number:
            self._begin_blob(content, number)
        else:
            self._close(content)
        return True

    def _begin_blob(self, content: Content, number: int) -> None:
        content.rows += 1
        self._in_blob = True
        self._hash.update(number.to_bytes(8, "big"))
        self._blob = self._new_digest()
        self._blob.update(number.to_bytes(8, "big"))

    def _close(self, content: Content) -> None:
        if content.kind == "TABLE DATA" and self._tail == _CLOSING:
            content.rows -= _CLOSING.count(b"\n")
        content.sha256 = self._hash.hexdigest()
        if content.kind != "TABLE DATA" and content.sha256:
            content.sum256 = sum_text(self._sum)
        self.contents.append(content)
        self._current = None
