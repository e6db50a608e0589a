"""
title:    Repositories of other tools
about:    What pgBackRest, Barman and WAL-G keep of this server: how old it is, how far it leads, where it is broken.
empty:    No repository of another tool is shown for this server.
scope:    instance
judged:   primary
every:    300s
key:      repository
series:   max(newest_seconds)
warning:  newest_seconds > 93600
critical: newest_seconds > 180000
column newest_seconds: since the newest whole backup was finished, as far as it was read
column latest_at:      the last moment that is known to be recoverable
column gaps_count:     holes in the WAL that no newer backup leads over; nothing while the tool tells only the ends
column missing:        the WAL segments at which those holes begin
column unread_seconds: since what is known here was so
column problem:        what the repository itself shows to be wrong
column trouble:        why it could not be read last
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from backups.foreign.models import ForeignRepository
from dbadmin.connections import Session

COLUMNS = (
    "repository", "newest_seconds", "backups_count", "earliest_at", "latest_at", "gaps_count", "missing",
    "unread_seconds", "problem", "trouble",
)  # fmt: skip


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each that is registered; from our own store, nothing is asked of anybody."""
    if session.server is None:
        return []
    server = session.server.primary or session.server
    return [_row(each) for each in ForeignRepository.objects.filter(server=server)]


def _row(repository: ForeignRepository) -> tuple[Any, ...]:
    newest, windows = repository.newest_at, repository.windows
    return (
        str(repository),
        (timezone.now() - newest).total_seconds() if newest else None,
        repository.seen.get("backups_count"),
        windows[0]["start"] if windows else None,
        windows[-1]["end"] if windows else None,
        repository.gaps_count,
        ", ".join(hole["missing"] for hole in repository.holes if hole["end"] is None) or None,
        repository.unread.total_seconds(),
        " ".join(repository.seen.get("problems", [])) or None,
        repository.trouble or None,
    )
