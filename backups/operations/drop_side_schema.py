"""Drop tables that were brought back beside the live ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from backups import side_schemas
from backups.models import SideSchema
from dbadmin.models import Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Sql, Step, Transaction


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
        found = side_schemas.look(self.server, side)
        if found.is_gone:
            return [Call(lambda work: side_schemas.note_gone(work, [side]), "Note that it is gone already.")]
        if found.others:
            raise Refused(
                f"{side.name} is not dropped: {found.says()}. Drop or move that first.", field="side"
            )
        return [
            Transaction([Sql(statement) for statement in found.statements], database=side.database),
            Call(lambda work: side_schemas.note_gone(work, [side]), "Note that it is gone."),
        ]
