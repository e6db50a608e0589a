"""A lease keeps a backup from being deleted while a run reads it, restores it or recovers from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models, transaction
from django.utils import timezone

from dbadmin.models import Run

if TYPE_CHECKING:
    from dbadmin.work import Work


class Leased(models.Model):
    """Rows that runs may need for a while, each for itself: the end of one's lease leaves the others'."""

    leases = models.JSONField(default=dict, help_text="The run's number, and until when it may need this.")

    class Meta:
        abstract = True

    @property
    def is_leased(self) -> bool:
        """By a run that is at work, however long it takes, or until the hours are over."""
        if any(datetime.fromisoformat(until) > timezone.now() for until in self.leases.values()):
            return True
        return bool(self.leases) and Run.objects.filter(pk__in=self.leases, status__in=Run.OPEN).exists()

    def lease(self, work: Work, hours: float = 24) -> None:
        """Nobody deletes it, nor what it alone needs, until this run releases it, or is over and the hours as well."""
        work.remember(leased=[self._meta.label_lower, self.pk])
        until = (timezone.now() + timedelta(hours=hours)).isoformat()
        self._change(lambda leases: leases.update({str(work.run.pk): until}))

    def release(self, work: Work) -> None:
        self._change(lambda leases: leases.pop(str(work.run.pk), None))

    def _change(self, change: Callable[[dict[str, str]], object]) -> None:
        with transaction.atomic():
            row = type(self)._default_manager.select_for_update(of=("self",)).filter(pk=self.pk).first()
            if row is None:
                return
            change(row.leases)
            row.save(update_fields=["leases"])
        self.leases = row.leases


def end(work: Work) -> Any:
    """A clean-up's first act: the lease of a run that ended badly ends with it. Returns what was leased, or None."""
    label, pk = work.facts.get("leased") or ("", 0)
    found = apps.get_model(label)._default_manager.filter(pk=pk).first() if label else None
    if isinstance(found, Leased):
        found.release(work)
    return found
