"""Undo a run by the statements that were stored with its plan."""

from __future__ import annotations

from collections.abc import Sequence

from django import forms

from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Sql, Step
from dbadmin.work import Work
from maintenance.indexes import BuildIndex, remove_if_invalid
from maintenance.relations import ATTEMPTS, SHORT_LOCK


class ReverseRun(Operation):
    """Undo a run: its stored reverses, last step first."""

    title = "Undo"
    risk = Risk.BLOCKS

    class Form(forms.Form):
        """Which run."""

        run = forms.IntegerField(min_value=1)

    def source(self) -> Run:
        """The run that is taken back."""
        run = Run.objects.filter(pk=self.params["run"], server=self.server).first()
        if run is None:
            raise Refused(f"There is no run {self.params['run']} on {self.server}.", "run")
        return run

    def target(self) -> str:
        """As the run's."""
        return self.source().target

    def waits(self) -> str:
        """Nobody can say for all of them."""
        return "Whoever uses the object that is put back or taken away may wait a moment."

    def plan(self) -> Sequence[Step]:
        """Refuses what did not succeed, what has no reverse, what was undone already."""
        run = self.source()
        if run.status != Run.Status.SUCCEEDED:
            raise Refused(f"Run {run.pk} is {run.status}; only what succeeded can be undone.", "run")
        if not run.reverse or not all(run.reverse):
            raise Refused(f"Run {run.pk} has a step that nothing takes back.", "run")
        done = Run.objects.filter(operation=self.name, params__run=run.pk, status=Run.Status.SUCCEEDED)
        if done.exists():
            raise Refused(f"Run {run.pk} was undone already, by run {done[0].pk}.", "run")
        pairs = zip(reversed(run.reverse), reversed(run.plan), strict=True)
        return [step(run, text.rstrip(";"), forward) for text, forward in pairs]

    def clean_up(self, work: Work) -> None:
        """An index that comes back may be left half-built."""
        made = work.facts.get("index")
        if made:
            remove_if_invalid(work, made["schema"], made["index"], made["database"])


def step(run: Run, text: str, forward: str) -> Step:
    """A stored statement as a step; what was previewed with notes or settings around it has no plain way forth."""
    database = str(run.params.get("database") or "")
    again = forward.rstrip(";") if "\n" not in forward else ""
    if run.operation == "drop_index":
        place = {"schema": run.params["schema"], "index": run.params["index"]}
        return BuildIndex(text, reverse=again, database=database, shows="create_index", **place)
    if " CONCURRENTLY " in text:  # which lets others pass while it waits
        return Sql(text, reverse=again, database=database)
    return Sql(text, reverse=again, database=database, settings=SHORT_LOCK, attempts=ATTEMPTS)
