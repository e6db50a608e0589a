"""Make the audit log's partitions of the coming months, and renew what changed since."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django import forms
from psycopg.sql import SQL, Identifier, Literal

from audit import log_tables, plans
from audit.log_tables import SCHEMA
from audit.operations.watch_table import rows_of
from audit.registry import installed
from audit.tables import Rows
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.runner import Work
from dbadmin.steps import Call, Sql, Step, Transaction

PARENTS = """
select c.relname as name from pg_catalog.pg_class c
where c.relnamespace = 'dbadmin_audit'::regnamespace and c.relkind = 'p' order by 1
"""
HAVING = """
select c.relname as name from pg_catalog.pg_class c
where c.relnamespace = 'dbadmin_audit'::regnamespace and c.relispartition
"""


class EnsurePartitions(Operation):
    """Make the audit log's partitions for this month and the coming ones.

    Put it on a daily schedule. Rows that went to a catch-all partition meanwhile are moved to where
        they belong.
    """

    title = "Ensure partitions of the audit log"
    risk = Risk.LOADS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        months = forms.IntegerField(
            initial=2, min_value=1, max_value=24, required=False, label="Months ahead"
        )

    def target(self) -> str:
        return SCHEMA

    def plan(self) -> Sequence[Step]:
        """One transaction per missing partition; those of a table that has strays move them."""
        rows, database = rows_of(self), self.params.get("database") or ""
        if not installed(rows).version:
            raise Refused("No table is watched here yet.")
        having = {row.name for row in rows(HAVING)}
        own = plans.owned(rows)
        first = rows(plans.ABILITIES)[0].today.replace(day=1)
        steps: list[Step] = []
        for parent in (row.name for row in rows(PARENTS)):
            for ahead in range((self.params.get("months") or 2) + 1):
                day = log_tables.month(first, ahead)
                if f"{parent}_{day:%Y_%m}" in having:
                    continue
                statements = plans.as_owner(own, partition_statements(rows, parent, day))
                steps.append(Transaction(statements, database=database))
        return steps or [Call(nothing_to_do, says="All partitions are there: nothing is to be done")]


def nothing_to_do(work: Work) -> None:
    """On most days: a schedule that found nothing missing has succeeded."""
    work.log("All partitions are there.")


def partition_statements(rows: Rows, parent: str, day: dt.date) -> list[Sql]:
    """A month's partition; rows that wait in the catch-all go into it in the same transaction."""
    default, whole = Identifier(SCHEMA, f"{parent}_default"), Identifier(SCHEMA, parent)
    low = Literal(f"{day.isoformat()} 00:00:00+00")
    high = Literal(f"{log_tables.month(day, 1).isoformat()} 00:00:00+00")
    within = SQL("at >= {} AND at < {}").format(low, high)
    strays = rows(SQL("select exists (select from {} where {}) as found").format(default, within))[0].found
    create = Sql(log_tables.create_partition(parent, day), settings={"lock_timeout": "3s"})
    if not strays:
        return [create]
    return [
        Sql(
            SQL("ALTER TABLE {} DETACH PARTITION {}").format(whole, default), settings={"lock_timeout": "3s"}
        ),
        create,
        Sql(SQL("INSERT INTO {} SELECT * FROM {} WHERE {}").format(whole, default, within)),
        Sql(SQL("DELETE FROM {} WHERE {}").format(default, within)),
        Sql(SQL("ALTER TABLE {} ATTACH PARTITION {} DEFAULT").format(whole, default)),
    ]
