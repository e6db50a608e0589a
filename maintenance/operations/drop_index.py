"""Drop an index."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django import forms
from psycopg import sql

from dbadmin.operations import Refused, Risk
from dbadmin.work import Work
from maintenance.indexes import RemoveIndex, concurrently, find_index, remove_if_invalid
from maintenance.relations import OnRelation, RelationForm


class DropIndex(OnRelation):
    """Drop an index while its table stays readable and writable."""

    title = "Drop index"
    risk = Risk.DESTROYS
    what = "index"
    kinds = "iI"

    class Form(RelationForm):
        index = forms.CharField()

    @cached_property
    def found(self) -> Any:
        """The index."""
        self.find()
        return find_index(self.server, self.params["schema"], self.params["index"], self.database)

    def plan(self) -> Sequence[RemoveIndex]:
        name, found = self.short_name(), self.found
        if found.constraint_name:
            raise Refused(
                f"{name} backs the constraint {found.constraint_name}. Drop the constraint instead."
            )
        if found.is_referenced:
            raise Refused(f"{name} is what a foreign key refers to. Drop the foreign key first.")
        if found.kind == "I":
            raise Refused(
                f"{name} is the index of a partitioned table: PostgreSQL cannot drop it concurrently."
            )
        if found.is_partition:
            raise Refused(
                f"{name} belongs to its partitioned table's index, which cannot be dropped in part."
            )
        if found.is_identity:
            raise Refused(f"{name} is the replica identity of {found.table}. Choose another one first.")
        return [
            RemoveIndex(
                sql.SQL("DROP INDEX CONCURRENTLY {}").format(self.identifier),
                database=self.database or "",
                reverse=concurrently(found.definition),
                schema=self.params["schema"],
                index=self.params["index"],
                size_bytes=found.size_bytes,
                was_valid=found.is_valid,
            )
        ]

    def clean_up(self, work: Work) -> None:
        """A drop that was stopped half-way leaves an index that nobody can use: finish it."""
        began = work.facts.get("index")
        if began and began["was_valid"]:
            remove_if_invalid(work, began["schema"], began["index"], began["database"])
