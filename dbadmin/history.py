"""Where charts get their past from: the app that keeps series registers itself here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Protocol

from django.db.models import F, QuerySet

from dbadmin.charts import Line, Mark
from dbadmin.models import Run, Server

#: A scheduled run that takes no longer is routine.
ROUTINE = dt.timedelta(seconds=10)


class Source(Protocol):
    """What keeps series."""

    def lines(
        self,
        server: Server,
        probe: str,
        column: str,
        start: dt.datetime,
        end: dt.datetime,
        by: str = "",
        most: int = 6,
        database: str = "",
    ) -> Sequence[Line]:
        """The lines of one column: one per value of the key column `by`, largest first, the rest as "others"."""
        ...

    def marks(self, server: Server, start: dt.datetime, end: dt.datetime) -> Sequence[Mark]:
        """Restarts, resets, changed settings and other events in the window."""
        ...


_source: Source | None = None


def register(source: Source) -> None:
    """Called once, when the keeping app is ready."""
    global _source
    _source = source


def lines(
    server: Server, probe: str, column: str, start: dt.datetime, end: dt.datetime, by: str = "", most: int = 6
) -> Sequence[Line]:
    """As the source says; no lines without a source."""
    return _source.lines(server, probe, column, start, end, by, most) if _source else []


def without_routine(runs: QuerySet[Run]) -> QuerySet[Run]:
    """What a schedule did within seconds moved nothing, and would hide what did."""
    soon = F("started_at") + ROUTINE
    return runs.exclude(door=Run.Door.SCHEDULE, status=Run.Status.SUCCEEDED, finished_at__lt=soon)


def marks(server: Server, start: dt.datetime, end: dt.datetime) -> list[Mark]:
    """Our runs that a server may have felt, and what the source knows."""
    ours = Run.objects.filter(server=server, started_at__range=(start, end), status=Run.Status.SUCCEEDED)
    ours = without_routine(ours.exclude(risk="harmless"))
    found = [
        Mark(run.started_at, str(run))
        for run in ours.defer("plan", "reverse", "facts", "result").order_by("-id")[:50]
        if run.started_at
    ]
    return [*found, *(_source.marks(server, start, end) if _source else [])]
