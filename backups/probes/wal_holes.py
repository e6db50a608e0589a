"""
title:    Holes in the WAL
about:    Segments of WAL that no store has, so that no base backup leads over them to the present.
empty:    No segment is missing.
scope:    instance
every:    60s
key:      missing
series:   max(broken_count)
critical: broken_count > 0
column missing:      the first segment that is not there
column since_at:     the last moment before it that can be recovered
column broken_count: base backups whose chain ends there, when no newer one leads on
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backups.physical.chains import recoverable
from dbadmin.connections import Session

COLUMNS = ("missing", "since_at", "broken_count")


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each hole that no newer base backup has closed."""
    if session.server is None:
        return []
    found = recoverable(session.server)
    return [
        (hole.missing, hole.start, sum(chain.missing == hole.missing for chain in found.chains))
        for hole in found.holes
        if hole.end is None
    ]
