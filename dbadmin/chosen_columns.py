"""Which columns of a table a person wants to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import models

from dbadmin.by_hand import all_of, read


class ChosenColumns(models.Model):
    """The columns that a person sees of a probe, on every server."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    probe = models.CharField(max_length=60)
    names = models.JSONField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("user", "probe"), name="columns_are_chosen_once"),
        ]

    def __str__(self) -> str:
        return f"{self.probe} for {self.user}"


OF_PERSON = f"select {all_of(ChosenColumns)} from dbadmin_chosencolumns where user_id = %s"  # noqa: S608 - our own names


def chosen_by(user: Any) -> dict[str, Sequence[str]]:
    """Probe -> the columns that a person chose; nothing of probes that are shown as they come."""
    return {each.probe: each.names for each in read(ChosenColumns, OF_PERSON, [user.pk])}
