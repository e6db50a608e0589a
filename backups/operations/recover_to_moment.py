"""Recover a cluster to a moment, beside everything else, on a worker's host."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from backups.bars import is_unclear
from backups.physical import keeping, recovering
from backups.physical.recovering import plan_recovery
from backups.physical.targets import Target, target_of
from backups.physical.wal import parse_lsn
from dbadmin.models import Run
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work

KINDS = [
    ("time", "A moment"),
    ("latest", "The latest moment there is"),
    ("lsn", "A WAL position"),
    ("name", "A restore point (pg_create_restore_point)"),
]


class MomentField(forms.CharField):
    """A moment in our own time zone unless it names one; kept as text with its zone."""

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        if not text:
            return ""
        try:
            found = parse_datetime(text.strip().replace(" ", "T", 1))
        except ValueError:
            found = None
        if found is None:
            raise forms.ValidationError(
                "Write the moment as 2026-05-31 14:03:59.5, in your zone or with +02:00."
            )
        if timezone.is_aware(found):
            return found.isoformat()
        local = timezone.make_aware(found)
        if is_unclear(local):
            one, other = (local.replace(fold=fold).isoformat()[-6:] for fold in (0, 1))
            raise forms.ValidationError(
                f"Clocks changed then: write the zone as well, {found}{one} or {found}{other}."
            )
        return local.isoformat()


class RecoverToMomentForm(forms.Form):
    """To where, and for how long the result stands."""

    kind = forms.ChoiceField(label="To", choices=KINDS, initial="time")
    moment = MomentField(
        required=False,
        help_text="What was committed up to it is in, what came later is not. Fractions of seconds count.",
    )
    text = forms.CharField(
        label="Position or name",
        required=False,
        max_length=63,
        help_text="For the last two choices: 0/3000148, or the name.",
    )
    hours = forms.IntegerField(
        label="Keep for (hours)", initial=8, min_value=1, max_value=24 * 14,
        help_text="Then it is stopped and removed.",
    )  # fmt: skip
    check_pages = forms.BooleanField(
        label="Look at every page",
        required=False,
        help_text="With pg_amcheck: takes as long as reading all data.",
    )

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        kind = found.get("kind")
        if kind == "time" and not found.get("moment") and "moment" not in self.errors:
            self.add_error("moment", "Name the moment.")
        if kind in ("lsn", "name") and not found.get("text"):
            self.add_error("text", "Name the position or the restore point.")
        if kind == "lsn" and found.get("text"):
            try:
                parse_lsn(found["text"])
            except ValueError:
                self.add_error("text", "Write the position as 0/3000148.")
        return found


class RecoverToMoment(Operation):
    """Recover the whole cluster to a moment on a worker's host, prove that it came there, and let it be looked at."""

    title = "Recover to a moment"
    risk = Risk.LOADS
    for_admins = True
    queue = "backups"
    Form = RecoverToMomentForm

    def goal(self) -> Target:
        text = str(self.params.get("moment") or "")
        moment = datetime.fromisoformat(text) if text else None
        return target_of(str(self.params["kind"]), moment, str(self.params.get("text") or ""))

    def target(self) -> str:
        return f"{self.server} as of {self.goal()}"

    def plan(self) -> Sequence[Step]:
        job = plan_recovery(self.server, self.goal())
        hours = int(self.params.get("hours") or 8)
        steps = job.steps()
        if self.params.get("check_pages"):
            says = "Look at every page of every table and index with pg_amcheck."
            steps.append(Call(lambda work: keeping.check_pages(job, work), says))
        says = f"Keep it for {hours} hours, reachable on the worker's host alone, read only unless told otherwise."
        return [
            *steps,
            Call(
                lambda work: keeping.keep(job, work, hours),
                says,
                reverse="The operation “Stop a recovered cluster”.",
            ),
        ]

    def clean_up(self, work: Work) -> None:
        recovering.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])
