"""Bring what an older version of dbadmin installed to this one."""

from __future__ import annotations

from collections.abc import Sequence

from django import forms

from audit import plans
from audit.capture import VERSION
from audit.log_tables import SCHEMA
from audit.operations.watch_table import refuse_without_rights, rows_of, rules_before
from audit.overview import chosen_before
from audit.registry import NAMED, Watched, installed, name_now, next_numbers, outdated, restored
from audit.tables import Described, Rows, describe
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Step


class UpgradeCapture(Operation):
    """Renew the shared objects and every watched table's capture function, under load and without a lost change; also
    those of tables that came with a restore.

    Functions are replaced while writers use them: each statement is recorded by the old one or by the new one.
    What was recorded stays as it is.
    """

    title = "Upgrade capture"
    risk = Risk.BLOCKS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")

    def target(self) -> str:
        return SCHEMA

    def waits(self) -> str:
        return (
            "Nobody waits for new functions. Where a table or partition lacks a trigger, its writers wait milliseconds;"
            " given up after 3 seconds. So do all writers where the log has indexes that are needed no more."
        )

    def plan(self) -> Sequence[Step]:
        """The shared functions first, then one transaction per table: where one fails, the others stay upgraded.

        What writers have to wait for comes last, when all that nobody waits for is done.
        """
        rows, database = rows_of(self), self.params.get("database") or ""
        refuse_without_rights(rows)
        state = installed(rows)
        if not state.version:
            raise Refused("No table is watched here yet.")
        if state.version > VERSION:
            raise Refused(
                f"Capture here is of version {state.version}, made by a newer dbadmin; this one knows {VERSION}."
                " Upgrade dbadmin."
            )
        _, shape_id = next_numbers(rows, state)
        steps, late = list(plans.install_steps(rows, state, database)), []
        came = restored(rows, state)
        relids = list(came)
        for known in outdated(rows, state):
            table = as_watched(rows, known)
            if table is not None:
                steps += plans.upgrade_steps(rows, known, shape_id, table, chosen_before(known), database)
                shape_id += 1
        for relid, known in came.items():
            if table := as_restored(rows, known, relid):
                steps += plans.renew_steps(rows, known, shape_id, table, chosen_before(known), database)
                shape_id += 1
        for known in state.active():
            if table := as_watched(rows, known):
                late += (
                    triggers := plans.late_triggers(rows, known, table, chosen_before(known).level, database)
                )
                relids += [table.relid] if triggers else []
        refuse_without_rights(rows, relids)
        steps += [*late, *plans.dropped_indexes(rows, database)]
        if not steps:
            raise Refused(f"Capture is of version {VERSION} already, for every watched table.")
        return steps


def as_watched(rows: Rows, known: Watched) -> Described | None:
    """The table as it is today, under the rules of before; None: it was dropped, and its log stays."""
    schema, name = name_now(rows, known) or (known.schema, known.name)
    table = as_before(rows, known, schema, name)
    return table if table and table.relid == known.relid else None


def as_restored(rows: Rows, known: Watched, relid: int) -> Described | None:
    """The same of a table that came with a restore."""
    (row,) = rows(NAMED, [relid])
    return as_before(rows, known, row.schema, row.name)


def as_before(rows: Rows, known: Watched, schema: str, name: str) -> Described | None:
    """A table of today under the rules that were chosen for a watched one."""
    table = describe(rows, schema, name)
    return table and describe(rows, schema, name, rules_before(known, table))
