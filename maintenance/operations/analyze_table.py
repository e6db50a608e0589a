"""Analyze a table."""

from collections.abc import Sequence

from django import forms
from psycopg import sql

from dbadmin.operations import Risk
from maintenance.effects import Slow
from maintenance.relations import ATTEMPTS, SHORT_LOCK, OnRelation, RelationForm


class AnalyzeTable(OnRelation):
    """Read new statistics of a table for the planner; readers and writers go on."""

    title = "Analyze table"
    risk = Risk.LOADS
    kinds = "rmp"
    may_maintain = True

    class Form(RelationForm):
        table = forms.CharField()

    def plan(self) -> Sequence[Slow]:
        self.find()
        return [
            Slow(
                sql.SQL("ANALYZE {}").format(self.identifier),
                database=self.database or "",
                settings=SHORT_LOCK,
                attempts=ATTEMPTS,
                shows="analyze",
            )
        ]
