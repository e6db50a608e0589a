"""Delete a backup from its store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse
from django.utils import timezone

from backups import catalogue, copies, store_rules
from backups.forms import BackupField
from backups.manifest import NAME
from backups.models import Backup, Store
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import size

if TYPE_CHECKING:
    from dbadmin.runner import Work


class DeleteBackupForm(forms.Form):
    """Which backup."""

    backup = BackupField()

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["backup"].offer(server)  # type: ignore[attr-defined]


class DeleteBackup(Operation):
    """Remove a backup's objects from its store: the manifest first, so that no half of it is ever listed."""

    title = "Delete a backup"
    risk = Risk.DESTROYS
    only_ours = True
    queue = "backups"
    Form = DeleteBackupForm

    def target(self) -> str:
        return f"backup {self.params['backup']}"

    def plan(self) -> Sequence[Step]:
        backup = Backup.objects.present().filter(pk=self.params["backup"]).select_related("store").first()
        if backup is None:
            raise Refused("This backup is not in the catalogue any more.", field="backup")
        if backup.is_leased:
            raise Refused(
                f"{backup} is being read or restored right now. Wait until that has ended.", field="backup"
            )
        if backup.keep:
            raise Refused(f"{backup} is marked to be kept. Take the mark away first.", field="backup")
        good = Backup.objects.of(self.server, backup.database).whole().good()
        if backup in good and good.count() == 1:
            raise Refused(
                f"{backup} is the only proven backup of {backup.database}. Take another first.",
                field="backup",
            )
        says = f"Remove {backup} from {backup.where}: {size(backup.stored_bytes)} below {backup.prefix}."
        return [Call(lambda work: remove(backup, work, f"Deleted by {work.run.user_name}."), says)]

    def clean_up(self, work: Work) -> None:
        copies.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name])


def remove(backup: Backup, work: Work, why: str) -> None:
    """The further copies first, then the place that it is read from; what fails leaves it in the catalogue."""
    for copy in backup.copies.select_related("store"):
        if copy.store.enabled:
            _unpublish(copy.store, backup, work)
            _clear(copy.store, backup, work)
        else:
            work.log(f"What lies in {copy.store} stays there: the store is switched off.")
        copy.delete()
    _unpublish(backup.store, backup, work)
    backup.deleted_at, backup.deleted_why = timezone.now(), why
    backup.save(update_fields=["deleted_at", "deleted_why"])
    _clear(backup.store, backup, work)


def _unpublish(place: Store, backup: Backup, work: Work) -> None:
    """Manifest first: from then on it does not exist there, whatever happens next."""
    catalogue.must_be_mounted(place)
    copies.begin(work, [place.pk, backup.prefix])
    place.open().delete(f"{backup.prefix}/{NAME}")


def _clear(place: Store, backup: Backup, work: Work) -> None:
    store = place.open()
    for item in list(store.items(f"{backup.prefix}/")):
        store.delete(item.key)
        work.log(f"Removed {item.key} from {place}.")
    copies.end(work, [place.pk, backup.prefix])
    store_rules.tell_what_stays(place, work)
