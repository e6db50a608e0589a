"""Tables that were brought back beside the live ones, and what a comparison of the two found."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.urls import reverse
from django.utils import timezone

from dbadmin.models import Run, Server


class SideSchema(models.Model):
    """A schema of the live database that holds tables as they were, for as long as was chosen."""

    server = models.ForeignKey(Server, models.CASCADE, related_name="side_schemas")
    database = models.CharField(max_length=63)
    name = models.CharField(max_length=63)
    label = models.TextField(help_text="Where the rows came from, in words.")
    backup = models.ForeignKey("backups.Backup", models.SET_NULL, null=True)
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")
    tables: Any = models.JSONField(
        default=list, help_text="Of each: schema, name, side (its name here), rows."
    )
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    dropped_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.database}.{self.name}"

    def get_absolute_url(self) -> str:
        return reverse("side_schema", args=[self.server.name, self.pk])

    @property
    def is_expired(self) -> bool:
        """Its time is over, and it is still there."""
        return self.dropped_at is None and self.expires_at <= timezone.now()

    @classmethod
    def present(cls, server: Server) -> models.QuerySet[SideSchema]:
        return cls.objects.filter(server=server, dropped_at=None)


class RowComparison(models.Model):
    """One live table against the same table elsewhere, by key. Values are not kept, only keys."""

    side = models.ForeignKey(SideSchema, models.CASCADE, related_name="comparisons", null=True)
    server = models.ForeignKey(Server, models.CASCADE, related_name="+")
    database = models.CharField(max_length=63)
    schema = models.CharField(max_length=63)
    name = models.CharField(max_length=63)
    other_schema = models.CharField(max_length=63)
    other_name = models.CharField(max_length=63)
    key: Any = models.JSONField(default=list)
    columns: Any = models.JSONField(default=list)
    notes: Any = models.JSONField(default=list)
    problem = models.TextField(blank=True)
    same = models.BigIntegerField(default=0)
    missing = models.BigIntegerField(default=0)
    changed = models.BigIntegerField(default=0)
    extra = models.BigIntegerField(default=0)
    listed = models.IntegerField(default=0)
    #: The marks of all changed rows together; null: nobody knows how they were.
    changed_marks = models.BigIntegerField(null=True)
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")
    compared_at = models.DateTimeField(default=timezone.now)
    seconds = models.FloatField(default=0)

    class Meta:
        ordering = ("schema", "name")

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def get_absolute_url(self) -> str:
        return reverse("row_comparison", args=[self.server.name, self.pk])

    @property
    def total(self) -> int:
        """How many rows differ."""
        return self.missing + self.changed + self.extra


class RowDifference(models.Model):
    """One row that differs: its key as texts, and how."""

    class Kind(models.TextChoices):
        """How it differs, seen from the live table."""

        MISSING = "missing"
        CHANGED = "changed"
        EXTRA = "extra"

    comparison = models.ForeignKey(RowComparison, models.CASCADE, related_name="differences")
    kind = models.CharField(max_length=7, choices=Kind)
    key: Any = models.JSONField()
    #: By which the live row of a changed one is known again: it is another number when the row holds anything else.
    live_mark = models.BigIntegerField(null=True)

    class Meta:
        ordering = ("id",)
        indexes = [models.Index(fields=["comparison", "kind", "id"])]

    def __str__(self) -> str:
        return f"{self.kind} {self.label}"

    @property
    def label(self) -> str:
        """Its key, for the eye."""
        return ", ".join(self.key).strip()
