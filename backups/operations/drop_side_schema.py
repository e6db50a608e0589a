"""Drop tables that were brought back beside the live ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone
from psycopg import sql

from backups import side_tables
from backups.models import SideSchema
from backups.operations.copy_rows import kept_by_runs
from dbadmin.models import Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Sql, Step, Transaction

if TYPE_CHECKING:
    from dbadmin.runner import Work


class DropSideSchemaForm(forms.Form):
    """Which of them."""

    side = forms.TypedChoiceField(coerce=int, label="Schema")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = SideSchema.present(server) if server else SideSchema.objects.none()
        self.fields["side"].choices = [(str(side.pk), f"{side}: {side.label}") for side in found]  # type: ignore[attr-defined]


class DropSideSchema(Operation):
    """Drop a schema of tables that were brought back from a backup; the live tables are not touched."""

    title = "Drop tables brought back"
    risk = Risk.DESTROYS
    queue = "backups"
    Form = DropSideSchemaForm

    def side(self) -> SideSchema:
        found = SideSchema.present(self.server).filter(pk=self.params["side"]).first()
        if found is None:
            raise Refused("These tables were dropped already.", field="side")
        return found

    def target(self) -> str:
        found = SideSchema.objects.filter(pk=self.params["side"]).first()
        return found.name if found else ""

    def plan(self) -> Sequence[Step]:
        side = self.side()
        made = {each["side"] for each in side.tables} | kept_by_runs(side)
        name = sql.Identifier(side.name).as_string(None)
        rows = self.server.rows(side_tables.TABLES_OF, [name], database=side.database)
        statements = side_tables.drop_statements([row.name for row in rows if row.name in made], side.name)
        return [
            Transaction([Sql(statement) for statement in statements], database=side.database),
            Call(lambda work: _note(work, side), "Note that it is gone."),
        ]


def _note(work: Work, side: SideSchema) -> None:
    side.dropped_at = timezone.now()
    side.save(update_fields=["dropped_at"])
    work.log(f"Dropped {side}.")
