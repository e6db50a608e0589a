"""Take a base backup of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.urls import reverse

from backups.models import BackupKey
from backups.physical import preflight, taking
from backups.physical.models import BaseBackup
from backups.physical.taking import Taking
from backups.stores import StoreError
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import moment, size

if TYPE_CHECKING:
    from dbadmin.runner import Work


class TakeBaseBackup(Operation):
    """Copy the whole cluster as it runs to the store, so that a recovery can begin there, and read the copy back."""

    title = "Take a base backup"
    risk = Risk.LOADS
    queue = "backups"

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
        self.must_fit()
        keys = ", ".join(BackupKey.objects.filter(retired_at=None).values_list("name", flat=True))
        sealed = f"encrypt for {keys}" if keys else "do not encrypt (no backup key has been made)"
        job = Taking(point)
        return [
            Call(
                job.copy,
                f"Begin with a checkpoint, then copy all files of {self.server} by the replication protocol, each"
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

    def must_fit(self) -> None:
        """Refuse when the store has no room for another one as large as the last."""
        last = BaseBackup.objects.present().filter(server=self.server).first()
        try:
            free = last.store.open().free_bytes() if last else None
        except StoreError as reason:
            raise Refused(str(reason)) from reason
        if last and free is not None and free < last.stored_bytes:
            raise Refused(
                f"Not started: the store {last.store} has {size(free)} free, the last base backup took "
                f"{size(last.stored_bytes)}. Free space, or delete expired ones."
            )

    def clean_up(self, work: Work) -> None:
        taking.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])
