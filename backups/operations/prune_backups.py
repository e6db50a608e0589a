"""Delete the backups that no rule keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.urls import reverse

from backups import copies
from backups.models import Backup
from backups.operations.delete_backup import remove
from backups.policies import verdicts
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import size

if TYPE_CHECKING:
    from dbadmin.runner import Work


class PruneBackups(Operation):
    """Delete every backup of this server that its policy no longer keeps, each with the reason."""

    title = "Delete expired backups"
    risk = Risk.DESTROYS
    only_ours = True
    queue = "backups"

    def plan(self) -> Sequence[Step]:
        going = [(backup, found.policy) for found in verdicts(self.server) for backup, _ in found.going]
        if not going:
            raise Refused(
                f"Every backup of {self.server} is kept by its policy, or has none. Nothing is to be deleted."
            )
        return [self._step(backup, policy.name) for backup, policy in going]

    def _step(self, backup: Backup, policy: str) -> Step:
        says = f"Remove {backup} from {backup.where} ({size(backup.stored_bytes)}): policy {policy} no longer keeps it."
        return Call(lambda work: self._remove(work, backup), says)

    def _remove(self, work: Work, backup: Backup) -> None:
        backup.refresh_from_db()
        if backup.is_leased or backup.keep or backup.deleted_at:
            work.log(f"{backup} stays: somebody needs it now.")
            return
        remove(backup, work, "No rule of its policy kept it.")

    def clean_up(self, work: Work) -> None:
        copies.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name])
