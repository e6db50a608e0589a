"""
title:    Recovery to a moment
about:    How far back and up to which moment a server can be recovered, and what would be lost now.
empty:    Point-in-time recovery of this server is off.
scope:    instance
every:    60s
series:   max(loss_seconds), max(base_seconds)
warning:  loss_seconds > 120
critical: loss_seconds > 900
column earliest_at:  the earliest moment that can be recovered
column latest_at:    the latest moment that can be recovered by an unbroken chain of WAL
column loss_seconds: since the latest moment: what would be lost if the server vanished now
column base_seconds: since the newest base backup was begun
column problem:      what the receiver of the WAL says
column base_problem: why the last base backup was not taken
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from backups.models import PointInTime
from backups.physical.chains import recoverable
from dbadmin.connections import Session
from dbadmin.models import Run, Server

COLUMNS = (
    "earliest_at", "latest_at", "loss_seconds", "base_seconds", "bases_count", "holes_count", "spool_bytes", "problem",
    "base_problem",
)  # fmt: skip


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for a server whose switch is on."""
    point = (
        PointInTime.objects.filter(server=session.server, enabled=True).first() if session.server else None
    )
    if point is None or session.server is None:
        return []
    found, now = recoverable(session.server), timezone.now()
    loss = max(0.0, (now - found.latest).total_seconds()) if found.latest else None
    newest = max((chain.base.started_at for chain in found.chains), default=None)
    age = (now - newest).total_seconds() if newest else None
    counts = (len(found.chains), len(found.holes))
    told = (point.spool_bytes, point.problem or None, base_problem(session.server))
    return [(found.earliest, found.latest, loss, age, *counts, *told)]


def base_problem(server: Server) -> str | None:
    """Of the newest that ended; who cancels one knows why."""
    ended = Run.objects.filter(server=server, operation="take_base_backup").exclude(status__in=Run.OPEN)
    last = ended.exclude(status=Run.Status.CANCELLED).first()
    return last.message if last and last.status != Run.Status.SUCCEEDED else None
