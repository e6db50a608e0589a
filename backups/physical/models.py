"""The switch of a server, its WAL and base backups in the store, and what was recovered from them."""

from __future__ import annotations

from datetime import timedelta
from math import ceil
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.urls import reverse
from django.utils import timezone

from backups.leases import Leased
from backups.physical.wal import SEGMENT_BYTES, show_lsn
from backups.pipeline import Damaged
from backups.stores.base import MissingObject
from dbadmin import secrets
from dbadmin.models import Run, Server

#: A receiver that was not seen for so long is not at work.
SILENCE = timedelta(seconds=60)


class PointInTime(models.Model):
    """Point-in-time recovery of a server, switched on: where its WAL goes, and how far it has come."""

    server = models.OneToOneField(Server, models.CASCADE, related_name="point_in_time")
    enabled = models.BooleanField(default=True)
    store = models.ForeignKey("backups.Store", models.PROTECT, related_name="+")
    slot = models.CharField(max_length=63)
    system_id = models.CharField(max_length=30)
    segment_bytes = models.BigIntegerField(default=SEGMENT_BYTES)
    ship_seconds = models.PositiveIntegerField(default=10)
    base_hours = models.PositiveIntegerField(default=24)
    full_days = models.PositiveIntegerField(
        null=True, help_text="Between full base backups are incremental ones."
    )
    keep_days = models.PositiveIntegerField(default=7)
    heartbeat = models.BooleanField(default=False)
    heartbeat_database = models.CharField(max_length=63, blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    made_at = models.DateTimeField(default=timezone.now)
    receiver = models.CharField(max_length=255, blank=True)
    seen_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True)
    source_at = models.DateTimeField(null=True)
    source_lsn = models.BigIntegerField(null=True)
    spooled_lsn = models.BigIntegerField(null=True)
    spool_bytes = models.BigIntegerField(null=True)
    covered_at = models.DateTimeField(null=True)
    covered_lsn = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"point in time of {self.server}"

    @property
    def is_received(self) -> bool:
        """Is a receiver at work, and without trouble?"""
        return bool(self.seen_at and timezone.now() - self.seen_at < SILENCE and not self.problem)

    @property
    def longest_days(self) -> int:
        """The age up to which something may be needed: the base backup before the window, and what that is built on."""
        return self.keep_days + ceil(self.base_hours / 24) + (self.full_days or 0)

    @property
    def folder(self) -> str:
        """Where in the store the WAL of this cluster lies."""
        return f"{self.server.name}/_pitr/wal/{self.system_id}"


class WalSegment(models.Model):
    """One object of WAL: a whole segment, the part that is being written, or a timeline's history.

    marks: moments of the source's clock with the position that it had reached then, as [moment, position].
    """

    class Kind(models.TextChoices):
        """What it is."""

        SEGMENT = "segment"
        PARTIAL = "partial"
        HISTORY = "history"

    server = models.ForeignKey(Server, models.CASCADE, related_name="wal_segments")
    store = models.ForeignKey("backups.Store", models.PROTECT, related_name="+")
    system_id = models.CharField(max_length=30)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.SEGMENT)
    name = models.CharField(max_length=40)
    key = models.CharField(max_length=500)
    timeline = models.BigIntegerField()
    number = models.BigIntegerField()
    end_lsn = models.BigIntegerField()
    plain_bytes = models.BigIntegerField()
    plain_sha256 = models.CharField(max_length=64)
    stored_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    encrypted = models.BooleanField(default=True)
    stored_at = models.DateTimeField()
    until_at = models.DateTimeField(null=True)
    marks: Any = models.JSONField(default=list)
    content = models.TextField(blank=True)
    problem = models.TextField(blank=True)

    class Meta:
        ordering = ("timeline", "number")
        constraints = [
            models.UniqueConstraint(fields=["server", "system_id", "name"], name="one_segment_each_name")
        ]

    def __str__(self) -> str:
        return self.name


class BaseBackupQuerySet(models.QuerySet["BaseBackup"]):
    """Base backups, by what they are good for."""

    def present(self) -> BaseBackupQuerySet:
        return self.filter(deleted_at=None)

    def good(self) -> BaseBackupQuerySet:
        """Read back or recovered from, with nothing found wrong since."""
        return self.present().filter(problem="").exclude(read_at=None, recovered_at=None)


class BaseBackup(Leased):
    """A copy of a whole cluster; the store's manifest is the truth, this row finds it."""

    server = models.ForeignKey(Server, models.SET_NULL, null=True, related_name="base_backups")
    server_name = models.CharField(max_length=63)
    store = models.ForeignKey("backups.Store", models.PROTECT, related_name="+")
    prefix = models.CharField(max_length=500)
    prior = models.ForeignKey("self", models.PROTECT, null=True, related_name="later")
    why_full = models.TextField(blank=True, help_text="Why it is full though an incremental one was wanted.")
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")
    system_id = models.CharField(max_length=30)
    timeline = models.BigIntegerField()
    start_lsn = models.BigIntegerField()
    end_lsn = models.BigIntegerField()
    started_at = models.DateTimeField(db_index=True)
    consistent_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    server_version = models.CharField(max_length=120)
    made_by = models.CharField(max_length=150, blank=True)
    encrypted = models.BooleanField(default=True)
    stored_bytes = models.BigIntegerField()
    plain_bytes = models.BigIntegerField()
    files_count = models.IntegerField()
    read_at = models.DateTimeField(null=True)
    read_seconds = models.FloatField(null=True)
    recovered_at = models.DateTimeField(null=True)
    recovered_seconds = models.FloatField(null=True)
    problem = models.TextField(blank=True)
    keep = models.BooleanField(default=False)
    deleted_at = models.DateTimeField(null=True)
    deleted_why = models.TextField(blank=True)

    objects = BaseBackupQuerySet.as_manager()

    class Meta:
        ordering = ("-started_at",)
        constraints = [models.UniqueConstraint(fields=["store", "prefix"], name="one_base_each_prefix")]

    def __str__(self) -> str:
        kind = "incremental" if self.prior_id else "base"
        return f"{kind} backup of {self.server_name}, {timezone.localtime(self.started_at):%Y-%m-%d %H:%M:%S}"

    def mark(self, reason: Exception) -> None:
        """Nothing is recovered from it, nor built on it, once what the store gave back was not what was written."""
        if isinstance(reason, Damaged | MissingObject):
            self.problem = str(reason)
            BaseBackup.objects.filter(pk=self.pk).update(problem=self.problem)

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def start(self) -> str:
        return show_lsn(self.start_lsn)


class RecoveredCluster(models.Model):
    """A cluster that was recovered to a moment and stands on a worker's host for a while."""

    server = models.ForeignKey(Server, models.CASCADE, related_name="recovered_clusters")
    base = models.ForeignKey(BaseBackup, models.SET_NULL, null=True)
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")
    host = models.CharField(max_length=255)
    directory = models.CharField(max_length=500)
    port = models.PositiveIntegerField()
    sealed_dsn = models.TextField(editable=False, blank=True)
    target = models.CharField(max_length=200)
    target_at = models.DateTimeField(null=True)
    reached_at = models.DateTimeField(null=True)
    reached_lsn = models.BigIntegerField(null=True)
    databases = ArrayField(models.CharField(max_length=63), default=list)
    made_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    seen_at = models.DateTimeField(null=True)
    stop_requested_at = models.DateTimeField(null=True)
    handed_over = models.BooleanField(default=False)
    ended_at = models.DateTimeField(null=True)
    ended_why = models.TextField(blank=True)

    class Meta:
        ordering = ("-made_at",)

    def __str__(self) -> str:
        return f"{self.server} as of {self.target}"

    def seal(self, dsn: str) -> None:
        """Keep the way in encrypted, bound to this row's run."""
        self.sealed_dsn = secrets.seal(dsn, f"recovered.dsn:{self.run_id}")

    @property
    def dsn(self) -> str:
        """The way in, in clear. Never print it."""
        return secrets.unseal(self.sealed_dsn, f"recovered.dsn:{self.run_id}")

    @property
    def is_up(self) -> bool:
        """Does its keeper say that it runs?"""
        return self.ended_at is None and bool(self.seen_at and timezone.now() - self.seen_at < SILENCE)


class Drill(models.Model):
    """A recovery to a chance moment that was compared with what must be there, and with what must not."""

    server = models.ForeignKey(Server, models.CASCADE, related_name="drills")
    base = models.ForeignKey(BaseBackup, models.SET_NULL, null=True)
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    moment = models.DateTimeField()
    rto_seconds = models.FloatField(null=True)
    rpo_seconds = models.FloatField(null=True)
    replayed_bytes = models.BigIntegerField(null=True)
    says = models.TextField(blank=True)
    problem = models.TextField(blank=True)

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"drill of {self.server} to {self.moment:%Y-%m-%d %H:%M:%S}"

    def get_absolute_url(self) -> str:
        return reverse("run", args=[self.run_id])
