"""Copy backups to further stores, or mend a damaged copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import copies, policies
from backups.copies import CopyFailed
from backups.forms import BackupField, StoreField
from backups.models import Backup, Store
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import size

if TYPE_CHECKING:
    from dbadmin.runner import Work

#: So many in one run, newest first; a schedule makes the rest the next time.
MOST = 50


class CopyBackupsForm(forms.Form):
    """Which, and where to."""

    backup = BackupField(
        required=False, help_text="Empty: every backup of the server that lacks a copy its policy asks for."
    )
    store = StoreField(required=False, help_text="Empty: every store that its policy names for copies.")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["backup"].offer(server)  # type: ignore[attr-defined]
        self.fields["backup"].choices = [("", "All that lack one"), *self.fields["backup"].choices]  # type: ignore[attr-defined]
        self.fields["store"].initial = ""
        self.fields["store"].offer()  # type: ignore[attr-defined]


class CopyBackups(Operation):
    """Copy backups to further stores and compare every byte there; a damaged copy is written anew."""

    title = "Copy backups"
    risk = Risk.LOADS
    queue = "backups"
    Form = CopyBackupsForm

    def target(self) -> str:
        chosen = self.params.get("backup")
        return f"copies of backup {chosen}" if chosen else f"copies of {self.server}"

    def plan(self) -> Sequence[Step]:
        wanted = [(backup, stores) for backup in self._backups() if (stores := self._lacking(backup))]
        if not wanted:
            raise Refused(
                f"Nothing is to be copied: every good backup of {self.server} lies whole where its policy asks for."
            )
        failures: list[str] = []
        steps: list[Step] = [self._step(backup, stores, failures) for backup, stores in wanted[:MOST]]
        return [*steps, Call(lambda work: _see(work, failures), "See that every copy was made.")]

    def _backups(self) -> list[Backup]:
        found = Backup.objects.of(self.server).select_related("store")
        if chosen := self.params.get("backup"):
            one = found.filter(pk=chosen).first()
            if one is None:
                raise Refused("This backup is not in the catalogue any more.", field="backup")
            return [one]
        return list(found.good())

    def _lacking(self, backup: Backup) -> list[Store]:
        """Where it is asked for and not whole."""
        if name := self.params.get("store"):
            asked = [policies.store_for(self.server, backup.database, str(name))]
        else:
            asked = list(policies.orders(self.server, backup.database).copies)
        whole = set(backup.copies.filter(problem="").values_list("store", flat=True)) | {backup.store_id}
        return [store for store in asked if store.pk not in whole]

    def _step(self, backup: Backup, stores: Sequence[Store], failures: list[str]) -> Step:
        names = " and ".join(f"{store} ({store.where})" for store in stores)
        says = f"Copy {backup} ({size(backup.stored_bytes)}) from {backup.store} to {names}, compare every byte there."
        return Call(lambda work: failures.extend(copies.make_missing(backup, stores, work)), says)

    def clean_up(self, work: Work) -> None:
        copies.clean_up(work)

    def result_url(self, run: Run) -> str:
        chosen = run.params.get("backup")
        return reverse(
            "backup" if chosen else "backups", args=[self.server.name, *([chosen] if chosen else [])]
        )


def _see(work: Work, failures: Sequence[str]) -> None:
    work.result(failed=len(failures))
    if failures:
        raise CopyFailed(
            f"{'; '.join(failures[:5])} The rest was copied. Run this again when that is mended."
        )
