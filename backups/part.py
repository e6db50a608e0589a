"""Which entries of an archive bring back everything, in which turns; and which of them some tables alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from backups.archive import Entry
from backups.row_places import TableName

DEFINITIONS, DATA, AFTER = 2, 3, 4
#: What tells rows apart; enough for a copy that is only looked at.
KEYS = frozenset({"CONSTRAINT", "INDEX ATTACH"})
_EVENT_TRIGGER = "EVENT TRIGGER"
#: Kinds of entries that are tables to others.
_TABLES = frozenset({"TABLE", "MATERIALIZED VIEW", "FOREIGN TABLE", "VIEW"})


def in_turn(entries: Sequence[Entry]) -> list[list[int]]:
    """All entries, in the turns that they are restored in.

    What alters the work of an entry that it does not name comes after all of them: several jobs at a time would try it
    too early. Event triggers come alone and last: pg_restore fills materialized views after it made them, which they
    may forbid, or write down in a table.
    """
    altering = {entry.dump_id for entry in entries if entry.alters}
    turns: list[list[int]] = [[], [], []]
    for entry in entries:
        if entry.kind == _EVENT_TRIGGER or (not entry.schema and entry.name.startswith(f"{_EVENT_TRIGGER} ")):
            turn = 2
        else:
            turn = int(entry.dump_id in altering or not altering.isdisjoint(entry.depends))
        turns[turn].append(entry.dump_id)
    return [turn for number, turn in enumerate(turns) if turn or number == 0]


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
