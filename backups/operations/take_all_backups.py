"""Back up every database of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from django import forms
from django.urls import reverse

from backups import copies, policies, preflight, taking
from backups.forms import StoreField, names
from backups.logical import Tools
from backups.models import Backup, KeptDatabase
from backups.pipeline import LEVEL
from backups.policies import Orders
from backups.taking import Taking
from dbadmin.connections import connect
from dbadmin.failures import Told, sentence
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


#: Nobody makes anything in template0. One whose removal was broken off is left as good as gone.
_ALL = """
    select datname as name, datistemplate as is_template, datallowconn and datconnlimit <> -2 as is_open
    from pg_catalog.pg_database where datname <> 'template0' order by 1"""

#: What the cluster was made with has a lower number.
_OWN = """
    select exists (select from pg_catalog.pg_class where oid >= 16384)
        or exists (select from pg_catalog.pg_proc where oid >= 16384)
        or exists (select from pg_catalog.pg_type where oid >= 16384)
        or exists (select from pg_catalog.pg_namespace where oid >= 16384)
        or exists (select from pg_catalog.pg_largeobject_metadata)"""


class SomeFailed(Told):
    """Not every database was backed up; the sentence names which, and why."""


class TakeAllBackupsForm(forms.Form):
    """Where to, and what to leave out."""

    store = StoreField(required=False, help_text="Empty: each database where its policy says.")
    leave_out = forms.CharField(required=False, help_text="Databases to leave out, separated by commas.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["store"].offer()  # type: ignore[attr-defined]


class TakeAllBackups(Operation):
    """Back up every database that the server has at that moment, one after the other, each read back.

    One that cannot be backed up keeps no other from its backup; the run says so at its end.
    """

    title = "Back up all databases"
    risk = Risk.LOADS
    queue = "backups"
    Form = TakeAllBackupsForm

    def plan(self) -> Sequence[Step]:
        left_out = set(names(str(self.params.get("leave_out") or "")))
        left_out |= set(KeptDatabase.present(self.server).values_list("name", flat=True))
        there = [row for row in self.server.rows(_ALL) if row.name not in left_out]
        notes = {row.name: note for row in there if (note := self._passed_over(row))}
        found = [row for row in there if row.name not in notes]
        if not found:
            raise Refused(f"{self.server} has no database that is not left out.", field="leave_out")
        tools = preflight.tools_for(self.server)
        failures: dict[str, str] = {}
        refusals: list[Refused] = []
        steps = [self._step(row, tools, failures, refusals) for row in found]
        if len(refusals) == len(found):
            raise refusals[0]
        said = [f"{name} is left out: {note}" for name, note in notes.items()]
        last = "\n".join(["See that all were backed up.", *said])
        return [*steps, Call(lambda work: _see(work, failures, len(found), said), last)]

    def _passed_over(self, row: Any) -> str:
        """Why it is left out; empty for what is backed up: everything but templates as the cluster was made with."""
        if not row.is_open:
            return "it takes no connections."
        if not row.is_template:
            return ""
        try:
            # In a session that ends: one that stays in a template is in the way of whoever copies it.
            with connect(self.server, "operate", row.name, read_only=True) as connection:
                own = connection.execute(_OWN).fetchone()
        except psycopg.Error as reason:
            return f"it is a template that could not be looked into. {sentence(reason, self.server)}"
        return "" if own and own[0] else "it is a template with nothing of its own."

    def _step(self, row: Any, tools: Tools, failures: dict[str, str], refusals: list[Refused]) -> Step:
        """The backup of one database, or why it will be left out."""
        name = row.name
        try:
            preflight.database_of(self.server, name)
            if not row.is_template:
                preflight.check_rights(self.server, name, [], [])
            store = policies.store_for(self.server, name, str(self.params.get("store") or ""))
            preflight.check_store(store, self.server, name)
            orders = policies.orders(self.server, name)
        except Refused as reason:
            refusals.append(reason)
            said = str(reason)
            return Call(lambda work: failures.update({name: said}), f"-- {name} cannot be backed up: {said}")
        job = Taking(
            self.server, name, store, tools, level=orders.level or LEVEL, recipients=orders.recipients
        )
        further = " and ".join(each.name for each in orders.copies if each.pk != store.pk)
        says = f"Back up {name} with pg_dump {tools} to {store}, {orders.sealing}, with its roles, and read it back"
        if further:
            says += f"; copy it to {further}"
        return Call(lambda work: _take(work, job, orders, failures), f"{says}.")

    def clean_up(self, work: Work) -> None:
        taking.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name])


def _take(work: Work, job: Taking, orders: Orders, failures: dict[str, str]) -> None:
    """One database; what goes wrong is kept for the end, and what it left is removed now."""
    work.log(f"Database {job.database}.")
    try:
        for step in (job.write_globals, job.dump, job.publish, job.read_back):
            step(work)
        backup = Backup.objects.get(pk=work.run.result["backup"])
        if problems := copies.make_missing(backup, orders.copies, work):
            failures[job.database] = "; ".join(problems)
    except (Told, psycopg.Error, OSError) as reason:
        failures[job.database] = work.clean(sentence(reason, work.server))
        work.log(f"{job.database} failed: {failures[job.database]}")
        taking.clean_up_quietly(work)
    work.remember(prefix="")


def _see(work: Work, failures: dict[str, str], count: int, notes: Sequence[str]) -> None:
    for note in notes:
        work.log(note)
    work.result(failed=sorted(failures))
    if failures:
        said = " ".join(f"{name}: {reason}" for name, reason in failures.items())
        others = " The others are backed up." if len(failures) < count else ""
        raise SomeFailed(f"{len(failures)} of {count} databases failed. {said}{others}")
