"""Vacuum a table."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django import forms
from psycopg import sql

from dbadmin.operations import Risk
from maintenance.effects import Slow
from maintenance.relations import ATTEMPTS, SHORT_LOCK, OnRelation, RelationForm

ROWS = (
    "select n_live_tup as live_rows, n_dead_tup as dead_rows,"
    " pg_catalog.pg_relation_size(relid) as size_bytes,"
    " (select pg_catalog.age(relfrozenxid) from pg_catalog.pg_class where oid = relid) as transaction_age_count"
    " from pg_catalog.pg_stat_all_tables where relid = %s"
)


class VacuumTable(OnRelation):
    """Make the space of dead rows usable again; readers and writers go on."""

    title = "Vacuum table"
    risk = Risk.LOADS
    kinds = "rmp"
    may_maintain = True

    class Form(RelationForm):
        table = forms.CharField()
        analyze = forms.BooleanField(required=False, initial=True, help_text="Also read new statistics.")
        freeze = forms.BooleanField(
            required=False, help_text="Freeze all rows: more writing now, less later."
        )

    @cached_property
    def found(self) -> Any:
        """The table."""
        return self.find()

    def plan(self) -> Sequence[Slow]:
        self.find()
        options = [word for word in ("FREEZE", "ANALYZE") if self.params.get(word.lower())]
        words = sql.SQL(f"({', '.join(options)}) " if options else "")
        return [
            Slow(
                sql.SQL("VACUUM {}{}").format(words, self.identifier),
                database=self.database or "",
                settings=SHORT_LOCK,
                attempts=ATTEMPTS,
                shows="vacuum",
                measure=self.measured,
            )
        ]

    def measured(self) -> dict[str, Any]:
        """Rows, dead rows, size and age, for the comparison before and after."""
        row = self.server.row(ROWS, [self.found.oid], self.database)
        return {} if row is None else row._asdict()
