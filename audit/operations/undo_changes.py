"""Take recorded changes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms

from audit import search, undo, walk
from audit.asking import moment
from audit.canonical import SETTINGS
from audit.changes import statement_changes
from audit.operations.watch_table import rows_of
from audit.registry import installed
from audit.tables import Rows
from dbadmin.addresses import whole
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.runner import Work
from dbadmin.steps import Step

#: Conflicts that are told one by one.
MOST_TOLD = 20
#: Keys that change places do it one after the other.
LATER = "SET CONSTRAINTS ALL DEFERRED"
FOLLOWED = "{} of {} changes were followed by others. Undo those first, or leave the rows out:"


@dataclass(frozen=True)
class TakeBack:
    """All reversals in one transaction; one that does not change exactly one row ends it."""

    reversals: list[undo.Reversal]
    database: str
    leave_conflicts: bool
    misfits: tuple[str, ...] = ()
    left_out: int = 0
    reverse: str = ""

    def __str__(self) -> str:
        notes = [f"-- Conflict, left out: {what}" for what in self.misfits]
        return "\n".join(
            ["BEGIN;", f"{LATER};", *notes, f"{undo.statement_text(self.reversals)};", "COMMIT;"]
        )

    def run(self, work: Work) -> None:
        """Newest first."""
        done, left, lost = 0, self.left_out, set[Any]()
        with work.connect(self.database or None) as connection, connection.transaction():
            connection.execute(SETTINGS)
            connection.execute(LATER)
            for one in self.reversals:
                count = 0 if one.rows & lost else connection.execute(one.statement).rowcount
                if count == 1:
                    done += 1
                elif self.leave_conflicts and count == 0:
                    left += 1
                    lost |= one.rows  # nor its older changes, which would bring back another row
                    work.log(f"Left out: {one.what} was followed by another change.")
                else:
                    raise Refused(f"Nothing was taken back: {one.what} was followed by another change.")
        changes = "1 change" if done == 1 else f"{done} changes"
        work.say(f"Took back {changes}{f', left {left} out' if left else ''}.")


class UndoChanges(Operation):
    """Take back what a statement, one of its rows, a transaction or a person's afternoon changed, if nobody did since.

    The undo is a change like any other: it is recorded, and can be taken back.
    """

    title = "Undo changes"
    risk = Risk.DESTROYS

    class Form(forms.Form):
        database = forms.CharField(required=False, help_text="The server's own database when empty.")
        statement = forms.IntegerField(required=False, min_value=1, help_text="The number in the audit log.")
        row = forms.IntegerField(
            required=False, min_value=1, help_text="One row of the statement; all when empty."
        )
        transaction = forms.CharField(
            required=False, help_text="Instead of a statement: a whole transaction."
        )
        person = forms.CharField(required=False, help_text="Instead of both: everything this person changed,")
        table = forms.CharField(required=False, help_text="or everything that changed in this table,")
        since = forms.CharField(required=False, help_text="from this moment: 2026-03-01T13:00,")
        until = forms.CharField(required=False, help_text="to this one; now when empty.")
        leave_conflicts = forms.BooleanField(
            required=False, label="Leave out rows that were changed again since"
        )

    def target(self) -> str:
        if self.params.get("transaction"):
            return f"transaction {self.params['transaction']}"
        if self.is_span():
            words = ("person", "by"), ("table", "in"), ("since", "from"), ("until", "to")
            said = [f"{word} {self.params[name]}" for name, word in words if self.params.get(name)]
            return f"changes {' '.join(said)}"
        row = f" row {self.params['row']}" if self.params.get("row") else ""
        return f"statement {self.params.get('statement')}{row}"

    def plan(self) -> Sequence[Step]:
        """The reverse statements, newest first, in one transaction."""
        rows = rows_of(self)
        state = installed(rows)
        found = [
            change
            for statement in self.statements(rows, state)
            for change in self.changes_of(rows, state, statement)
        ]
        if not found:
            raise Refused("There is no row to take back: truncates and definitions keep none.")
        if len(found) > undo.MOST:
            raise Refused(f"{len(found)} rows are more than the {undo.MOST} that one undo takes back.")
        try:
            reversals = undo.reversals(rows, state.watched, found)
        except undo.CannotUndo as reason:
            raise Refused(str(reason)) from reason
        leave = bool(self.params.get("leave_conflicts"))
        misfits = undo.conflicts(rows, reversals)
        told = [f"{one.what}: {undo.later(rows, state, one)}" for one in misfits.told[:MOST_TOLD]]
        if beyond := len(misfits.told) - len(told):
            told.append(f"and {beyond} more")
        if told and not leave:
            raise Refused("\n".join([FOLLOWED.format(len(misfits.told), len(reversals)), *told]))
        if not misfits.kept:
            raise Refused("\n".join(["Each of them was followed by another change:", *told]))
        left_out = len(reversals) - len(misfits.kept)
        return [TakeBack(misfits.kept, self.params.get("database") or "", leave, tuple(told), left_out)]

    def is_span(self) -> bool:
        """Is it about a stretch of time?"""
        return bool(self.params.get("person") or self.params.get("table")) and not self.params.get(
            "statement"
        )

    def span(self, rows: Rows, state: Any) -> list[Any]:
        """What a person changed, or what changed in a table, from one moment to another."""
        moments = {name: moment(str(self.params.get(name) or "")) for name in ("since", "until")}
        for name, found in moments.items():
            if self.params.get(name) and found is None:
                raise Refused(f"{self.params[name]} is no moment. Write 2026-03-01T13:00.", field=name)
        if moments["since"] is None:
            raise Refused("Say from which moment on.", field="since")
        texts = {name: str(self.params.get(name) or "") for name in ("person", "table")}
        wanted = search.Filter(**texts, since=moments["since"], until=moments["until"])
        try:
            page = walk.find(rows, state, wanted, limit=undo.MOST, seconds=None)
        except search.BadFilter as reason:
            raise Refused(str(reason), field=reason.field) from reason
        if page.older is not None:
            raise Refused(f"These are more than the {undo.MOST} statements that one undo takes back.")
        return page.statements

    def statements(self, rows: Rows, state: Any) -> list[Any]:
        """What is asked to be taken back."""
        if self.is_span() and not self.params.get("transaction"):
            return self.span(rows, state)
        transaction = str(self.params.get("transaction") or "")
        if transaction:
            if whole(transaction) is None:
                raise Refused(f"{transaction} is no transaction number.", field="transaction")
            return search.transaction(rows, transaction, undo.MOST + 1)
        if not self.params.get("statement"):
            raise Refused(
                "Say which statement, which transaction, or whose changes since when.", field="statement"
            )
        found = search.statement(rows, self.params["statement"])
        if found is None:
            raise Refused(f"The log has no statement {self.params['statement']}.", field="statement")
        return [found]

    def changes_of(self, rows: Rows, state: Any, statement: Any) -> list[search.Change]:
        """Its rows, or the one that was asked for; unchanged ones need no undo."""
        row = self.params.get("row")
        first, limit = (row, 1) if row else (1, undo.MOST + 1)
        return [one for one in statement_changes(rows, state, statement, first, limit) if one.changed]
