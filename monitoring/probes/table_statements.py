"""
title:    Statements that name it
about:    Of the last 24 hours, the most time first. What reaches it through a view or a function does not name it.
empty:    No statement that was counted in the last 24 hours names it.
scope:    database
params:   schema, table
keeps:    1m
timeout:  10s
column schema_is_said: without it the statement may mean a table of this name in another schema
column total_seconds:  execution time, summed over all calls
column share_ratio:    of the execution time of all statements of the server
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from dbadmin.connections import Session
from monitoring.named_tables import names
from monitoring.statements import listing

COLUMNS = (
    "query", "role", "total_seconds", "share_ratio", "calls_count", "mean_seconds", "rows_count", "schema_is_said",
    "line_id",
)  # fmt: skip
#: Statements whose text is looked at, and those that are listed, the costliest first.
LOOKED_AT, LISTED = 500, 50


def rows(session: Session, schema: str | None = None, table: str | None = None) -> Iterable[tuple[Any, ...]]:
    """From our own history; the server itself is asked nothing."""
    if session.server is None or not schema or not table:
        return []
    now = timezone.now()
    found = listing(
        session.server,
        now - dt.timedelta(hours=24),
        now,
        n=LOOKED_AT,
        search=table,
        database=session.database,
    )
    named = [(row, names(row.text)) for row in found.rows]
    return [
        (
            row.text,
            row.role,
            row.exec_seconds_total,
            row.share_ratio,
            round(row.calls_total),
            row.mean_seconds,
            round(row.rows_total),
            (schema, table) in told,
            row.id,
        )
        for row, told in named
        if {(schema, table), ("", table)} & told
    ][:LISTED]
