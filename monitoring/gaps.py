"""Gaps of a whole server that no mark tells of already."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.db.models import Q

from dbadmin.models import Server
from monitoring.models import Gap, Mark

#: A mark carries the clock of the server, a gap ours: so far they may differ.
SLACK = dt.timedelta(minutes=2)


def untold(
    server: Server, start: dt.datetime, end: dt.datetime, marks: Iterable[Mark], most: int
) -> list[Gap]:
    """Gaps of the window, the newest first: a mark tells of a gap when it has its cause and lies within it.

    marks: those of the same window; most: how many gaps at most.
    """
    told = [(mark.kind, mark.at) for mark in marks]
    gaps = Gap.objects.filter(Q(ended_at=None) | Q(ended_at__gt=start), server=server, source=None)
    return [
        gap
        for gap in gaps.filter(started_at__lt=end).order_by("-started_at")[:most]
        if not any(kind == gap.cause and is_within(at, gap) for kind, at in told)
    ]


def is_within(at: dt.datetime, gap: Gap) -> bool:
    """Does the moment lie in the gap, but for the difference of two clocks? One that lasts has no end."""
    return gap.started_at - SLACK <= at and (gap.ended_at is None or at <= gap.ended_at + SLACK)
