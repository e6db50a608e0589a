"""Take rows back that were copied from a backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms

from backups.models import SideSchema
from backups.operations.copy_rows import copying
from backups.row_places import look
from backups.row_undo import obstacle, take_back
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import count, several

if TYPE_CHECKING:
    from dbadmin.runner import Work

_MOST_NAMED = 20


class UndoCopyRowsForm(forms.Form):
    """Which copy."""

    run = forms.TypedChoiceField(coerce=int, label="Copy")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = Run.objects.filter(server=server, operation="copy_rows").order_by("-pk")[:200]
        self.fields["run"].choices = [(str(run.pk), f"Run {run.pk}: {run.target}") for run in found]  # type: ignore[attr-defined]


class UndoCopyRows(Operation):
    """Take copied rows back: those that are still as the copy left them; the others are named and stay."""

    title = "Take copied rows back"
    risk = Risk.DESTROYS
    queue = "backups"
    Form = UndoCopyRowsForm

    def target(self) -> str:
        return Run.objects.filter(pk=self.params["run"]).values_list("target", flat=True).first() or ""

    def plan(self) -> Sequence[Step]:
        run = Run.objects.filter(pk=self.params["run"], server=self.server, operation="copy_rows").first()
        facts = run.facts.get("copying") if run else None
        if (
            run is None
            or not facts
            or not SideSchema.objects.filter(pk=facts["side"], dropped_at=None).exists()
        ):
            raise Refused("What this copy replaced is not kept any more.", field="run")
        job, database = copying(run.pk, facts), facts["database"]
        if not self.server.value("select to_regclass(%s)::text", [job.kept.regclass], database=database):
            raise Refused(f"Run {run.pk} changed nothing, or {job.kept} was dropped.", field="run")
        with look(self.server.dsn("operate", database)) as connection:
            if reason := obstacle(job, connection):
                raise Refused(reason, field="run")
        says = (
            f"-- In {database}, in one transaction\nUPDATE {job.live} from {job.kept}, DELETE what the copy inserted\n"
            "-- only rows that are still as the copy left them; the others are named and stay. Triggers fire as usual."
        )

        def do(work: Work) -> None:
            with work.connect(database) as connection:
                done, others = take_back(job, connection, work.committing)
            for key in others[:_MOST_NAMED]:
                work.log(f"Left as it is, since it was changed after the copy: {key}")
            work.say(
                f"{several(done, 'row')} of {job.live} {'is' if done == 1 else 'are'} as before the copy, "
                f"{count(len(others))} {'was left as it is' if len(others) == 1 else 'were left as they are'}."
            )

        return [Call(do, says)]
