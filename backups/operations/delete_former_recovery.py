"""Delete the WAL and base backups of a point-in-time recovery that is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Sum
from django.urls import reverse

from backups import copies
from backups.models import BaseBackup, PointInTime, WalSegment
from backups.operations.prune_point_in_time import remove, remove_wal
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import count, size

if TYPE_CHECKING:
    from dbadmin.runner import Work


class DeleteFormerRecovery(Operation):
    """Delete all WAL and base backups of a server whose point-in-time recovery is off, or of the cluster it was before.

    They never expire by themselves: what is last in a window stays. What was lost with its store is struck off.
    """

    title = "Delete former WAL and base backups"
    risk = Risk.DESTROYS
    only_ours = True
    queue = "backups"

    def plan(self) -> Sequence[Step]:
        bases = self.former(BaseBackup.objects.present()).select_related("store")
        for base in bases:
            if base.is_leased or base.keep:
                why = (
                    "is marked to be kept. Take the mark away"
                    if base.keep
                    else "is being read. Wait until that ends"
                )
                raise Refused(f"The {base} {why} first.")
        steps: list[Step] = [self._step(base) for base in bases.order_by("-started_at")]
        wal = self.former(WalSegment.objects.all()).order_by("store__name").values("store__name")
        steps += [
            self._wal_step(found["store__name"], found["number"], found["stored"])
            for found in wal.annotate(number=Count("pk"), stored=Sum("stored_bytes"))
        ]
        if not steps:
            raise Refused(
                f"Nothing is left of a former point-in-time recovery of {self.server}. What is on now goes when it "
                "expires (“Delete expired”); to delete all of it, switch it off first."
            )
        return steps

    def former(self, rows: Any) -> Any:
        """Those that no point-in-time recovery adds to."""
        point = PointInTime.objects.filter(server=self.server, enabled=True).first()
        found = rows.filter(server=self.server)
        return found.exclude(system_id=point.system_id) if point else found

    def _step(self, base: BaseBackup) -> Step:
        says = f"Remove the {base} of cluster {base.system_id} from {base.store} ({size(base.stored_bytes)})."
        return Call(lambda work: self._remove(work, base), says)

    def _remove(self, work: Work, base: BaseBackup) -> None:
        """Unless it was switched on again meanwhile."""
        for found in self.former(BaseBackup.objects.filter(pk=base.pk)):
            remove(work, found, f"Deleted by {work.run.user_name}.")

    def _wal_step(self, store: str, number: int, stored: int) -> Step:
        says = f"Remove {count(number)} segments of WAL from {store} ({size(stored)})."
        return Call(lambda work: self._remove_wal(work, store), says)

    def _remove_wal(self, work: Work, store: str) -> None:
        if base := self.former(BaseBackup.objects.present()).first():
            raise Refused(
                f"The {base} stays, and all WAL with it: somebody needs it now. Run this again later."
            )
        remove_wal(work, self.former(WalSegment.objects.filter(store__name=store)))

    def clean_up(self, work: Work) -> None:
        copies.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])
