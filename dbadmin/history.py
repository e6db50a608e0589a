"""Where charts get their past from: the app that keeps series registers itself here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Protocol

from dbadmin.by_hand import read
from dbadmin.charts import Line, Mark
from dbadmin.models import Run, Server

#: A scheduled run that takes no longer is routine.
ROUTINE = dt.timedelta(seconds=10)
#: Each page with a chart asks, so that Django does not write it anew.
RUNS = """
select id, title, target, started_at, user_name, status from dbadmin_run
where server_id = %(server)s and started_at >= %(start)s and started_at < %(end)s
    and not coalesce(door = 'schedule' and status = 'succeeded' and finished_at < started_at + %(soon)s, false)
    and (not %(felt)s or (status = 'succeeded' and risk <> 'harmless'))
order by id desc limit %(most)s
"""


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

    def row(
        self,
        server: Server,
        probe: str,
        columns: Sequence[str],
        start: dt.datetime,
        end: dt.datetime,
        key: Sequence[str],
        database: str = "",
    ) -> dict[str, Line]:
        """The lines of several columns of one row, those that are kept."""
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
    server: Server, probe: str, column: str, start: dt.datetime, end: dt.datetime, **which: Any
) -> Sequence[Line]:
    """As the source says, with its by, most and database; no lines without a source."""
    return _source.lines(server, probe, column, start, end, **which) if _source else []


def row(*about: Any) -> dict[str, Line]:
    """As the source says; no lines without a source."""
    return _source.row(*about) if _source else {}


def runs(
    server: Server, start: dt.datetime, end: dt.datetime, most: int, are_felt: bool = False
) -> list[Run]:
    """Our runs that began in a window, the newest first, without the routine.

    What a schedule did within seconds moved nothing, and would hide what did. are_felt: only those that
    succeeded and that a server may have felt.
    """
    params = {
        "server": server.pk,
        "start": start,
        "end": end,
        "soon": ROUTINE,
        "most": most,
        "felt": are_felt,
    }
    return read(Run, RUNS, params)


def marks(server: Server, start: dt.datetime, end: dt.datetime) -> list[Mark]:
    """Our runs that a server may have felt, and what the source knows."""
    ours = runs(server, start, end, 50, are_felt=True)
    found = [Mark(run.started_at, str(run)) for run in ours if run.started_at]
    return [*found, *told(server, start, end)]


def told(server: Server, start: dt.datetime, end: dt.datetime) -> Sequence[Mark]:
    """What the source knows, without our runs; nothing without a source."""
    return _source.marks(server, start, end) if _source else []
