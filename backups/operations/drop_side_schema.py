"""Drop tables that were brought back beside the live ones."""

from __future__ import annotations

from collections.abc import Sequence

from backups import side_schemas
from backups.of_side_schema import OfSideSchema, SideSchemaForm
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Sql, Step, Transaction


class DropSideSchema(OfSideSchema, Operation):
    """Drop a schema of tables that were brought back from a backup; the live tables are not touched."""

    title = "Drop tables brought back"
    risk = Risk.DESTROYS
    queue = "backups"
    Form = SideSchemaForm

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
            Transaction(
                [Sql(statement, settings=side_schemas.PATIENCE) for statement in found.statements],
                database=side.database,
            ),
            Call(lambda work: side_schemas.note_gone(work, [side]), "Note that it is gone."),
        ]
