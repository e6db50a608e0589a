"""Change how often base backups are taken and how long all is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.urls import reverse

from backups.keeping_form import KeepingForm, keeping, must_be_able, rhythm
from backups.models import PointInTime
from backups.physical import preflight
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class ChangePointInTimeForm(KeepingForm):
    """What it is now, to be changed."""

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, server=server, **kwargs)
        point = PointInTime.objects.filter(server=server).first() if server else None
        for name, field in self.fields.items():
            field.initial = getattr(point, name) if point else field.initial


class ChangePointInTime(Operation):
    """Change how often a base backup is taken, which of them are full, and for how long all is kept."""

    title = "Change point-in-time recovery"
    risk = Risk.HARMLESS
    for_admins = True
    Form = ChangePointInTimeForm

    def plan(self) -> Sequence[Step]:
        point = preflight.point_of(self.server)
        must_be_able(self.server, self.params)
        says = (
            f"From now on a base backup {rhythm(self.params)}, in the name of who changes this. "
            f"Until now: {rhythm(vars(point))}."
        )
        return [Call(lambda work: self.record(work, point), says)]

    def record(self, work: Work, point: PointInTime) -> None:
        work.result(before=keeping(vars(point)))
        owner = {"made_by": work.run.user} if work.run.user else {}
        PointInTime.objects.filter(pk=point.pk).update(**keeping(self.params), **owner)

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        """To what it was."""
        return self.name, run.result["before"]

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])
