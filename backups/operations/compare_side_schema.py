"""Compare tables that were brought back with the live ones once more."""

from __future__ import annotations

from collections.abc import Sequence

from django.urls import reverse

from backups.models import SideSchema
from backups.operations.drop_side_schema import DropSideSchemaForm
from backups.restoring_tables import compare_side
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step


class CompareSideSchema(Operation):
    """Compare tables that were brought back with the live ones as they are now, row by row, by key."""

    title = "Compare again"
    risk = Risk.LOADS
    queue = "backups"
    Form = DropSideSchemaForm

    def target(self) -> str:
        found = SideSchema.objects.filter(pk=self.params["side"]).first()
        return found.name if found else ""

    def plan(self) -> Sequence[Step]:
        side = SideSchema.present(self.server).filter(pk=self.params["side"]).first()
        if side is None:
            raise Refused("These tables were dropped already.", field="side")
        names = ", ".join(f"{each['schema']}.{each['name']}" for each in side.tables)
        return [
            Call(
                lambda work: compare_side(work, side),
                f"Compare {names} in {side.database} with {side.name}, row by row.",
            )
        ]

    def result_url(self, run: Run) -> str:
        return reverse("side_schema", args=[self.server.name, self.params["side"]])
