"""Looks each minute whether the store still holds what the catalogue lists; what is gone opens a hole."""

from __future__ import annotations

import time

from django.db.models import QuerySet

from backups.physical.layers import look_for
from backups.physical.models import BaseBackup, PointInTime, WalSegment
from backups.stores import Store

#: Seconds between two looks, and how many listings one look asks for beside the newest.
EVERY = 60.0
MISSING = "It is no longer in the store."


class Watch:
    """The newest stretch at every look, and one older stretch in turn: a listing each, however long the history."""

    def __init__(self, point: PointInTime) -> None:
        self.point = point
        self.looked_at = 0.0
        self.turn = 0
        self.problem = ""

    def look(self, store: Store) -> None:
        if time.monotonic() - self.looked_at < EVERY:
            return
        self.looked_at = time.monotonic()
        rows = self.rows()
        stretches = sorted({name[:16] for name in rows.values_list("name", flat=True)})
        chosen = stretches[-1:]
        if len(stretches) > 1:
            self.turn = (self.turn + 1) % (len(stretches) - 1)
            chosen.append(stretches[self.turn])
        for stretch in chosen:
            self.compare(store, stretch)
        bases = BaseBackup.objects.present().filter(
            server=self.point.server, system_id=self.point.system_id, store=self.point.store
        )
        for base in [*bases[:1], *bases[1 + self.turn % max(1, len(bases) - 1) :][:1]]:
            look_for(base)
        gone = rows.filter(problem=MISSING).order_by("number")
        first, count = gone.first(), gone.count()
        more = f" and {count - 1} more" if count > 1 else ""
        self.problem = (
            f"{first}{more} vanished from the store: what follows cannot be recovered." if first else ""
        )

    def rows(self) -> QuerySet[WalSegment]:
        """Of the store that is written now: what lies in a former one is not looked for here."""
        point = self.point
        return WalSegment.objects.filter(
            server=point.server, system_id=point.system_id, kind="segment", store=point.store
        )

    def compare(self, store: Store, stretch: str) -> None:
        """One listing: an object that is missing or has another size is marked, one that came back is not."""
        below = f"{self.point.folder}/{stretch}"
        there = {item.key: item.size_bytes for item in store.items(below)}
        for row in self.rows().filter(name__startswith=stretch):
            problem = "" if there.get(row.key) == row.stored_bytes else MISSING
            if problem != row.problem and row.problem in ("", MISSING):
                WalSegment.objects.filter(pk=row.pk).update(problem=problem)
