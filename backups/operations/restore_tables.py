"""Bring some tables of a backup back beside the live ones, to be compared and copied row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms

from backups import restoring, restoring_tables
from backups.beside import BesideForm, BringsBeside
from backups.forms import BackupField
from backups.models import Backup
from backups.restoring_tables import plan_tables
from dbadmin.models import Server
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class RestoreTablesForm(BesideForm):
    """Which tables of which backup, and where they go."""

    backup = BackupField()
    database = forms.CharField(required=False, max_length=63, help_text="The live one. Empty: as backed up.")
    field_order = ("backup", "tables", "database")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = self.data.get("backup") or self.initial.get("backup")
        self.fields["backup"].offer(server, named)  # type: ignore[attr-defined]


class RestoreTables(BringsBeside, Operation):
    """Restore chosen tables from a backup beside the live ones, prove them, and show what differs by key."""

    title = "Bring back tables"
    risk = Risk.LOADS
    for_admins = True
    queue = "backups"
    Form = RestoreTablesForm

    def also_required(self) -> list[tuple[str, Server | None]]:
        return restoring.rights_on(self.server, self.params["backup"])

    def target(self) -> str:
        """The live database."""
        name = str(self.params.get("database") or "")
        return name or Backup.objects.filter(pk=self.params["backup"]).values_list("database", flat=True)[0]

    def plan(self) -> Sequence[Step]:
        backup, database = restoring.chosen_backup(self.params["backup"]), self.target()
        to = self.into(database, backup.started_at, f"backup of {backup}", backup)
        return plan_tables(self, backup, to, str(self.params["tables"])).steps()

    def clean_up(self, work: Work) -> None:
        restoring_tables.clean_up(work)
