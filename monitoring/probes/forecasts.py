"""
title:    Forecasts
about:    When what grows meets its limit, by a robust line through our own history, with 95 % certainty.
empty:    Nothing is followed yet: the first readings are still to come.
scope:    instance
every:    15m
timeout:  20s
key:      what, database, object
series:   due_seconds
warning:  due_seconds < 604800
critical: due_seconds < 86400
column object:           the slot, sequence, table or database
column now:              of what falls, how much is left
column growth:           in a day; of a saw-tooth, since its last turn
column full_seconds:     until the limit is met, most likely; empty when that is not in sight or not known
column due_seconds:      the same; not in sight is five years; empty only when nothing is known
column earliest_seconds: it is met earlier than this in 1 of 40 cases
column latest_seconds:   later than this in 1 of 40; empty when it may never be
column history_seconds:  how much history the line was drawn through
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dbadmin.connections import Session
from monitoring.outlook import prospects, shown

COLUMNS = (
    "what", "database", "object", "says", "now", "limit", "growth", "full_seconds", "earliest_seconds",
    "latest_seconds", "history_seconds", "due_seconds",
)  # fmt: skip


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each line that is followed, the nearest limit first; the server itself is asked nothing."""
    if session.server is None:
        return []
    found = [
        (
            each.what,
            each.database or None,
            each.name or None,
            each.outcome.says,
            each.stands,
            each.ends,
            shown(each.column, each.growth, per_day=True),
            each.outcome.meets,
            each.outcome.earliest,
            each.outcome.latest,
            each.outcome.fit.history if each.outcome.fit else None,
            each.due,
        )
        for each in prospects(session.server)
    ]
    return sorted(found, key=lambda row: (row[7] is None, row[7] or 0.0, row[8] is None, row[8] or 0.0))
