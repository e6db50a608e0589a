"""Back up every database of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from django import forms
from django.urls import reverse

from backups import copies, policies, preflight, taking
from backups.forms import DATABASES, StoreField, names
from backups.logical import Tools
from backups.models import Backup
from backups.pipeline import LEVEL
from backups.policies import Orders
from backups.taking import Taking
from dbadmin.failures import Told, sentence
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


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
        found = [row.datname for row in self.server.rows(DATABASES) if row.datname not in left_out]
        if not found:
            raise Refused(f"{self.server} has no database that is not left out.", field="leave_out")
        tools = preflight.tools_for(self.server)
        failures: dict[str, str] = {}
        refusals: list[Refused] = []
        steps = [self._step(name, tools, failures, refusals) for name in found]
        if len(refusals) == len(found):
            raise refusals[0]
        return [*steps, Call(lambda work: _see(work, failures, len(found)), "See that all were backed up.")]

    def _step(self, name: str, tools: Tools, failures: dict[str, str], refusals: list[Refused]) -> Step:
        """The backup of one database, or why it will be left out."""
        try:
            preflight.database_of(self.server, name)
            preflight.check_rights(self.server, name, [], [])
            store = policies.store_for(self.server, name, str(self.params.get("store") or ""))
            preflight.check_store(store, self.server, name)
            orders = policies.orders(self.server, name)
        except Refused as reason:
            refusals.append(reason)
            said = str(reason)
            return Call(lambda work: failures.update({name: said}), f"-- {name} cannot be backed up: {said}")
        job = Taking(self.server, name, store, tools, level=orders.level or LEVEL)
        further = " and ".join(each.name for each in orders.copies if each.pk != store.pk)
        says = f"Back up {name} with pg_dump {tools} to {store}, with its roles, and read it back"
        return Call(
            lambda work: _take(work, job, orders, failures), f"{says}; copy it to {further}." if further else f"{says}."
        )  # fmt: skip

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


def _see(work: Work, failures: dict[str, str], count: int) -> None:
    work.result(failed=sorted(failures))
    if failures:
        said = " ".join(f"{name}: {reason}" for name, reason in failures.items())
        others = " The others are backed up." if len(failures) < count else ""
        raise SomeFailed(f"{len(failures)} of {count} databases failed. {said}{others}")
