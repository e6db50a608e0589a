"""Refresh a materialized view."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django import forms
from psycopg import sql

from dbadmin.operations import Risk
from maintenance.effects import Slow
from maintenance.relations import ATTEMPTS, SHORT_LOCK, OnRelation, RelationForm

#: What CONCURRENTLY compares rows by: unique, valid, whole, on plain columns.
USABLE_INDEX = (
    "select exists (select from pg_catalog.pg_index where indrelid = %s and indisunique and indisvalid"
    " and indimmediate and indpred is null and indexprs is null)"
)
SIZE = (
    "select pg_catalog.pg_total_relation_size(%s::oid) as size_bytes,"
    " (select nullif(reltuples, -1)::bigint from pg_catalog.pg_class where oid = %s::oid) as estimated_rows"
)


class RefreshView(OnRelation):
    """Compute a materialized view anew; readers go on reading where a unique index allows it."""

    title = "Refresh materialized view"
    risk = Risk.BLOCKS
    least_risk = Risk.LOADS
    what = "view"
    kinds = "m"
    may_maintain = True

    class Form(RelationForm):
        view = forms.CharField(label="Materialized view")

    @cached_property
    def found(self) -> Any:
        """The view."""
        return self.find()

    @cached_property
    def is_concurrent(self) -> bool:
        """Can readers go on reading? The view must be populated and have a usable unique index."""
        usable = self.server.value(USABLE_INDEX, [self.found.oid], self.database)
        return bool(usable and self.found.is_populated)

    def risk_now(self) -> Risk:
        return Risk.LOADS if self.is_concurrent else Risk.BLOCKS

    def waits(self) -> str:
        if self.is_concurrent:
            return ""
        if not self.found.is_populated:
            return f"Readers of {self.short_name()} wait until it is filled; it was never filled before."
        return (
            f"Readers of {self.short_name()} wait until the refresh ends, for it has no unique index on plain"
            " columns. With one, the next refresh makes nobody wait."
        )

    def plan(self) -> Sequence[Slow]:
        concurrently = sql.SQL("CONCURRENTLY " if self.is_concurrent else "")
        return [
            Slow(
                sql.SQL("REFRESH MATERIALIZED VIEW {}{}").format(concurrently, self.identifier),
                database=self.database or "",
                settings=SHORT_LOCK,
                attempts=ATTEMPTS,
                measure=self.measured,
            )
        ]

    def measured(self) -> dict[str, Any]:
        """Size and rows, for the comparison before and after."""
        row = self.server.row(SIZE, [self.found.oid, self.found.oid], self.database)
        return {} if row is None else row._asdict()
