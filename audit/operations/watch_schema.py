"""Record every change of every table of a schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from audit import plans
from audit.capture import Choices
from audit.operations.watch_table import (
    column_names,
    refuse_unwatchable,
    refuse_without_rights,
    rows_of,
)
from audit.registry import held, installed, known_as, next_numbers
from audit.tables import describe, suggested_rules
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Step

TABLES = """
select c.oid::bigint as relid, c.relname as name from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
  and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_class'::regclass and d.objid
      = c.oid and d.deptype = 'e')
order by c.relname
"""


class WatchSchema(Operation):
    """Watch all tables of a schema that are not watched yet, each in a transaction of its own.

    Put it on a schedule, and tables that come later are watched too.
    """

    title = "Watch schema"
    risk = Risk.BLOCKS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        schema = forms.CharField(initial="public")
        only = forms.CharField(
            required=False,
            label="Only these tables",
            help_text="Names, separated by commas; all tables of the schema when empty.",
        )
        leave_out = forms.CharField(
            required=False, label="Tables to leave out", help_text="Names, separated by commas."
        )
        mask_secrets = forms.BooleanField(
            required=False,
            initial=True,
            label="Mask columns whose names speak of passwords, tokens and the like",
        )

    def target(self) -> str:
        return str(self.params["schema"])

    def waits(self) -> str:
        return f"Writers to each table of {self.target()} wait milliseconds while its triggers are made."

    def plan(self) -> Sequence[Step]:
        """One transaction per table: a table that is busy does not hold the others up."""
        rows, database = rows_of(self), self.params.get("database") or ""
        refuse_without_rights(rows)
        state = installed(rows)
        watched_id, shape_id = next_numbers(rows, state)
        out = set(column_names(self.params.get("leave_out") or ""))
        steps = list(plans.install_steps(rows, state, database))
        relids = {row.name: row.relid for row in rows(TABLES, [self.params["schema"]])}
        names = [name for name in relids if name not in out]
        if only := column_names(self.params.get("only") or ""):
            self.refuse_unknown(only, names)
            names = only
        writes = held(rows, list(relids.values()))
        lines = {
            name: known_as(rows, state, relids[name], self.params["schema"], name, writes) for name in names
        }
        new = [name for name, known in lines.items() if known is None or known.until is not None]
        if not names:
            raise Refused(f"{self.target()} has no tables on {self.server}.", field="schema")
        if not new:
            raise Refused(f"All {len(names)} tables of {self.target()} are watched already.")
        refuse_without_rights(rows, [relids[name] for name in new])
        what = "1 table is" if len(new) == 1 else f"{len(new)} tables are"
        self.done = f"{what} watched from now on; before, {len(names) - len(new)} of {len(names)} were."
        for number, name in enumerate(new):
            table = describe(rows, self.params["schema"], name)
            if table is None:
                continue
            refuse_unwatchable(table)
            if self.params.get("mask_secrets", True):
                table = describe(rows, table.schema, table.name, suggested_rules(table)) or table
            steps += plans.watch_steps(
                rows, watched_id + number, shape_id + number, table, Choices(), database
            )
        return steps

    def takes_back(self, steps: Sequence[Step]) -> bool:
        return False

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        """Each table is unwatched by itself."""
        return "", {}

    def refuse_unknown(self, only: list[str], names: list[str]) -> None:
        """A name that is mistyped must not pass for a table that is watched."""
        unknown = [name for name in only if name not in names]
        if unknown:
            what = f"{self.target()} on {self.server} has no table {', '.join(unknown)}"
            raise Refused(f"{what} that can be watched.", field="only")
