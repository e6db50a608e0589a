"""Record every change of a table from now on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
from django import forms

from audit import plans
from audit.capture import Choices
from audit.cost import Cost, NotMeasured, measure
from audit.overview import RULES, chosen_before, unusual
from audit.registry import Installed, Watched, installed, is_current, known_as, next_numbers, outdated
from audit.tables import Described, Rows, describe
from dbadmin.connections import connect, why
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.readiness import Check
from dbadmin.steps import Step

ON_FAILURE = [
    ("fail", "the write fails: no change without a record"),
    ("continue", "the write passes: a gap is recorded"),
]
LEVELS = [
    ("statement", "each statement: one line of the log, however many rows"),
    ("row", "each row: for tables whose statements change one row"),
]
LACKING = """
select pg_catalog.format('GRANT %%I TO %%I;', pg_catalog.pg_get_userbyid(o.owner), current_user) as remedy
from (
    select nspowner as owner, 'MEMBER' as needed from pg_catalog.pg_namespace where nspname = 'dbadmin_audit'
    union select relowner, 'USAGE' from pg_catalog.pg_class where oid = any(%s::oid[])
) o
where not pg_catalog.pg_has_role(o.owner, o.needed) group by o.owner order by 1
"""


def column_names(text: str) -> list[str]:
    """`password, "odd, name"` -> names."""
    import csv

    return [
        name.strip() for line in csv.reader([text], skipinitialspace=True) for name in line if name.strip()
    ]


class ColumnsField(forms.CharField):
    """Names of columns, separated by commas."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)


def rows_of(operation: Operation) -> Rows:
    """Questions to the operation's database."""
    database = operation.params.get("database") or None

    def rows(query: Any, params: Any = None) -> Sequence[Any]:
        return operation.server.rows(query, params, database=database)

    return rows


class WatchTable(Operation):
    """Record every change of a table, in the transaction that makes it: who, when, from where, before, after.

    Run it again to change the choices, or to take in columns and partitions that came since.
    """

    title = "Watch table"
    risk = Risk.BLOCKS

    class Form(forms.Form):
        def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
            """A table that is watched already is asked about with its choices of before."""
            super().__init__(*args, **kwargs)
            for name, value in choices_before(server, self.initial).items() if server else ():
                self.fields[name].initial = value

        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        schema = forms.CharField(initial="public")
        table = forms.CharField()
        excluded = ColumnsField(
            label="Leave out columns", help_text="Not recorded at all. Names, separated by commas."
        )
        hashed = ColumnsField(
            label="Hash columns", help_text="Equal values give equal digests; the value is not kept."
        )
        masked = ColumnsField(label="Mask columns", help_text="Only that it changed is kept.")
        keep_rules = forms.BooleanField(
            required=False,
            initial=True,
            label="Keep the rules of before",
            help_text="For a table that is watched already.",
        )
        query_text = forms.BooleanField(
            required=False,
            label="Keep the statement's text",
            help_text="It may hold values that you leave out above.",
        )
        skip_unchanged = forms.BooleanField(
            required=False, initial=True, label="Leave out updates of one row that change nothing"
        )
        on_failure = forms.ChoiceField(
            label="When a change cannot be recorded",
            choices=ON_FAILURE,
            initial="fail",
            required=False,
        )
        level = forms.ChoiceField(
            label="Record for",
            choices=LEVELS,
            initial="statement",
            required=False,
            help_text="For each row takes less than half of a writer's time where a statement changes one row, and more"
            " where it changes many, which then are as many lines of the log. What was written is listed behind the"
            " writers: by the next seal, or when somebody looks.",
        )
        user_setting = forms.CharField(
            initial="app.current_user_id", required=False, label="Setting that names the user"
        )

    def target(self) -> str:
        return f"{self.params['schema']}.{self.params['table']}"

    def waits(self) -> str:
        return f"Writers to {self.target()} wait milliseconds for the new triggers; given up after 3 seconds."

    def result_url(self, run: Any) -> str:
        database = self.params.get("database") or ""
        query = f"?db={database}" if database else ""
        return f"/servers/{self.server.name}/audit/capture/{query}"

    def choices(self) -> Choices:
        """As the form says; what is not said has its default."""
        return Choices(
            query_text=bool(self.params.get("query_text")),
            skip_unchanged=bool(self.params.get("skip_unchanged", True)),
            on_failure=self.params.get("on_failure") or "fail",
            user_setting=self.params.get("user_setting") or "app.current_user_id",
            level=self.params.get("level") or "statement",
        )

    def rules(self, table: Described) -> dict[str, str]:
        """Column -> rule, refused for columns that are not there or are needed to find rows."""
        rules: dict[str, str] = {}
        for rule in RULES:
            for name in column_names(self.params.get(rule) or ""):
                if table.column(name) is None:
                    raise Refused(f"{table} has no column {name}.", field=rule)
                if name in table.key:
                    raise Refused(
                        f"{name} is part of the key of {table}: without it no row could be found.", field=rule
                    )
                rules[name] = rule
        return rules

    def plan(self) -> Sequence[Step]:
        """Install what is missing, then watch, or renew what is watched already."""
        rows, database = rows_of(self), self.params.get("database") or ""
        refuse_without_rights(rows)
        state = installed(rows)
        table = self.described(rows, state)
        refuse_without_rights(rows, [table.relid])
        if self.choices().level == "row":
            refuse_for_rows(rows, table)
        watched_id, shape_id = next_numbers(rows, state)
        known = known_as(rows, state, table.relid, table.schema, table.name)
        choices = self.choices()
        install = plans.install_steps(rows, state, database)
        if known and known.until is None:
            self.refuse_if_nothing_changes(rows, table, known, choices, install)
            return [*install, *plans.renew_steps(rows, known, shape_id, table, choices, database)]
        return [*install, *plans.watch_steps(rows, watched_id, shape_id, table, choices, database)]

    def takes_back(self, steps: Sequence[Step]) -> bool:
        return bool(steps[-1].reverse)

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        """A table that was not watched before is not watched again; choices that were changed are not kept."""
        began = bool(run.reverse and run.reverse[-1])
        return ("unwatch_table", place_of(run)) if began else ("", {})

    def look(self) -> Sequence[Check]:
        """What it costs the table's writers, measured on a few of its rows; also of a table that is watched already."""
        title, rows = "Cost, measured on a copy that was rolled back", rows_of(self)
        others: list[Check] = []
        try:
            state = installed(rows)
            table = self.described(rows, state)
            known = known_as(rows, state, table.relid, table.schema, table.name)
            others = other_choices(known, self.choices()) if known and known.until is None else []
            with connect(self.server, "operate", self.params.get("database") or None) as connection:
                cost = measure(connection, table, self.choices())
                checks = [*others, Check("ok", title, cost.said())]
                return [*checks, *self.for_rows(rows, connection, table, cost)]
        except (NotMeasured, Refused) as reason:
            return [*others, Check("unknown", title, str(reason))]
        except psycopg.Error as error:
            return [*others, Check("unknown", title, f"It could not be measured: {why(error, '')}")]

    def for_rows(
        self, rows: Rows, connection: psycopg.Connection[Any], table: Described, cost: Cost
    ) -> list[Check]:
        """What the other level would cost, where it can be chosen."""
        other = "row" if self.choices().level == "statement" else "statement"
        try:
            if other == "row":
                refuse_for_rows(rows, table)
            instead = measure(connection, table, replace(self.choices(), level=other))
        except (NotMeasured, Refused):
            return []
        return [Check("ok", f"Recorded for each {other} instead", instead.compared(cost))]

    def described(self, rows: Rows, state: Installed) -> Described:
        """The table with the rules asked for and those of before, or a refusal."""
        schema, name = self.params["schema"], self.params["table"]
        table = describe(rows, schema, name)
        if table is None:
            raise Refused(f"There is no table {self.target()} on {self.server}.", field="table")
        refuse_unwatchable(table)
        known = known_as(rows, state, table.relid, schema, name)
        before = rules_before(known, table) if known and self.params.get("keep_rules", True) else {}
        return describe(rows, schema, name, before | self.rules(table)) or table

    def refuse_if_nothing_changes(
        self, rows: Rows, table: Described, known: Any, choices: Choices, install: Sequence[Step]
    ) -> None:
        """Watched, the same name, columns and choices, no partition without triggers."""
        shape = known.shapes[-1] if known.shapes else None
        same_shape = (
            shape and shape.signature == table.signature and plans.rules_of(shape) == plans.rules(table)
        )
        same_choices = chosen_before(known) == choices
        bare = plans.missing_triggers(rows, known.id, table, choices.level)
        is_outdated = known in outdated(rows, installed(rows))
        same_name = (known.schema, known.name) == (table.schema, table.name)
        if same_name and same_shape and same_choices and not bare and not install and not is_outdated:
            raise Refused(f"{table} is watched already, with these choices.")


def choices_before(server: Server, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is chosen for the watched table that is named; nothing when it is none, or cannot be asked."""
    rows = partial(server.rows, database=given.get("database") or None)
    try:
        table = installed(rows).table(given.get("schema") or "", given.get("table") or "")
    except (psycopg.Error, OSError):
        return {}
    return vars(chosen_before(table)) if table else {}


def other_choices(known: Watched, now: Choices) -> list[Check]:
    """That a table which is watched already would be recorded in another way."""
    before = chosen_before(known)
    if before == now:
        return []
    was, comes = ("; ".join(unusual(each)) or "as usual" for each in (before, now))
    return [Check("warning", "Chosen otherwise before", f"Before: {was}. From now on: {comes}.")]


def place_of(run: Run) -> dict[str, Any]:
    """Where the table of a run is, as parameters of what takes the run back."""
    return {name: run.params.get(name) or "" for name in ("database", "schema", "table")}


def rules_before(known: Watched, table: Described) -> dict[str, str]:
    """The rules of a watched table by today's names: by column number in the same table, else by the name it had."""
    if not known.shapes:
        return {}
    if known.relid == table.relid:
        numbers = known.choices.get("rules", {})
        return {c.name: numbers[str(c.attnum)] for c in table.columns if str(c.attnum) in numbers}
    names = {column.name: column.rule for column in known.shapes[-1].columns if column.rule}
    return {name: rule for name, rule in names.items() if table.column(name)}


def refuse_without_rights(rows: Rows, relids: Iterable[int] = ()) -> None:
    """Whoever makes objects of the log does so as its owner, and triggers as the owner of their table. A superuser is
    all of them; of others it is better to hear before anything is begun."""
    lacking = [row.remedy for row in rows(LACKING, [list(relids)])]
    if lacking:
        raise Refused(
            f"The role of the operate DSN may not do this yet. As an administrator run: {' '.join(lacking)}"
        )


def refuse_unwatchable(table: Described) -> None:
    """What no statement trigger with transition tables can watch."""
    if table.schema == "dbadmin_audit":
        raise Refused(f"{table} is the audit log itself.", field="table")
    if table.schema in {"pg_catalog", "information_schema"}:
        raise Refused(f"{table} belongs to the system.", field="table")
    if table.kind not in {"r", "p"}:
        kinds = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence"}
        what = kinds.get(table.kind, "no table")
        raise Refused(f"{table} is {what}. Watch the tables that its rows come from.", field="table")
    if table.persistence == "t":
        raise Refused(f"{table} is temporary: it ends with its session.", field="table")
    if table.is_partition:
        raise Refused(
            f"{table} is a partition. Watch the table that it belongs to: its partitions come along.",
            field="table",
        )
    if table.foreign:
        raise Refused(
            f"{table} has foreign tables below it: {', '.join(table.foreign)}. PostgreSQL does not tell triggers what "
            f"is written there, and refuses it: such writes through {table} would fail. Detach them first, and watch "
            "what they lead to on its own server.",
            field="table",
        )
    if not table.columns:
        raise Refused(f"{table} has no columns.", field="table")
    if len(table.columns) > 1500:
        raise Refused(f"{table} has {len(table.columns)} columns; 1500 can be watched.", field="table")


FOR_ROWS = """
select (select i.inhrelid::regclass::text from pg_catalog.pg_inherits i where i.inhparent = t.oid order by 1 limit 1)
           as heir,
       (select i.inhparent::regclass::text from pg_catalog.pg_inherits i where i.inhrelid = t.oid order by 1 limit 1)
           as parent,
       (select x.indexrelid::regclass::text from pg_catalog.pg_index x where x.indrelid = t.oid and x.indisunique
        and not x.indimmediate order by 1 limit 1) as late
from (select %s::oid as oid) t
"""


def refuse_for_rows(rows: Rows, table: Described) -> None:
    """What triggers for rows would not see, or twice, or in an order that the log cannot tell.

    PostgreSQL makes those of a partitioned table again for each partition, and fires those of a table for no row of
    another that inherits from it. Where keys may be the same for a while, rows can exchange them.
    """
    found = rows(FOR_ROWS, [table.relid])[0]
    why = ""
    if table.kind == "p":
        why = f"{table} is partitioned"
    elif found.heir:
        why = f"{found.heir} inherits from {table}"
    elif found.parent:
        why = f"{table} inherits from {found.parent}"
    elif found.late:
        why = f"{found.late} of {table} is deferrable"
    if why:
        raise Refused(f"{why}: it can be recorded for each statement only.", field="level")


__all__ = ["WatchTable", "is_current"]
