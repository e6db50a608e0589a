"""Drop a database that a restore put aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.utils import timezone
from psycopg import sql

from backups.models import KeptDatabase
from backups.operations.undo_restore import UndoRestoreForm, kept_database
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Sql, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class DropKeptDatabase(Operation):
    """Drop the database that a restore replaced; after this the restore cannot be undone."""

    title = "Drop a replaced database"
    risk = Risk.DESTROYS
    queue = "backups"
    Form = UndoRestoreForm

    def target(self) -> str:
        kept = KeptDatabase.objects.filter(pk=self.params["kept"]).first()
        return kept.name if kept else ""

    def plan(self) -> Sequence[Step]:
        kept = kept_database(self.server, self.params["kept"])
        statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(kept.name))
        return [Sql(statement), Call(lambda work: _note(work, kept), "Note that it is gone.")]


def _note(work: Work, kept: KeptDatabase) -> None:
    kept.dropped_at = timezone.now()
    kept.save(update_fields=["dropped_at"])
    work.log(f"Dropped {kept.name}.")
