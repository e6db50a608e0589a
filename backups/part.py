"""Which entries of an archive bring back some tables: all definitions, and of the rest what concerns no other table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from backups.archive import Entry
from backups.row_places import TableName

DEFINITIONS, DATA, AFTER = 2, 3, 4
#: What tells rows apart; enough for a copy that is only looked at.
KEYS = frozenset({"CONSTRAINT", "INDEX ATTACH"})
#: Kinds of entries that are tables to others.
_TABLES = frozenset({"TABLE", "MATERIALIZED VIEW", "FOREIGN TABLE", "VIEW"})


def with_partitions(entries: Sequence[Entry], chosen: Iterable[TableName]) -> set[TableName]:
    """The chosen tables and everything that is attached below them."""
    names = {entry.dump_id: TableName(entry.schema, entry.name) for entry in entries if entry.kind == "TABLE"}
    found = set(chosen)
    below = [
        (TableName(entry.schema, entry.name), {names[number] for number in entry.depends if number in names})
        for entry in entries
        if entry.kind == "TABLE ATTACH"
    ]
    while more := {child for child, tables in below if child not in found and tables & found}:
        found |= more
    return found


def numbers(entries: Sequence[Entry], tables: Collection[TableName]) -> list[int]:
    """The entries to restore, in their order: what follows the data only as far as it tells rows apart."""
    foreign = {
        entry.dump_id
        for entry in entries
        if entry.kind in _TABLES and TableName(entry.schema, entry.name) not in tables
    }
    own = {
        entry.dump_id
        for entry in entries
        if entry.kind == "TABLE" and TableName(entry.schema, entry.name) in tables
    }
    taken: list[int] = []
    for entry in entries:
        if entry.section == DEFINITIONS:
            taken.append(entry.dump_id)
        elif entry.section == DATA:
            if (entry.kind == "TABLE DATA" and TableName(entry.schema, entry.name) in tables) or (
                entry.kind == "SEQUENCE SET"
            ):
                taken.append(entry.dump_id)
        elif (
            entry.section == AFTER
            and entry.kind in KEYS
            and own & set(entry.depends)
            and not foreign & set(entry.depends)
        ):
            taken.append(entry.dump_id)
            own.add(entry.dump_id)
    return taken
