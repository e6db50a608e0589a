"""Compare tables that were brought back with the live ones once more."""

from __future__ import annotations

from collections.abc import Sequence

from backups.beside import compare_side
from backups.of_side_schema import OfSideSchema, SideSchemaForm
from dbadmin.models import Run
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Step


class CompareSideSchema(OfSideSchema, Operation):
    """Compare tables that were brought back with the live ones as they are now, row by row, by key."""

    title = "Compare again"
    risk = Risk.LOADS
    changes_nothing = True
    queue = "backups"
    Form = SideSchemaForm

    def plan(self) -> Sequence[Step]:
        side = self.side()
        names = ", ".join(f"{each['schema']}.{each['name']}" for each in side.tables)
        return [
            Call(
                lambda work: compare_side(work, side),
                f"Compare {names} in {side.database} with {side.name}, row by row.",
            )
        ]

    def result_url(self, run: Run) -> str:
        return self.page()
