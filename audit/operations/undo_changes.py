"""Take recorded changes back."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django import forms
from psycopg.errors import LockNotAvailable, QueryCanceled, RaiseException
from psycopg.sql import SQL, Composed

from audit import fresh, search, undo, undo_sets, walk
from audit.asking import moment
from audit.canonical import settle
from audit.changes import statement_changes
from audit.operations.watch_table import rows_of
from audit.registry import Installed, installed, installed_version
from audit.tables import Rows
from audit.undo_sets import rows_in
from dbadmin.addresses import whole
from dbadmin.connections import session, why
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.runner import Work
from dbadmin.steps import Step

#: Conflicts that are told one by one; rows of a set that are shown as they would be taken back alone.
MOST_TOLD, SHOWN = 20, 3
#: Values are compared as the log writes them, nobody is waited for long, and keys that change places do it one after
#: the other.
BEFORE = (
    """SET LOCAL "TimeZone" = 'UTC'""",
    """SET LOCAL "DateStyle" = 'ISO, YMD'""",
    """SET LOCAL "IntervalStyle" = 'postgres'""",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL lock_timeout = '10s'",
    "SET CONSTRAINTS ALL DEFERRED",
)
FOLLOWED = "{:,} of {:,} changes were followed by others. Undo those first, or leave the rows out:"
LOCKED = (
    "Nothing was taken back: another session holds a lock on a row or a table of it for more than 10 s. Look who"
    " blocks, and start this again."
)
UNLISTED = "Changes of tables that are recorded for each row are not listed yet, and could not be: {}"
NOTHING = "There is no row to take back: truncates and definitions keep none."
#: Seconds that the questions of a plan over many rows may take together: a page waits for them, and a proxy before it.
PATIENCE = 55
TOO_LONG = (
    "Looking at so many rows took longer than {} seconds and was given up; nothing was changed. Take less back at once:"
    " one statement, or a shorter time."
)


@dataclass(frozen=True)
class TakeBack(ABC):
    """All of it in one transaction, or nothing."""

    database: str
    misfits: tuple[str, ...] = ()
    left_out: int = 0
    reverse: str = ""

    def __str__(self) -> str:
        notes = [commented(f"Conflict, left out: {what}") for what in self.misfits]
        return "\n".join(["BEGIN;", *(f"{each};" for each in BEFORE), *notes, self.text(), "COMMIT;"])

    @abstractmethod
    def text(self) -> str:
        """The statements, to be read and to be run by psql."""

    @abstractmethod
    def perform(self, work: Work, connection: psycopg.Connection[Any]) -> tuple[int, int]:
        """Take back; how many changes, and how many were left out."""

    def run(self, work: Work) -> None:
        """Newest first."""
        with work.connect(self.database or None, own_path=False) as connection:
            try:
                with connection.transaction():
                    for each in BEFORE:
                        connection.execute(each)
                    done, left = self.perform(work, connection)
                    work.committing(connection)
            except LockNotAvailable as error:
                raise Refused(LOCKED) from error
        changes = "1 change" if done == 1 else f"{done:,} changes"
        work.say(f"Took back {changes}{f', left {left:,} out' if left else ''}.")


@dataclass(frozen=True)
class OneByOne(TakeBack):
    """A statement for each row; one that does not change exactly one row ends it."""

    reversals: Sequence[undo.Reversal] = ()
    leave_conflicts: bool = False

    def text(self) -> str:
        """They hold the values."""
        return f"{undo.statement_text(self.reversals)};"

    def perform(self, work: Work, connection: psycopg.Connection[Any]) -> tuple[int, int]:
        """Where a row does not fit, nor do its older changes, which would bring back another row."""
        done, left, lost = 0, self.left_out, set[Any]()
        for one in self.reversals:
            count = 0 if one.rows & lost else done_by(connection, one)
            if count == 1:
                done += 1
            elif self.leave_conflicts and count == 0:
                left += 1
                lost |= one.rows
                work.log(f"Left out: {one.what} was followed by another change.")
            else:
                raise Refused(f"Nothing was taken back: {one.what} was followed by another change.")
        return done, left


@dataclass(frozen=True)
class InSets(TakeBack):
    """A statement for each of the log's; when fewer rows fit than were judged to, it ends."""

    statements: Sequence[Composed] = ()
    changes: int = 0
    shown: str = ""

    def text(self) -> str:
        """They read the values from the log; the first rows tell what that comes to."""
        head = (
            f"{self.changes:,} changes. The first of them, as they would be taken back alone:\n{self.shown}"
        )
        return "\n".join([commented(head), *(f"{each.as_string(None)};" for each in self.statements)])

    def perform(self, work: Work, connection: psycopg.Connection[Any]) -> tuple[int, int]:
        """The server counts."""
        try:
            for each in self.statements:
                connection.execute(each)
        except RaiseException as error:
            raise Refused(error.diag.message_primary or str(error)) from error
        return self.changes, self.left_out


def done_by(connection: psycopg.Connection[Any], one: undo.Reversal) -> int:
    """Rows that its last statement changed."""
    return [connection.execute(each).rowcount for each in one.statements][-1]


def commented(text: str) -> str:
    """No line of it is run, whatever a value holds."""
    return "\n".join(f"-- {line}" for line in text.splitlines())


class UndoChanges(Operation):
    """Take back what a statement, one of its rows, a transaction or a person's afternoon changed, if nobody did since.

    The undo is a change like any other: it is recorded, and can be taken back.
    """

    title = "Undo changes"
    risk = Risk.DESTROYS
    reads = "audit.view"

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

    def list_fresh(self) -> None:
        """What is taken back must be in the log, and what followed it."""
        try:
            fresh.list_for_reader(self.server, self.params.get("database") or None)
        except psycopg.Error as error:
            raise Refused(UNLISTED.format(why(error, ""))) from error

    def plan(self) -> Sequence[Step]:
        """The reverse statements, newest first, in one transaction."""
        now = rows_of(self)
        if installed_version(now) and fresh.waiting(now):
            self.list_fresh()
        with self.patient_rows() as rows:
            state = installed(rows)
            found = self.statements(rows, state)
            try:
                if found is None or (not self.params.get("row") and sum(map(rows_in, found)) > undo.MOST):
                    return [self.in_sets(rows, state, self.wanted(rows, state, found))]
                return [self.one_by_one(rows, state, found)]
            except undo.CannotUndo as reason:
                raise Refused(str(reason)) from reason

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        """The log holds what a run did as a transaction of its own, to be taken back as any other."""
        _, number = run.facts.get("committing") or (None, None)
        return ("undo_changes", {"database": self.database, "transaction": number}) if number else ("", {})

    def one_by_one(self, rows: Rows, state: Installed, statements: list[Any]) -> OneByOne:
        """A statement for each row."""
        found = [change for statement in statements for change in self.changes_of(rows, state, statement)]
        if not found:
            raise Refused(NOTHING)
        reversals = undo.reversals(rows, state, found)
        misfits = undo.conflicts(rows, reversals)
        told = [conflict(rows, state, one) for one in misfits.told[:MOST_TOLD]]
        self.refuse(told, len(misfits.told), len(reversals), len(misfits.kept))
        left_out = len(reversals) - len(misfits.kept)
        return OneByOne(
            self.database, beyond(told, len(misfits.told)), left_out,
            reversals=misfits.kept, leave_conflicts=self.leaves,
        )  # fmt: skip

    def in_sets(self, rows: Rows, state: Installed, wanted: undo_sets.Wanted) -> InSets:
        """A statement for each of the log's."""
        parts = undo_sets.parts_of(rows, state, wanted)
        if not parts:
            raise Refused(NOTHING)
        judged = undo_sets.judge(rows, parts)
        told = [
            conflict(rows, state, one)
            for number, n in judged.first
            for one in alone(rows, state, number, n, 1)
        ]
        fitting = judged.changes - judged.left_out
        self.refuse(told, judged.misfits, judged.changes, fitting)
        shown = undo.statement_text(alone(rows, state, max(part.row.newest for part in parts), 1, SHOWN))
        return InSets(
            self.database, beyond(told, judged.misfits), judged.left_out,
            statements=undo_sets.statements(parts, fitting, self.leaves), changes=fitting, shown=shown,
        )  # fmt: skip

    def refuse(self, told: list[str], misfits: int, changes: int, fitting: int) -> None:
        """Where there is nothing, or something in the way that is not to be left out."""
        if not changes:
            raise Refused(NOTHING)
        if misfits and not self.leaves:
            raise Refused("\n".join([FOLLOWED.format(misfits, changes), *beyond(told, misfits)]))
        if not fitting:
            raise Refused("\n".join(["Each of them was followed by another change:", *beyond(told, misfits)]))

    @property
    def database(self) -> str:
        """Empty: the server's own."""
        return str(self.params.get("database") or "")

    @property
    def leaves(self) -> bool:
        """Are conflicts left out?"""
        return bool(self.params.get("leave_conflicts"))

    @contextmanager
    def patient_rows(self) -> Iterator[Rows]:
        """Questions over many rows: in one snapshot, and with time."""
        until = time.monotonic() + PATIENCE
        with (
            session(self.server, "operate", self.database or None, 2 * PATIENCE) as found,
            found.connection.transaction(),
        ):
            found.connection.execute("set transaction isolation level repeatable read read only")
            settle(found.connection)
            found.connection.execute("set local work_mem = '64MB'")

            def rows(query: Any, params: Any = None) -> list[Any]:
                left = max(1, round((until - time.monotonic()) * 1000))
                found.connection.execute(f"set local statement_timeout = {left}")
                return found.rows(query, params)

            try:
                yield rows
            except QueryCanceled as error:
                raise Refused(TOO_LONG.format(PATIENCE)) from error

    def is_span(self) -> bool:
        """Is it about a stretch of time?"""
        return bool(self.params.get("person") or self.params.get("table")) and not self.params.get(
            "statement"
        )

    def wanted(self, rows: Rows, state: Installed, found: list[Any] | None) -> undo_sets.Wanted:
        """The same as a condition; found: None where they are too many to be listed."""
        if found is not None:
            return undo_sets.numbered([one.id for one in found])
        wanted = (
            search.Filter(xid=str(self.params["transaction"]))
            if self.params.get("transaction")
            else self.span()
        )
        return undo_sets.Wanted(SQL(" and ").join(search.conditions(rows, state, wanted)))

    def span(self) -> search.Filter:
        """What a person changed, or what changed in a table, from one moment to another."""
        moments = {name: moment(str(self.params.get(name) or "")) for name in ("since", "until")}
        for name, found in moments.items():
            if self.params.get(name) and found is None:
                raise Refused(f"{self.params[name]} is no moment. Write 2026-03-01T13:00.", field=name)
        if moments["since"] is None:
            raise Refused("Say from which moment on.", field="since")
        texts = {name: str(self.params.get(name) or "") for name in ("person", "table")}
        return search.Filter(**texts, since=moments["since"], until=moments["until"])

    def statements(self, rows: Rows, state: Installed) -> list[Any] | None:
        """What is asked to be taken back; None: more statements than are taken back row by row."""
        if self.is_span() and not self.params.get("transaction"):
            try:
                page = walk.find(rows, state, self.span(), limit=undo.MOST, seconds=None)
            except search.BadFilter as reason:
                raise Refused(str(reason), field=reason.field) from reason
            return page.statements if page.older is None else None
        transaction = str(self.params.get("transaction") or "")
        if transaction:
            if whole(transaction) is None:
                raise Refused(f"{transaction} is no transaction number.", field="transaction")
            found = search.transaction(rows, transaction, undo.MOST + 1)
            return found if len(found) <= undo.MOST else None
        if not self.params.get("statement"):
            raise Refused(
                "Say which statement, which transaction, or whose changes since when.", field="statement"
            )
        one = search.statement(rows, self.params["statement"])
        if one is None:
            raise Refused(f"The log has no statement {self.params['statement']}.", field="statement")
        return [one]

    def changes_of(self, rows: Rows, state: Installed, statement: Any) -> list[search.Change]:
        """Its rows, or the one that was asked for; unchanged ones need no undo."""
        row = self.params.get("row")
        first, limit = (row, 1) if row else (1, undo.MOST)
        return [one for one in statement_changes(rows, state, statement, first, limit, True) if one.changed]


def alone(rows: Rows, state: Installed, statement: int, first: int, limit: int) -> list[undo.Reversal]:
    """Rows of a statement as they would be taken back one by one."""
    found = statement_changes(rows, state, search.statement(rows, statement), first, limit, True)
    return undo.reversals(rows, state, [one for one in found if one.changed])


def conflict(rows: Rows, state: Installed, one: undo.Reversal) -> str:
    """A change that cannot be taken back, and why."""
    return f"{one.what}: {undo.later(rows, state, one)}"


def beyond(told: list[str], count: int) -> tuple[str, ...]:
    """With the number of those that are not told."""
    return (*told, f"and {count - len(told):,} more") if count > len(told) else tuple(told)
