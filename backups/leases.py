"""A lease keeps a backup from being deleted while somebody reads it, restores it or recovers from it."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone


class Leased(models.Model):
    """Rows that somebody may need for a while."""

    leased_until = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    @property
    def is_leased(self) -> bool:
        return self.leased_until is not None and self.leased_until > timezone.now()

    def lease(self, hours: float = 24) -> None:
        """Nobody deletes it, nor what it alone needs, until it is released or the hours are over."""
        self.leased_until = timezone.now() + timedelta(hours=hours)
        self.save(update_fields=["leased_until"])

    def release(self) -> None:
        type(self)._default_manager.filter(pk=self.pk).update(leased_until=None)
