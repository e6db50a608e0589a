"""Stop recording the changes of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from audit import plans
from audit.operations.watch_table import place_of, rows_of
from audit.registry import installed, known_as, name_now
from audit.tables import describe
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Step


class UnwatchTable(Operation):
    """Stop recording the changes of a table; what was recorded stays and stays readable."""

    title = "Stop watching table"
    risk = Risk.BLOCKS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        schema = forms.CharField(initial="public")
        table = forms.CharField()

    def target(self) -> str:
        return f"{self.params['schema']}.{self.params['table']}"

    def waits(self) -> str:
        return (
            f"Writers to {self.target()} wait milliseconds for the triggers' end; given up after 3 seconds."
        )

    def plan(self) -> Sequence[Step]:
        """Drop the triggers and the function, close the line in the registry."""
        rows = rows_of(self)
        state, schema, name = installed(rows), self.params["schema"], self.params["table"]
        table = describe(rows, schema, name)
        known = known_as(rows, state, table.relid, schema, name) if table else state.table(schema, name)
        if known is None or known.until is not None:
            raise Refused(f"{self.target()} is not watched.", field="table")
        if table is None and (now := name_now(rows, known)):
            raise Refused(
                f"{self.target()} is called {'.'.join(now)} now. Choose it by that name.", field="table"
            )
        where = f"schema={schema} table={name}"
        reverse = f"-- Watch it again: manage.py operate watch_table {self.server} {where}"
        return plans.unwatch_steps(rows, known, table, self.params.get("database") or "", reverse)

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        return "watch_table", place_of(run)
