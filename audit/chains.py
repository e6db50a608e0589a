"""The order in which one row changed. A trigger of the application's that writes to the table once more ends before the
statement that fired it, and stands before it in the log; what was there before and after each change tells."""

from __future__ import annotations

from collections.abc import Iterable

from audit.search import Change

#: Changes of one row that may stand between a statement and what its triggers did.
NEAR = 50


def chained(changes: Iterable[Change]) -> list[Change]:
    """Changes of one row as the log has them, oldest first, put into the order in which they happened."""
    found: list[Change] = []
    for change in changes:
        found.insert(place(found, change), change)
    return found


def place(found: list[Change], change: Change) -> int:
    """At the end, unless it does not fit there, and what it left is what an earlier one found that fits nowhere yet."""
    end = len(found)
    if not found or follows(found[-1], change):
        return end
    for at in range(end - 1, max(-1, end - 1 - NEAR), -1):
        # Rows that are alike may change places: what leaves a key, and what comes to it, are then two rows.
        is_torn = not follows(found[at - 1], found[at]) if at else not (moves(change) and moves(found[0]))
        if is_torn and is_together(change, found[at]) and follows(change, found[at]):
            return at
    return end


def is_together(one: Change, other: Change) -> bool:
    """Of the same transaction, as far as that is known here."""
    known = [change.statement.xid for change in (one, other) if change.statement]
    return len(set(known)) <= 1


def moves(change: Change) -> bool:
    """Did the row get another key?"""
    names = change.shape.key if change.shape else change.key_names
    old, new = change.old, change.new
    return old is not None and new is not None and any(old.get(name) != new.get(name) for name in names)


def follows(one: Change, other: Change) -> bool:
    """Is what the one left what the other found, in the columns that both know? One may have been added meanwhile. What
    is masked is another text in each statement."""
    left, found = comparable(one, one.new), comparable(other, other.old)
    if left is None or found is None:
        return left is found
    return all(left[name] == found[name] for name in left.keys() & found.keys())


def comparable(change: Change, row: dict[str, str | None] | None) -> dict[str, str | None] | None:
    """A row without its masked columns."""
    masked = (
        {column.name for column in change.shape.columns if column.rule == "masked"} if change.shape else ()
    )
    return {name: value for name, value in row.items() if name not in masked} if row is not None else None
