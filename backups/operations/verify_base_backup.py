"""Verify a base backup once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import leases
from backups.models import BaseBackup
from backups.physical.taking import prove_read
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class VerifyBaseBackupForm(forms.Form):
    """Which one."""

    base = forms.TypedChoiceField(label="Base backup", coerce=int)

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = BaseBackup.objects.present().filter(server=server)[:500]
        self.fields["base"].choices = [(base.pk, str(base)) for base in found]  # type: ignore[attr-defined]


class VerifyBaseBackup(Operation):
    """Read every stored byte of a base backup and compare each file with the server's checksum: good, or damaged."""

    title = "Verify base backup"
    risk = Risk.LOADS
    changes_nothing = True
    queue = "backups"
    Form = VerifyBaseBackupForm

    def plan(self) -> Sequence[Step]:
        base = BaseBackup.objects.present().filter(server=self.server, pk=self.params["base"]).first()
        if base is None:
            raise Refused("This base backup is not there any more.", field="base")
        return [
            Call(
                lambda work: prove_read(base, work),
                f"Read every stored byte of the {base} and compare each file with the server's checksum.",
            )
        ]

    def clean_up(self, work: Work) -> None:
        leases.end(work)

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])
