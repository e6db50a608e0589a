"""Back up every database of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import preflight, taking
from backups.forms import DATABASES, StoreField, names
from backups.models import Store
from backups.pipeline import LEVEL
from backups.taking import Taking
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class TakeAllBackupsForm(forms.Form):
    """Where to, and what to leave out."""

    store = StoreField()
    leave_out = forms.CharField(required=False, help_text="Databases to leave out, separated by commas.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["store"].offer()  # type: ignore[attr-defined]


class TakeAllBackups(Operation):
    """Back up every database that the server has at that moment, one after the other, each read back."""

    title = "Back up all databases"
    risk = Risk.LOADS
    queue = "backups"
    Form = TakeAllBackupsForm

    def plan(self) -> Sequence[Step]:
        store = Store.objects.filter(name=self.params["store"]).first()
        if store is None:
            raise Refused(f"There is no store {self.params['store']}.", field="store")
        left_out = set(names(str(self.params.get("leave_out") or "")))
        found = [row.datname for row in self.server.rows(DATABASES) if row.datname not in left_out]
        if not found:
            raise Refused(f"{self.server} has no database that is not left out.", field="leave_out")
        tools = preflight.tools_for(self.server)
        steps: list[Step] = []
        for name in found:
            preflight.check_rights(self.server, name, [], [])
            preflight.check_store(store, self.server, name)
            job = Taking(self.server, name, store, tools, level=LEVEL)
            says = f"Back up {name} with pg_dump {tools} to {store}, with its roles, and read it back."
            steps.append(Call(lambda work, job=job: _take(work, job), says))  # type: ignore[misc]
        return steps

    def clean_up(self, work: Work) -> None:
        taking.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name])


def _take(work: Work, job: Taking) -> None:
    work.log(f"Database {job.database}.")
    for step in (job.write_globals, job.dump, job.publish, job.read_back):
        step(work)
