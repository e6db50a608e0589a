"""Build an index anew."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django import forms
from psycopg import sql

from dbadmin.operations import Refused, Risk
from dbadmin.work import Work
from maintenance.indexes import RebuildIndex, find_index, indexes_of, remove_leftovers
from maintenance.relations import OnRelation, RelationForm

TABLE_OF = "select indrelid from pg_catalog.pg_index where indexrelid = %s"


class ReindexIndex(OnRelation):
    """Build a bloated or invalid index anew while its table stays readable and writable."""

    title = "Rebuild index"
    risk = Risk.LOADS
    what = "index"
    kinds = "i"
    may_maintain = False

    class Form(RelationForm):
        index = forms.CharField()

    @cached_property
    def found(self) -> Any:
        """The index."""
        self.find()
        return find_index(self.server, self.params["schema"], self.params["index"], self.database)

    def plan(self) -> Sequence[RebuildIndex]:
        name, found = self.short_name(), self.found
        if found.is_exclusion:
            raise Refused(
                f"{name} backs an exclusion constraint, which cannot be rebuilt without blocking writers."
            )
        if found.table_schema in {"pg_catalog", "pg_toast"}:
            raise Refused(f"{name} belongs to the catalog, which cannot be rebuilt without blocking.")
        table = self.server.value(TABLE_OF, [found.oid], self.database)
        return [
            RebuildIndex(
                sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(self.identifier),
                database=self.database or "",
                shows="create_index",
                measure=self.measured,
                table_oid=table,
                known=tuple(row.index for row in indexes_of(self.server, table, self.database)),
            )
        ]

    def measured(self) -> dict[str, Any]:
        """Its size, for the comparison before and after."""
        row = find_index(self.server, self.params["schema"], self.params["index"], self.database)
        return {} if row is None else {"size_bytes": row.size_bytes, "is_valid": row.is_valid}

    def clean_up(self, work: Work) -> None:
        remove_leftovers(work)
