"""Prove the large tables of a database while the rest of it is still being restored: their last indexes take long."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from backups import logical
from backups.archive import ArchiveError, Entry, Scanner
from backups.logical import Selection, Source
from backups.manifest import Contents, Definition, Table
from backups.producer import Popen, Producer, ProducerFailed
from backups.row_places import TableName

#: Smaller ones are read faster than a program is started for them.
LARGE = 64 << 20
_FINISHED = re.compile(r"^pg_restore: finished item (\d+) ")
_ROWS = "TABLE DATA"


class Ahead:
    """One large table after the other, each in a dump of its own, as soon as nothing wants it for itself alone.

    Building an index and reading go together; loading rows and adding keys do not.
    """

    def __init__(
        self, source: Source, entries: Sequence[Entry], tables: Sequence[Table], popen: Popen
    ) -> None:
        self._source, self._popen = source, popen
        large = [each for each in tables if each.kind == _ROWS and each.size_bytes >= LARGE]
        wanted = [
            TableName(each.schema, each.name) for each in sorted(large, key=lambda each: -each.size_bytes)
        ]
        self._awaited = {table: set(_before(table, entries)) for table in wanted}
        self._under_way: _Reading | None = None
        self._read: dict[TableName, Contents] = {}
        self.troubles: list[str] = []

    def hear(self, line: str) -> None:
        """What pg_restore says, an empty line for nothing; from the main thread, which alone may start programs."""
        if finished := _FINISHED.match(line):
            for awaited in self._awaited.values():
                awaited.discard(int(finished[1]))
        self._take_over()
        ready = next((table for table, awaited in self._awaited.items() if not awaited), None)
        if ready and self._under_way is None:
            del self._awaited[ready]
            alone = Selection(tables=[(ready.schema, ready.name)])
            self._under_way = _Reading(ready, replace(self._source, selection=alone), self._popen)

    def _take_over(self) -> None:
        found = self._under_way
        if found is None or found.is_alive():
            return
        self._under_way = None
        if found.contents is None:
            self.troubles.append(f"{found.table} is read later: {found.trouble}")
        else:
            self._read[found.table] = found.contents

    def wait(self, tick: Callable[[], None]) -> None:
        """For the one that is being read; what has not begun is left to the dump that follows."""
        while self._under_way is not None:
            self._under_way.join(0.2)
            tick()
            self._take_over()

    def stop(self) -> None:
        """End the program that still runs."""
        if self._under_way is not None:
            self._under_way.producer.stop()
            self._under_way.join(5)
            self._under_way = None

    @property
    def tables(self) -> list[TableName]:
        """Those that are proven already."""
        return list(self._read)

    @property
    def size_bytes(self) -> int:
        """Of their rows."""
        return sum(table.size_bytes for contents in self._read.values() for table in contents.tables)

    def add_to(self, rest: Contents) -> Contents:
        """What was read ahead and what was read later, as one."""
        parts = [rest, *self._read.values()]
        return Contents(
            [table for part in parts for table in part.tables],
            [definition for part in parts for definition in part.definitions],
        )


class _Reading(threading.Thread):
    """One table, dumped and looked at as it passes by; `contents` are its rows and their entry."""

    def __init__(self, table: TableName, source: Source, popen: Popen) -> None:
        super().__init__(name="read ahead", daemon=True)
        self.table = table
        self.producer = Producer(logical.dump_command(source), source.environment(), popen)
        self.contents: Contents | None = None
        self.trouble = ""
        self.start()

    def run(self) -> None:
        scanner = Scanner()
        try:
            for block in self.producer:
                scanner.feed(block)
            found = Contents.of(scanner)
        except (ProducerFailed, ArchiveError, OSError, ValueError) as reason:
            self.trouble = str(reason)
            return
        self.contents = Contents(
            [each for each in found.tables if self._is(each)],
            [each for each in found.definitions if self._is(each)],
        )

    def _is(self, each: Table | Definition) -> bool:
        return (each.kind, each.schema, each.name) == (_ROWS, self.table.schema, self.table.name)


def _before(table: TableName, entries: Sequence[Entry]) -> Iterator[int]:
    """The numbers of what wants the table for itself: its rows, and its keys."""
    own = {entry.dump_id for entry in entries if entry.kind == "TABLE" and _same(entry, table)}
    for entry in entries:
        if (entry.kind == _ROWS and _same(entry, table)) or (
            entry.kind == "CONSTRAINT" and own & set(entry.depends)
        ):
            yield entry.dump_id


def _same(entry: Entry, table: TableName) -> bool:
    return (entry.schema, entry.name) == (table.schema, table.name)
