"""Keep tables that were brought back for longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone

from backups.models import SideSchema, expiry
from backups.of_side_schema import OfSideSchema, SideSchemaForm
from dbadmin.models import Run
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class KeepSideSchemaForm(SideSchemaForm):
    """Which of them, and how long."""

    hours = forms.IntegerField(
        initial=168,
        min_value=1,
        max_value=24 * 90,
        help_text="From now on; never shorter than it is kept anyway.",
    )


class KeepSideSchema(OfSideSchema, Operation):
    """Keep tables that were brought back for so many hours from now on."""

    title = "Keep tables brought back"
    risk = Risk.HARMLESS
    queue = "backups"
    Form = KeepSideSchemaForm

    def plan(self) -> Sequence[Step]:
        side = self.side()
        hours = int(self.params["hours"])
        return [Call(lambda work: _keep(work, side, hours), f"Keep {side} for {hours} hours from now on.")]

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        return "", {}

    def result_url(self, run: Run) -> str:
        return self.page()


def _keep(work: Work, side: SideSchema, hours: int) -> None:
    SideSchema.objects.filter(pk=side.pk).update(expires_at=max(side.expires_at, expiry(hours)))
    side.refresh_from_db()
    work.say(f"{side} is kept until {timezone.localtime(side.expires_at):%Y-%m-%d %H:%M}.")
