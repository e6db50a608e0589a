"""Delete base backups and WAL that no kept moment needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from backups import catalogue, copies, store_rules
from backups.models import BaseBackup, PointInTime, Store, WalSegment
from backups.physical import expiry, manifest, preflight
from backups.physical.shipping import remove_parts
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import count, size

if TYPE_CHECKING:
    from dbadmin.runner import Work


class PrunePointInTime(Operation):
    """Delete base backups that are older than what is kept, and the WAL that only they need."""

    title = "Delete expired WAL and base backups"
    risk = Risk.DESTROYS
    only_ours = True
    queue = "backups"

    def plan(self) -> Sequence[Step]:
        point = PointInTime.objects.filter(server=self.server).first()
        if point is None:
            raise Refused(f"Point-in-time recovery of {self.server} was never on.")
        bases = list(BaseBackup.objects.present().filter(server=self.server, system_id=point.system_id))
        if point.covered_at is None:
            raise Refused(
                f"No WAL of {self.server} has been received yet: everything stays until that is so."
            )
        # By the source's clock: ours may be wrong, and what nothing follows does not grow old.
        verdict = expiry.judge(bases, min(timezone.now(), point.covered_at), point.keep_days)
        if not verdict.going:
            raise Refused(f"Everything of {self.server} is still needed: {verdict.says}")
        preflight.must_answer(point.store)
        steps: list[Step] = [self._step(base) for base in verdict.going]
        says = (
            f"Remove the WAL before {verdict.anchor.start}, where the {verdict.anchor} begins, from {point.store}."
            if verdict.anchor
            else ""
        )
        if verdict.anchor:
            steps.append(Call(lambda work: self.cut(work, point), says))
        return steps

    def _step(self, base: BaseBackup) -> Step:
        says = f"Remove the {base} from {base.store} ({size(base.stored_bytes)}): no kept moment needs it."
        return Call(lambda work: remove(work, base, "No kept moment needed it."), says)

    def cut(self, work: Work, point: PointInTime) -> None:
        """Only what lies before every base backup that is there now, whatever was planned."""
        bases = BaseBackup.objects.present().filter(server=self.server, system_id=point.system_id)
        first = min((base.start_lsn for base in bases), default=None)
        if first is None:
            raise Refused("There is no base backup any more; all WAL stays.")
        rows = WalSegment.objects.filter(server=self.server, system_id=point.system_id, end_lsn__lte=first)
        remove_wal(work, rows.exclude(kind=WalSegment.Kind.HISTORY))

    def clean_up(self, work: Work) -> None:
        copies.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])


def remove(work: Work, base: BaseBackup, why: str) -> None:
    """The manifest first: from then on it does not exist."""
    base.refresh_from_db()
    if base.is_leased or base.keep or base.deleted_at or base.later.present().exists():
        work.log(f"The {base} stays: somebody needs it now.")
        return
    catalogue.must_be_mounted(base.store)
    store = base.store.open()
    store.delete(f"{base.prefix}/{manifest.NAME}")
    base.deleted_at, base.deleted_why = timezone.now(), why
    with (
        transaction.atomic()
    ):  # nobody looks for what a deleted one left, but the clean-up that was told of it
        base.save(update_fields=["deleted_at", "deleted_why"])
        copies.begin(work, [base.store_id, base.prefix])
    for item in list(store.items(f"{base.prefix}/")):
        store.delete(item.key)
    copies.end(work, [base.store_id, base.prefix])
    store_rules.tell_what_stays(base.store, work)


def remove_wal(work: Work, rows: QuerySet[WalSegment]) -> None:
    """Each object, then its row."""
    for store in Store.objects.filter(pk__in=rows.values("store")):
        catalogue.must_be_mounted(store)
    removed = freed = 0
    for row in rows.select_related("store"):
        work.stop_if_cancelled()
        opened = row.store.open()
        opened.delete(row.key)
        if row.kind == WalSegment.Kind.PARTIAL:
            remove_parts(opened, row)
        row.delete()
        removed, freed = removed + 1, freed + row.stored_bytes
    work.log(f"Removed {count(removed)} segments of WAL, {size(freed)}.")
