"""Check the rows that were there before a constraint."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django import forms
from psycopg import sql

from dbadmin.operations import Refused, Risk
from maintenance.effects import Slow
from maintenance.relations import ATTEMPTS, SHORT_LOCK, OnRelation, RelationForm

CONSTRAINT = (
    "select convalidated as is_valid, coalesce((to_jsonb(c) ->> 'conenforced')::bool, true) as is_enforced"
    " from pg_catalog.pg_constraint c where conrelid = %s and conname = %s"
)


class ValidateConstraint(OnRelation):
    """Check all rows of a table against a constraint that held for new rows only; readers and writers go on."""

    title = "Validate constraint"
    risk = Risk.LOADS
    kinds = "rp"

    class Form(RelationForm):
        table = forms.CharField()
        constraint = forms.CharField()

    def target(self) -> str:
        return f"{super().target()} {self.params['constraint']}"

    @cached_property
    def found(self) -> Any:
        """The constraint."""
        table, name = self.find(), self.params["constraint"]
        row = self.server.row(CONSTRAINT, [table.oid, name], self.database)
        if row is None:
            raise Refused(f"{self.short_name()} has no constraint {name}.", "constraint")
        return row

    def plan(self) -> Sequence[Slow]:
        if self.found.is_valid:
            raise Refused(
                f"{self.params['constraint']} holds for every row of {self.short_name()} already.",
                "constraint",
            )
        if not self.found.is_enforced:
            raise Refused(
                f"{self.params['constraint']} of {self.short_name()} is not enforced: PostgreSQL holds no row to it,"
                " old or new. Add it anew without NOT ENFORCED.",
                "constraint",
            )
        statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
        return [
            Slow(
                statement.format(self.identifier, sql.Identifier(self.params["constraint"])),
                database=self.database or "",
                settings=SHORT_LOCK,
                attempts=ATTEMPTS,
            )
        ]
