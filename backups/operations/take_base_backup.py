"""Take a base backup of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse
from django.utils import timezone

from backups.models import BackupKey, PointInTime, Store
from backups.physical import layers, preflight, taking
from backups.physical.layers import Choice
from backups.physical.models import BaseBackup
from backups.physical.taking import Taking
from backups.stores import StoreError
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import moment, size

if TYPE_CHECKING:
    from dbadmin.runner import Work


class TakeBaseBackupForm(forms.Form):
    """Nothing to choose where all are full."""

    full = forms.BooleanField(
        required=False, help_text="Copy all files, though one that holds only what changed would do."
    )

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (
            server is not None
            and not PointInTime.objects.filter(server=server).exclude(full_days=None).exists()
        ):
            del self.fields["full"]


class TakeBaseBackup(Operation):
    """Copy the whole cluster as it runs to the store, so that a recovery can begin there, and read the copy back."""

    title = "Take a base backup"
    risk = Risk.LOADS
    queue = "backups"
    Form = TakeBaseBackupForm

    def plan(self) -> Sequence[Step]:
        point = preflight.point_of(self.server)
        if not point.is_received:
            seen = f"last seen {moment(point.seen_at)}" if point.seen_at else "never seen"
            why = (
                point.problem if point.seen_at and point.problem else f"No WAL receiver is at work ({seen})."
            )
            raise Refused(
                f"{why} Without the WAL from its beginning on, a base backup cannot be recovered. "
                "Start manage.py wal_receiver."
            )
        preflight.check_store(point.store.name)
        self.must_fit(point.store)
        keys = ", ".join(BackupKey.objects.filter(retired_at=None).values_list("name", flat=True))
        sealed = f"encrypt for {keys}" if keys else "do not encrypt (no backup key has been made)"
        choice = self.choose(point)
        job = Taking(point, choice.prior, choice.why_full)
        return [
            Call(
                job.copy,
                f"Begin with a checkpoint, then copy {_what(choice, self.server)} by the replication protocol, each"
                f" tablespace as one archive, compress with zstd level {job.level}, {sealed}, send to"
                f" {point.store} ({point.store.where}).",
            ),
            Call(
                job.publish, "Write the manifest: positions, sizes, hashes, the server's own list of files."
            ),
            Call(
                job.read_back, "Read every stored byte back and compare each file with the server's checksum."
            ),
        ]

    def choose(self, point: PointInTime) -> Choice:
        """What it is built on; on nothing when a full one is asked for."""
        if self.params.get("full"):
            return Choice(why_full="A full one was asked for." if point.full_days else "")
        try:
            return layers.choose(point, timezone.now())
        except StoreError as reason:
            raise Refused(str(reason)) from reason

    def must_fit(self, store: Store) -> None:
        """Refuse when the store has no room for another one as large as the last."""
        last = BaseBackup.objects.present().filter(server=self.server).first()
        try:
            free = store.open().free_bytes()
        except StoreError as reason:
            raise Refused(str(reason)) from reason
        if last and free is not None and free < last.stored_bytes:
            raise Refused(
                f"Not started: the store {store} has {size(free)} free, the last base backup took "
                f"{size(last.stored_bytes)}. Free space, or delete expired ones."
            )

    def clean_up(self, work: Work) -> None:
        taking.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])


def _what(choice: Choice, server: Server) -> str:
    """What is copied, and why it is all though less was wanted."""
    if choice.prior:
        return f"what changed in the files of {server} since the {choice.prior}"
    because = f" ({choice.why_full.rstrip('.')})" if choice.why_full else ""
    return f"all files of {server}{because}"
