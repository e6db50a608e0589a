"""Prove a backup: read it back, or restore it into a scratch database and compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import copies
from backups.forms import BackupField
from backups.in_place import clean_up
from backups.models import Backup
from backups.restoring import Restoring, plan_restore
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class VerifyBackupForm(forms.Form):
    """Which backup, and how thoroughly."""

    backup = BackupField(required=False, help_text="Empty: the newest of the whole database below.")
    database = forms.CharField(required=False, help_text="For schedules: always the newest backup of it.")
    how = forms.ChoiceField(
        choices=[
            ("read", "Read every byte back"),
            ("restore", "Restore into a scratch database and compare"),
        ],
        initial="read",
    )

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["backup"].offer(server)  # type: ignore[attr-defined]
        self.fields["backup"].choices = [("", "The newest"), *self.fields["backup"].choices]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if not found.get("backup") and not found.get("database"):
            self.add_error("backup", "Choose a backup, or name the database whose newest is meant.")
        return found


class VerifyBackup(Operation):
    """Prove a backup by reading every byte, or by a restore that is compared row for row and then dropped."""

    title = "Prove a backup"
    risk = Risk.LOADS
    changes_nothing = True
    queue = "backups"
    Form = VerifyBackupForm

    def target(self) -> str:
        backup = self.params.get("backup")
        return f"backup {backup}" if backup else f"newest backup of {self.params['database']}"

    def backup(self) -> Backup:
        """The chosen one, or the newest of the database."""
        found = Backup.objects.present().select_related("store")
        if chosen := self.params.get("backup"):
            backup = found.filter(pk=chosen).first()
        else:
            backup = found.of(self.server, str(self.params["database"])).whole().first()
        if backup is None:
            raise Refused(
                "This backup is not in the catalogue any more, or there is none yet.", field="backup"
            )
        return backup

    def plan(self) -> Sequence[Step]:
        backup = self.backup()
        if self.params.get("how") != "restore":
            says = (
                f"Read every stored byte of {backup} back from {backup.where}, compare it with the manifest."
            )
            return [Call(lambda work: copies.prove(backup, work), says)]
        job = plan_restore(self.server, backup, operation=self)
        return [*restore_steps(job), Call(job.drop_scratch, "Drop the scratch database.")]

    def clean_up(self, work: Work) -> None:
        clean_up(work)

    def result_url(self, run: Run) -> str:
        chosen = self.params.get("backup")
        return reverse(
            "backup" if chosen else "backups", args=[self.server.name, *([chosen] if chosen else [])]
        )


def restore_steps(job: Restoring) -> list[Step]:
    """Everything up to a proven scratch database."""
    return job.steps()
