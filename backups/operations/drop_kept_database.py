"""Drop a database that a restore put aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.utils import timezone

from backups import subscriptions
from backups.models import KeptDatabase
from backups.operations.undo_restore import UndoRestoreForm, kept_database
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Step

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
        return [
            Call(lambda work: drop(work, kept), f"{subscriptions.drop_statement(kept.name).as_string(None)};")
        ]


def drop(work: Work, kept: KeptDatabase) -> None:
    """Drop it and note that it is gone."""
    subscriptions.drop_database(work, kept.name)
    kept.dropped_at = timezone.now()
    kept.save(update_fields=["dropped_at"])
    work.log(f"Dropped {kept.name}.")
