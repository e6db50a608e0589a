"""Statements that take their time: their progress is shown while they run, their effect is measured after."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import Connection

from dbadmin import connections
from dbadmin.steps import Sql
from dbadmin.units import unit_of

if TYPE_CHECKING:
    from dbadmin.work import Work

#: Columns: phase, done, total, unit, waits_for (a pid or null). The parameter is our application_name.
PROGRESS = {
    "create_index": (
        "select phase,"
        " case when blocks_total > 0 and blocks_done < blocks_total then blocks_done"
        " when tuples_total > 0 then tuples_done else blocks_done end as done,"
        " case when blocks_total > 0 and blocks_done < blocks_total then blocks_total"
        " when tuples_total > 0 then tuples_total else blocks_total end as total,"
        " case when tuples_total > 0 and not (blocks_total > 0 and blocks_done < blocks_total)"
        " then 'rows' else 'blocks' end as unit, nullif(current_locker_pid, 0) as waits_for"
        " from pg_catalog.pg_stat_progress_create_index"
    ),
    "vacuum": (
        "select phase, heap_blks_scanned as done, heap_blks_total as total, 'blocks' as unit,"
        " null::int as waits_for from pg_catalog.pg_stat_progress_vacuum"
    ),
    "analyze": (
        "select phase, sample_blks_scanned as done, sample_blks_total as total, 'blocks' as unit,"
        " null::int as waits_for from pg_catalog.pg_stat_progress_analyze"
    ),
}
OURS = " join pg_catalog.pg_stat_activity using (pid) where application_name = %s"
LOCKER = (
    "select pid, usename as role, state, extract(epoch from now() - xact_start) as seconds"
    " from pg_catalog.pg_stat_activity where pid = %s"
)


@dataclass(frozen=True)
class Slow(Sql):
    """A statement whose progress the server shows in one of its views, and whose effect can be measured."""

    shows: str = ""
    measure: Callable[[], dict[str, Any]] | None = None

    def perform(self, work: Work, connection: Connection[Any]) -> None:
        """Measure, run while somebody watches, measure."""
        before = self.measure() if self.measure else {}
        started = time.monotonic()
        with Spectator(work, self.shows):
            super().perform(work, connection)
        seconds = round(time.monotonic() - started, 3)
        after = self.measure() if self.measure else {}
        work.result(seconds=seconds, before=before, after=after)
        work.say(told(before, after, seconds))


def told(before: dict[str, Any], after: dict[str, Any], seconds: float) -> str:
    """The effect as a sentence: what is different now, and what it was."""
    changes = []
    for name, now in after.items():
        unit, was = unit_of(name), before.get(name)
        # What is not known any more is no change: a view that was just filled is not counted yet.
        if was is not None and now is not None and unit.text(was) != unit.text(now):
            words = name.removesuffix("" if unit.suffix == "_rows" else unit.suffix).replace("_", " ")
            changes.append(f"{words} {unit.text(now)}, was {unit.text(was)}")
    ended = f"Finished in {unit_of('run_seconds').text(seconds)}"
    return f"{ended}: {'; '.join(changes)}." if changes else f"{ended}."


class Spectator:
    """A thread that reads the progress view once a second; it only looks, so its trouble is nobody's."""

    def __init__(self, work: Work, view: str) -> None:
        self.work = work
        self.query = PROGRESS[view] + OURS if view else ""
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="spectator", daemon=True)
        self.said: tuple[Any, ...] = ()

    def __enter__(self) -> Spectator:
        if self.query:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join(timeout=3)

    def watch(self) -> None:
        """The thread."""
        while not self.ended.wait(1.0):
            try:
                with connections.session(self.work.server, "operate") as session:
                    self.look(session)
            except psycopg.Error:
                continue

    def look(self, session: connections.Session) -> None:
        """Take over what the view says; a new phase and a new wait are log lines."""
        row = session.row(self.query, [self.work.application_name])
        if row is None:
            return
        if row.done is not None and row.total:
            self.work.progress(row.done, row.total, row.unit)
        said = (row.phase, row.waits_for)
        if said == self.said:
            return
        self.said = said
        if row.waits_for is None:
            self.work.log(row.phase)
            return
        locker = session.row(LOCKER, [row.waits_for])
        if locker is not None:
            since = f"open for {float(locker.seconds or 0):.0f} s"
            self.work.log(f"{row.phase}: session {locker.pid} ({locker.role}, {locker.state}, {since})")
