"""Bring some tables of a backup back beside the live ones, to be compared and copied row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import preflight, restoring, restoring_tables
from backups.forms import BackupField, short_enough
from backups.models import Backup
from backups.restoring_tables import plan_tables
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class RestoreTablesForm(forms.Form):
    """Which tables of which backup, and where they go."""

    backup = BackupField()
    tables = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="As schema.table, one a line or with commas between.",
    )
    database = forms.CharField(required=False, max_length=63, help_text="The live one. Empty: as backed up.")
    schema = forms.CharField(
        required=False,
        validators=[short_enough],
        help_text="The name of the schema. Empty: by the moment of the backup.",
    )
    keep_hours = forms.IntegerField(
        initial=168, min_value=1, max_value=24 * 90, required=False,
        help_text="For how many hours the schema is kept.",
    )  # fmt: skip

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = self.data.get("backup") or self.initial.get("backup")
        self.fields["backup"].offer(server, named)  # type: ignore[attr-defined]

    def clean_keep_hours(self) -> int:
        return self.cleaned_data.get("keep_hours") or 168


class RestoreTables(Operation):
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
        preflight.database_of(self.server, database)
        if self.server.value(
            "select datistemplate from pg_catalog.pg_database where datname = %s", [database]
        ):
            raise Refused(
                f"{database} is a template: every new database would get these tables.", field="database"
            )
        preflight.check_create_schema(self.server, database)
        job = plan_tables(self, backup, database, str(self.params["tables"]))
        job.keep_hours = float(self.params.get("keep_hours") or 168)
        job.side = self.schema(backup, database)
        return job.steps()

    def schema(self, backup: Backup, database: str) -> str:
        """The name that was chosen, else the moment of the backup with the first number that is free."""
        chosen = str(self.params.get("schema") or "")
        taken = {
            row.nspname
            for row in self.server.rows("select nspname from pg_catalog.pg_namespace", database=database)
        }
        if chosen and (chosen in taken or chosen.startswith("pg_")):
            raise Refused(f"{database} cannot have a new schema {chosen}: the name is taken.", field="schema")
        plain = f"restored_{backup.started_at:%Y%m%d_%H%M}"
        free = (name for name in (plain, *(f"{plain}_{n}" for n in range(2, 1000))) if name not in taken)
        return chosen or next(free)

    def clean_up(self, work: Work) -> None:
        restoring_tables.clean_up(work)

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        side = run.result.get("side")
        return ("drop_side_schema", {"side": side}) if side else ("", {})

    def result_url(self, run: Run) -> str:
        side = run.result.get("side")
        return reverse("side_schema", args=[self.server.name, side]) if side else ""
