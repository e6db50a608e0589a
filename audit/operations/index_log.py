"""Bring what searches rely on up to date with the audit log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from django import forms
from django.conf import settings
from psycopg.sql import SQL, Composable, Identifier

from audit import activity, fresh, indexing, mapping, plans, text_copies, text_index
from audit.indexing import Done
from audit.log_tables import FRESH, SCHEMA, is_there
from audit.operations.watch_table import rows_of
from audit.registry import Installed, installed
from audit.search import SKEW
from audit.tables import Rows
from dbadmin.connections import named_rows
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.runner import Work
from dbadmin.steps import Call, Sql, Step, Transaction
from dbadmin.units import several

#: What an older dbadmin's script did not make yet.
TABLES = """
select to_regclass('dbadmin_audit.activity_table') is not null
   and to_regclass('dbadmin_audit.person_days') is not null
   and to_regclass('dbadmin_audit.mapped') is not null as is_there
"""
#: Where an extension goes.
ROOM = """
select coalesce((select 'public' from pg_catalog.pg_namespace where nspname = 'public'
    and pg_catalog.has_schema_privilege(oid, 'CREATE')), 'dbadmin_audit') as name
"""
#: All that is made from the log, but indexes.
PREPARED = (
    "summary",
    "activity",
    "person_days",
    "touched",
    "stretch",
    "mapped",
    "open_text",
    "open_text_reached",
)
FORGET = SQL("TRUNCATE {}")
#: Nobody writes to a month that is over; should somebody, we give way.
LOCK = {"lock_timeout": "3s", "maintenance_work_mem": "128MB"}


class IndexLog(Operation):
    """Bring what searches rely on up to date: where tables, persons, operations and changed columns are found, sums by
    person and day, texts.

    Put it on a schedule of a few minutes. Writers pay nothing for it: it works behind the end of the log. Months that
    are over get indexes of their own; the texts of the month that is still written to are copied into a table beside,
    which is not logged, takes about as much as a third of that month's log, and is emptied when the month is over.
    """

    title = "Index the audit log"
    risk = Risk.LOADS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        texts = forms.BooleanField(
            required=False,
            initial=True,
            label="Index the texts",
            help_text="Needs the extension pg_trgm; without it texts are searched row by row.",
        )
        create_extension = forms.BooleanField(
            required=False,
            label="Create pg_trgm where it is missing",
            help_text="In the schema public; where that takes nothing, in the log's own.",
        )
        months = forms.IntegerField(
            required=False, initial=12, min_value=1, max_value=600, label="Months whose texts are indexed"
        )
        anew = forms.BooleanField(
            required=False,
            label="Throw away and fill anew",
            help_text="Where a verification names the map or the sums: they are made again from the log.",
        )

    def target(self) -> str:
        return f"search of {self.params.get('database') or self.server}"

    def plan(self) -> Sequence[Step]:
        """Tables for the sums if they are missing, the sums, then one index for each partition."""
        rows, database = rows_of(self), self.params.get("database") or ""
        state = installed(rows)
        if not state.version:
            raise Refused("No table is watched here yet.")
        own = plans.owned(rows)
        steps: list[Step] = []
        if not rows(TABLES)[0].is_there:
            steps.append(
                Transaction(
                    plans.as_owner(own, [Sql(plans.script("search.sql"))]), database=database,
                    says="Make the tables that hold sums and maps",
                )
            )  # fmt: skip
        if self.params.get("anew") and (there := [name for name in PREPARED if is_there(rows, name)]):
            inside = plans.as_owner(own, [Sql(FORGET.format(names(there)))])
            says = "Throw away the map, the sums and the copied texts"
            steps.append(Transaction(inside, database=database, says=says))
        if is_there(rows, FRESH):
            steps.append(Call(self.list_fresh, says="List what triggers for rows wrote down"))
        steps += [
            Call(self.add_to_map, says="Add where tables, persons and operations are found to the map"),
            Call(self.add_up, says="Add every closed transaction since the last time to the sums"),
        ]
        known = text_index.extension(rows)
        may_create = bool(self.params.get("create_extension")) and known.is_available
        if not self.params.get("texts", True) or not (known.schema or may_create):
            return steps
        schema = known.schema or rows(ROOM)[0].name
        if not known.schema:
            create = SQL("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA {}").format(Identifier(schema))
            steps.append(Sql(create, database=database))
        steps += self.text_steps(rows, state, own, database, schema)
        if not is_there(rows, "open_text_reached"):
            inside = plans.as_owner(own, [Sql(text_copies.create(schema))])
            says = "Make the table for texts of the month that is still written to"
            steps.append(Transaction(inside, database=database, says=says))
        says = "Copy the texts of every closed transaction of the month that is still written to"
        return [*steps, Call(self.copy_texts, says=says)]

    def text_steps(self, rows: Rows, state: Installed, own: bool, database: str, schema: str) -> list[Step]:
        """One transaction for each partition of a month that is over."""
        steps: list[Step] = []
        plain = {row.name for row in rows(text_index.PLAIN_TYPES)}
        for leaf in self.recent(text_index.closed_leaves(rows, rows(plans.ABILITIES)[0].today)):
            found = text_index.expression(state, leaf, plain)
            if found is None:
                continue
            create = text_index.create_index(leaf, *found, schema)
            inside = [Sql(text_index.drop_broken(leaf), settings=LOCK), Sql(create), Sql(analyze(leaf))]
            steps.append(
                Transaction(plans.as_owner(own, inside), database=database, says=f"Index the texts of {leaf}")
            )
        return steps

    def recent(self, leaves: list[str]) -> list[str]:
        """Those of the newest months."""
        most = self.params.get("months") or 12
        kept = sorted({leaf[-7:] for leaf in leaves}, reverse=True)[:most]
        return [leaf for leaf in leaves if leaf[-7:] in kept]

    def list_fresh(self, work: Work) -> None:
        """From where they wrote it to where the log keeps all."""
        with work.connect(self.params.get("database") or None) as connection:
            work.log(f"Listed {fresh.list_all(connection)} changes.")

    def add_to_map(self, work: Work) -> None:
        """All that can be: statements of transactions that are still open wait for the next time."""
        self.batches(work, lambda connection, _: mapping.map_next(connection))

    def add_up(self, work: Work) -> None:
        """Batch after batch, each a transaction of its own."""
        done = self.batches(
            work, lambda connection, state: indexing.sum_next(connection, state, settings.TIME_ZONE)
        )
        if self.params.get("texts", True) and not text_index.extension(rows_of(self)).schema:
            work.log("Texts are not indexed: the extension pg_trgm is not there.")
        work.log(f"Added {several(done, 'statement')} to the sums.")
        work.result(statements=done)

    def copy_texts(self, work: Work) -> None:
        """From the beginning of the month on: those before have their indexes."""
        rows = rows_of(self)
        first = dt.datetime.combine(rows(plans.ABILITIES)[0].today.replace(day=1), dt.time(), dt.UTC)
        begin = rows(activity.FIRST, [first - SKEW])[0].id or 0
        done = self.batches(work, lambda connection, state: text_copies.fill_next(connection, state, begin))
        work.log(f"Copied the texts of {several(done, 'statement')}.")

    def batches(self, work: Work, batch: Callable[[psycopg.Connection[Any], Installed], Done]) -> int:
        """Batch after batch, each a transaction of its own, by the owner of the log; how many statements."""
        done = 0
        with work.connect(self.params.get("database") or None) as connection:
            state = installed(lambda query, params=None: named_rows(connection.execute(query, params)))
            if plans.owned(lambda query, params=None: named_rows(connection.execute(query, params))):
                connection.execute("set role dbadmin_audit")
            more = True
            while more:
                one = batch(connection, state)
                done += one.statements
                more = one.more and one.statements > 0
                work.progress(done, None, "rows")
                work.stop_if_cancelled()
        return done


def names(tables: Sequence[str]) -> Composable:
    """Tables of the log, for a list."""
    return SQL(", ").join([Identifier(SCHEMA, each) for each in tables])


def analyze(leaf: str) -> SQL:
    """How common texts are: the planner has it from the index's own statistics."""
    return SQL(f"ANALYZE dbadmin_audit.{leaf}")
