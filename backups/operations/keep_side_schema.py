"""Keep tables that were brought back for longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse
from django.utils import timezone

from backups.models import SideSchema, expiry
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class KeepSideSchemaForm(forms.Form):
    """Which of them, and how long."""

    side = forms.TypedChoiceField(coerce=int, label="Schema")
    hours = forms.IntegerField(
        initial=168,
        min_value=1,
        max_value=24 * 90,
        help_text="From now on; never shorter than it is kept anyway.",
    )

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = SideSchema.present(server) if server else SideSchema.objects.none()
        self.fields["side"].choices = [(str(side.pk), f"{side}: {side.label}") for side in found]  # type: ignore[attr-defined]


class KeepSideSchema(Operation):
    """Keep tables that were brought back for so many hours from now on."""

    title = "Keep tables brought back"
    risk = Risk.HARMLESS
    queue = "backups"
    Form = KeepSideSchemaForm

    def target(self) -> str:
        found = SideSchema.objects.filter(pk=self.params["side"]).first()
        return found.name if found else ""

    def plan(self) -> Sequence[Step]:
        side = SideSchema.present(self.server).filter(pk=self.params["side"]).first()
        if side is None:
            raise Refused("These tables were dropped already.", field="side")
        hours = int(self.params["hours"])
        return [Call(lambda work: _keep(work, side, hours), f"Keep {side} for {hours} hours from now on.")]

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        return "", {}

    def result_url(self, run: Run) -> str:
        return reverse("side_schema", args=[self.server.name, self.params["side"]])


def _keep(work: Work, side: SideSchema, hours: int) -> None:
    SideSchema.objects.filter(pk=side.pk).update(expires_at=max(side.expires_at, expiry(hours)))
    side.refresh_from_db()
    work.say(f"{side} is kept until {timezone.localtime(side.expires_at):%Y-%m-%d %H:%M}.")
