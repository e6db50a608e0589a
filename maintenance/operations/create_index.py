"""Create an index."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import psycopg
from django import forms
from psycopg import sql

from dbadmin.identifiers import LONGEST, fitting
from dbadmin.operations import Refused, Risk
from dbadmin.steps import Step
from dbadmin.work import Work
from maintenance.expressions import IndexColumn, check_expression, columns_of
from maintenance.indexes import BuildIndex, find_index, remove_if_invalid
from maintenance.partitioned_index import Place, partitioned_steps, remove_partitioned
from maintenance.relations import OnRelation, RelationForm

METHODS = ["btree", "hash", "gin", "gist", "spgist", "brin"]
WITH_INCLUDE = {"btree", "gist", "spgist"}


class CreateIndex(OnRelation):
    """Build an index while its table stays readable and writable; a build that fails leaves nothing."""

    title = "Create index"
    risk = Risk.LOADS
    kinds = "rmp"

    class Form(RelationForm):
        table = forms.CharField()
        columns = forms.CharField(
            help_text="Such as: email, created_at DESC NULLS LAST, lower(name) text_pattern_ops, (a + b)"
        )
        method = forms.ChoiceField(choices=[(name, name) for name in METHODS], initial="btree")
        include = forms.CharField(required=False, help_text="More columns for index-only scans.")
        where = forms.CharField(required=False, help_text="Only rows of this condition: deleted_at IS NULL")
        unique = forms.BooleanField(required=False)
        index = forms.CharField(required=False, max_length=LONGEST, label="Name", help_text="Empty: made up.")

    @cached_property
    def found(self) -> Any:
        """The table."""
        return self.find()

    @cached_property
    def keys(self) -> list[IndexColumn]:
        """Columns and expressions."""
        return columns_of(self.params["columns"])

    def target(self) -> str:
        return f"{super().target()} ({self.params['columns']})"

    def plan(self) -> Sequence[Step]:
        is_partitioned = self.found.kind == "p"
        self.check_columns()
        name = self.index_name()
        if is_partitioned:
            return self.partitioned_plan(name)
        database = self.database or ""
        drop = sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(self.params["schema"], name))
        return [
            BuildIndex(
                self.statement(sql.Identifier(name), self.identifier),
                database=database,
                reverse=drop.as_string(None),
                shows="create_index",
                schema=self.params["schema"],
                index=name,
                measure=lambda: self.measured(name),
            )
        ]

    def partitioned_plan(self, name: str) -> Sequence[Step]:
        """An empty frame on the parent, each partition's index beside the traffic, then together."""
        where = Place(self.server, self.found.oid, self.database, self.params["schema"], name)
        return partitioned_steps(where, self.identifier, self.statement, self.free_name)

    def statement(self, name: sql.Composable, table: sql.Composable, is_frame: bool = False) -> sql.Composed:
        """CREATE INDEX CONCURRENTLY with all its clauses; the frame of a partitioned table is made at once."""
        included = [sql.Identifier(key.column) for key in self.included()]
        where = self.params.get("where", "")
        return sql.SQL("CREATE {}INDEX {}{} ON {}{} USING {} ({}){}{}").format(
            sql.SQL("UNIQUE " if self.params.get("unique") else ""),
            sql.SQL("" if is_frame else "CONCURRENTLY "),
            name,
            sql.SQL("ONLY " if is_frame else ""),
            table,
            sql.SQL(self.params["method"]),
            sql.SQL(", ").join(key.composed() for key in self.keys),
            sql.SQL(" INCLUDE ({})").format(sql.SQL(", ").join(included)) if included else sql.SQL(""),
            sql.SQL(f" WHERE ({where})") if where else sql.SQL(""),
        )

    def included(self) -> list[IndexColumn]:
        """The columns of INCLUDE."""
        text = self.params.get("include", "")
        return columns_of(text, "include") if text else []

    def check_columns(self) -> None:
        """Everything that the server would refuse, said at its field."""
        method, where = self.params["method"], self.params.get("where", "")
        if self.included() and method not in WITH_INCLUDE:
            raise Refused(f"An index of method {method} cannot INCLUDE columns.", "include")
        if any(key.is_expression or key.rest for key in self.included()):
            raise Refused("INCLUDE takes plain columns only.", "include")
        if self.params.get("unique") and method != "btree":
            raise Refused("Only a btree index can be unique.", "unique")
        if method == "hash" and len(self.keys) > 1:
            raise Refused("A hash index has one column.", "columns")
        if where:
            check_expression(where, "where")
        for key, field in [(key, "columns") for key in self.keys] + [
            (key, "include") for key in self.included()
        ]:
            self.try_out(key.composed() if key.is_expression else sql.Identifier(key.column), field)
        if where:
            self.try_out(sql.SQL("1"), "where", sql.SQL(" where ({})").format(sql.SQL(where)))

    def try_out(self, what: sql.Composable, field: str, where: sql.Composable | None = None) -> None:
        """Let the server judge a part of the statement without reading a row."""
        query = sql.SQL("select {} from {}{} limit 0").format(what, self.identifier, where or sql.SQL(""))
        try:
            self.server.rows(query, None, self.database)
        except (psycopg.ProgrammingError, psycopg.DataError) as error:
            said = error.diag.message_primary or str(error)
            raise Refused(f"{said[:1].upper()}{said[1:]}.", field) from error

    def index_name(self) -> str:
        """The wished name, which must be free; else table_columns_idx with a number where that is taken."""
        wished = self.params.get("index", "")
        if wished:
            if self.is_taken(wished):
                raise Refused(f"There is {self.params['schema']}.{wished} already.", "index")
            return str(wished)
        return self.free_name(self.params["schema"], self.params["table"])

    def free_name(self, schema: str, table: str) -> str:
        """table_columns_idx, with a number where that is taken."""
        base = "_".join([table, *(key.column or "expr" for key in self.keys), "idx"])
        for number in range(100):
            end = str(number) if number else ""
            name = fitting(base, end)
            if not self.is_taken(name, schema):
                return name
        raise Refused("Give the index a name: those that we would make up are taken.", "index")

    def is_taken(self, name: str, schema: str = "") -> bool:
        """Is there anything of this name in the schema?"""
        query = "select to_regclass(%s) is not null"
        full = sql.Identifier(schema or self.params["schema"], name).as_string(None)
        return bool(self.server.value(query, [full], self.database))

    def measured(self, name: str) -> dict[str, Any]:
        """The size of the index, once there is one."""
        row = find_index(self.server, self.params["schema"], name, self.database)
        return {} if row is None else {"index": f"{row.schema}.{row.index}", "size_bytes": row.size_bytes}

    def clean_up(self, work: Work) -> None:
        made = work.facts.get("index")
        if made:
            remove_if_invalid(work, made["schema"], made["index"], made["database"])
        remove_partitioned(work)
