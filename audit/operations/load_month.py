"""Bring an archived month of the audit log back."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django import forms
from psycopg.sql import SQL, Identifier

from audit import archive, mapping, parquet, plans
from audit.log_tables import SCHEMA
from audit.operations.ensure_partitions import PARENTS, partition_statements
from audit.operations.watch_table import rows_of
from audit.registry import installed_version
from audit.tables import Rows
from dbadmin import stores
from dbadmin.connections import named_rows
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.runner import Work
from dbadmin.steps import Call, Step, Transaction
from dbadmin.units import several

HAVING = "select to_regclass('dbadmin_audit.' || quote_ident(%s)) is not null as found"


class LoadMonth(Operation):
    """Load a month of the audit log that expired from its copy in a store, to search it on the same pages again.

    Its digest and its signature are checked first; verification then compares it with the seals of its time.
    expire_log drops it again.
    """

    title = "Load a month of the audit log"
    risk = Risk.LOADS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        store = forms.ChoiceField(choices=stores.choices())
        month = forms.CharField(help_text="Such as 2025-01.")

        def clean_month(self) -> str:
            """A month."""
            text: str = self.cleaned_data["month"]
            if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
                raise forms.ValidationError("Write a month as 2025-01.")
            return text

    def target(self) -> str:
        return f"audit log of {self.params.get('database') or self.server}"

    def plan(self) -> Sequence[Step]:
        """Empty partitions, then everything in one transaction."""
        rows, database = rows_of(self), self.params.get("database") or ""
        if not installed_version(rows):
            raise Refused("No table is watched here yet.")
        month, name = self.params["month"], rows("select current_database() as name")[0].name
        found = archive.described(stores.open_store(self.params["store"]), self.server, name, month)
        self.refuse_filled(rows)
        if found.kind == "parquet" and not parquet.is_installed():
            raise Refused(parquet.MISSING)
        says = (
            f"Load {several(found.lines, 'line')} of {found.key}, SHA-256 {found.sha256}, or nothing of them"
        )
        return [*self.partitions(rows, database), Call(self.load, says=says)]

    def leaf(self, parent: str) -> str:
        """The month's partition of one of the log's tables."""
        return f"{parent}_{self.params['month'].replace('-', '_')}"

    def refuse_filled(self, rows: Rows) -> None:
        """A month that is there."""
        leaf = self.leaf("statement")
        if rows(HAVING, [leaf])[0].found:
            query = SQL("select exists (select from {}) as found").format(Identifier(SCHEMA, leaf))
            if rows(query)[0].found:
                raise Refused(f"{self.params['month']} is in the log already.", field="month")

    def partitions(self, rows: Rows, database: str) -> list[Step]:
        """Those that are missing; each in a transaction of its own, so that writers wait for none of the loading."""
        own, first = plans.owned(rows), archive.first_day(self.params["month"])
        return [
            Transaction(plans.as_owner(own, partition_statements(rows, row.name, first)), database=database)
            for row in rows(PARENTS)
            if not rows(HAVING, [self.leaf(row.name)])[0].found
        ]

    def load(self, work: Work) -> None:
        """All of it, or nothing."""
        shelf, month = stores.open_store(self.params["store"]), self.params["month"]
        with work.connect(self.params.get("database") or None) as connection:
            found = archive.described(shelf, self.server, connection.info.dbname, month)
            with connection.transaction():
                if plans.owned(rows_of(self)):
                    connection.execute("set local role dbadmin_audit")
                count = archive.load(
                    connection, shelf, found, month, lambda done: work.progress(done, None, "rows")
                )
                if mapping.is_ready(lambda query: named_rows(connection.execute(query))):
                    # A map that was begun while the month was away lacks it.
                    mapping.add(connection, Identifier(SCHEMA, self.leaf("statement")), SQL("true"))
        work.log(f"Loaded {several(count, 'row')} of {month}. expire_log drops them again.")

    def result_url(self, run: object) -> str:
        month = self.params["month"]
        return f"/servers/{self.server.name}/audit/?since={month}-01T00:00"
