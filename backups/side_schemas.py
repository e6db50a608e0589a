"""Whether a schema of tables that were brought back may be dropped: what is in it, and what hangs on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils import timezone
from psycopg import sql

from backups import side_tables
from backups.models import SideSchema
from dbadmin.models import Run, Server

if TYPE_CHECKING:
    from dbadmin.runner import Work

MOST_NAMED = 5
#: For drops: nobody queues behind us for those who read the tables right now.
PATIENCE = {"lock_timeout": "2s"}


@dataclass(frozen=True)
class Inside:
    """What is in a side schema now. others: what is not ours, in the server's words."""

    is_gone: bool = False
    statements: Sequence[sql.Composed] = ()
    others: Sequence[str] = ()

    def says(self) -> str:
        """The first of what is not ours."""
        more = len(self.others) - MOST_NAMED
        listed = ", ".join(self.others[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"this is not ours, and is in it or depends on it: {listed}"


def comment_of(run: int | None) -> str:
    """The comment by which a schema of a run is known."""
    return f"Tables of a backup, brought back by dbadmin in run {run}; may be dropped."


def kept_name(run: int) -> str:
    """The table in which a copy keeps what it replaced."""
    return f"before_run_{run}"


def kept_by_runs(side: SideSchema) -> set[str]:
    """What copies left in a schema; goes with it."""
    runs = Run.objects.filter(server=side.server, operation="copy_rows", facts__copying__side=side.pk)
    return {kept_name(pk) for pk in runs.values_list("pk", flat=True)}


def look(server: Server, side: SideSchema) -> Inside:
    """Ask the server; raises psycopg.Error."""
    if not server.value("select true from pg_catalog.pg_database where datname = %s", [side.database]):
        return Inside(is_gone=True)
    name = sql.Identifier(side.name).as_string(None)
    if not server.value("select pg_catalog.to_regnamespace(%s)::text", [name], database=side.database):
        return Inside(is_gone=True)
    comment = server.value(side_tables.COMMENT_OF, [name], database=side.database)
    if side.run_id and comment != comment_of(side.run_id):
        return Inside(others=[f"schema {side.name} (its comment is not ours)"])
    made = {each["side"] for each in side.tables} | kept_by_runs(side)
    tables = [row.name for row in server.rows(side_tables.TABLES_OF, [name], database=side.database)]
    ours = [table for table in tables if table in made]
    found = server.rows(side_tables.OTHERS, {"schema": name, "tables": ours}, database=side.database)
    return Inside(False, side_tables.drop_statements(ours, side.name), [row.what for row in found])


def note_gone(work: Work, sides: Sequence[SideSchema]) -> None:
    """Write down that they were dropped."""
    SideSchema.objects.filter(pk__in=[side.pk for side in sides]).update(dropped_at=timezone.now())
    for side in sides:
        work.log(f"Dropped {side}.")
