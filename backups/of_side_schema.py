"""What every operation on tables that were brought back begins with: which of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.urls import reverse

from backups.models import SideSchema
from dbadmin.models import Server
from dbadmin.operations import Refused


class SideSchemaForm(forms.Form):
    """Which of them."""

    side = forms.TypedChoiceField(coerce=int, label="Schema")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = SideSchema.present(server) if server else SideSchema.objects.none()
        self.fields["side"].choices = [(str(side.pk), f"{side}: {side.label}") for side in found]  # type: ignore[attr-defined]


class OfSideSchema:
    """For operations whose form names one."""

    server: Server
    params: Mapping[str, Any]

    def side(self) -> SideSchema:
        """The schema, if it is still there."""
        found = SideSchema.present(self.server).filter(pk=self.params["side"]).first()
        if found is None:
            raise Refused("These tables were dropped already.", field="side")
        return found

    def target(self) -> str:
        """Its name, also when it is gone."""
        found = SideSchema.objects.filter(pk=self.params["side"]).first()
        return found.name if found else ""

    def page(self) -> str:
        """Where its tables are shown, while it is there."""
        return reverse("side_schema", args=[self.server.name, self.params["side"]])
