"""Stores, keys, the catalogue of backups, and the databases that a restore put aside."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyrage
from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from backups import stores
from backups.foreign.models import ForeignRepository
from backups.leases import Leased
from backups.manifest import NAME, Manifest, NoManifest
from backups.physical.models import BaseBackup, Drill, PointInTime, RecoveredCluster, WalSegment
from backups.pipeline import Volume
from backups.row_models import RowComparison, RowDifference, SideSchema
from backups.stores import StoreError
from backups.stores.local import MARK, LocalStore
from backups.stores.s3 import S3Settings, S3Store
from dbadmin import secrets
from dbadmin.models import Run, Server, slug

if TYPE_CHECKING:
    from dbadmin.work import Work

__all__ = [
    "Backup",
    "BackupKey",
    "BaseBackup",
    "Copy",
    "Drill",
    "ForeignRepository",
    "KeptDatabase",
    "PointInTime",
    "Policy",
    "RecoveredCluster",
    "RowComparison",
    "RowDifference",
    "SideSchema",
    "Store",
    "WalSegment",
    "expiry",
]


class Store(models.Model):
    """Where backups are kept: a directory of the workers' host, or a bucket."""

    class Kind(models.TextChoices):
        """What it is."""

        LOCAL = "local", "Directory"
        S3 = "s3", "S3 bucket"

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=63, unique=True, validators=[slug])
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.LOCAL)
    directory = models.CharField(max_length=500, blank=True)
    endpoint = models.CharField(max_length=300, blank=True)
    region = models.CharField(max_length=60, blank=True, default="us-east-1")
    bucket = models.CharField(max_length=120, blank=True)
    prefix = models.CharField(max_length=300, blank=True)
    path_style = models.BooleanField(default=True)
    encryption = models.CharField(max_length=20, blank=True)
    lock_days = models.PositiveIntegerField(default=0)
    part_mebibytes = models.PositiveIntegerField(default=8)
    part_limit = models.PositiveIntegerField(default=9_900)
    sealed_access_key = models.TextField(editable=False, blank=True)
    sealed_secret_key = models.TextField(editable=False, blank=True)
    enabled = models.BooleanField(default=True)
    is_marked = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    tested_at = models.DateTimeField(null=True, editable=False)
    test_problem = models.TextField(blank=True, editable=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def seal(self, name: str, text: str) -> None:
        """Keep one of the two keys encrypted, bound to this store."""
        setattr(self, f"sealed_{name}", secrets.seal(text, f"store.{name}:{self.key}"))

    def unsealed(self, name: str) -> str:
        return secrets.unseal(getattr(self, f"sealed_{name}"), f"store.{name}:{self.key}")

    @property
    def path(self) -> Path:
        """The directory; a relative one lies in our own state directory."""
        return Path(settings.DBADMIN_STATE) / "stores" / (self.directory or self.name)

    def open(self) -> stores.Store:
        """What reads and writes."""
        if self.kind == self.Kind.LOCAL:
            return LocalStore(self.path, self.mark if self.is_marked else "")
        return S3Store(self.s3_settings())

    @property
    def way_in(self) -> tuple[object, ...]:
        """Whoever keeps it open opens it anew when one of these has changed."""
        return (
            self.kind, self.where, self.region, self.path_style, self.encryption, self.lock_days,
            self.part_mebibytes, self.part_limit, self.sealed_access_key, self.sealed_secret_key,
        )  # fmt: skip

    @property
    def mark(self) -> str:
        """The file that lies on the disk of a directory."""
        return f"{MARK}{self.key}"

    def put_mark(self) -> None:
        """From now on its directory is the store only while this disk is mounted there; a new one is made."""
        if self.kind == self.Kind.LOCAL:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            text = f"This is the disk of the store {self} of dbadmin, which takes it for away without this file.\n"
            LocalStore(self.path).put(self.mark, text.encode())
            self.is_marked = True
            Store.objects.filter(pk=self.pk).update(is_marked=True)

    def open_to_tidy(self, work: Work) -> stores.Store:
        """For the clean-up of a run: its first try keeps nobody waiting, a later one has time for a slow store."""
        opened = self.open()
        return opened if work.run.clean_up_tries else opened.in_haste()

    def s3_settings(self) -> S3Settings:
        return S3Settings(
            bucket=self.bucket,
            prefix=self.prefix,
            endpoint=self.endpoint,
            region=self.region,
            access_key=self.unsealed("access_key"),
            secret_key=self.unsealed("secret_key"),
            path_style=self.path_style,
            encryption=self.encryption,
            lock_days=self.lock_days,
            part_bytes=self.part_mebibytes << 20,
            part_limit=self.part_limit,
        )

    @property
    def place(self) -> tuple[str, ...]:
        """Where it is, from the outside in: what begins with it lies in it."""
        if self.kind == self.Kind.LOCAL:
            return (self.kind, *self.path.resolve().parts)
        return (self.kind, self.endpoint.rstrip("/"), self.bucket, *filter(None, self.prefix.split("/")))

    @property
    def where(self) -> str:
        """Where it is, for people."""
        if self.kind == self.Kind.LOCAL:
            return str(self.path)
        return "/".join(
            part for part in (self.endpoint or "s3:/", self.bucket, self.prefix.strip("/")) if part
        )


class BackupKey(models.Model):
    """A key that backups are encrypted for. The private half may be kept here (sealed) or only on paper."""

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=63, unique=True, validators=[slug])
    recipient = models.CharField(max_length=200, unique=True)
    sealed_identity = models.TextField(editable=False, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def make(cls, name: str, keep: bool) -> tuple[BackupKey, str]:
        """A new key and its private half, which is known only now unless it is kept."""
        identity = pyrage.x25519.Identity.generate()
        key = cls(name=name, recipient=str(identity.to_public()))
        if keep:
            key.seal(str(identity))
        key.save()
        return key, str(identity)

    def seal(self, identity: str) -> None:
        self.sealed_identity = secrets.seal(identity, f"key.identity:{self.key}")

    @property
    def identity(self) -> str:
        """The private half in clear, empty when it is not kept. Never print it."""
        return secrets.unseal(self.sealed_identity, f"key.identity:{self.key}")

    @classmethod
    def recipients(cls) -> list[str]:
        """For whom a backup is encrypted now."""
        return list(cls.objects.filter(retired_at=None).values_list("recipient", flat=True))

    @classmethod
    def lacking(cls, recipients: Iterable[str]) -> str:
        """Why what is encrypted for these cannot be opened here, and what mends it; empty when it can."""
        wanted = list(recipients)
        known = list(cls.objects.filter(recipient__in=wanted))
        if not wanted or any(key.sealed_identity for key in known):
            return ""
        names = " or ".join(key.name for key in known)
        if not names:
            says, mends = f"a key that is not known here: {wanted[0]}", "Add that key"
        else:
            says, mends = f"{names}, whose private half is not kept here", "Bring it back"
        return f"It is encrypted for {says}. {mends} on the page of keys first."

    @classmethod
    def identities(cls) -> list[str]:
        """Every private half that is kept, retired keys too: old backups need them."""
        return [key.identity for key in cls.objects.exclude(sealed_identity="")]


class BackupQuerySet(models.QuerySet["Backup"]):
    """Backups, by what they are good for."""

    def present(self) -> BackupQuerySet:
        return self.filter(deleted_at=None)

    def of(self, server: Server, database: str = "") -> BackupQuerySet:
        found = self.present().filter(server=server)
        return found.filter(database=database) if database else found

    def whole(self) -> BackupQuerySet:
        """Of everything in their database, not of chosen schemas or tables."""
        return self.filter(selection__schemas=[], selection__tables=[])

    def good(self) -> BackupQuerySet:
        """Read back or restored, with nothing found wrong since."""
        return self.present().filter(problem="").exclude(read_at=None, restored_at=None)


class Backup(Leased):
    """One line of the catalogue. The store's manifest is the truth; this row only finds and sorts it."""

    class Rung(models.TextChoices):
        """How far it has been proven."""

        WRITTEN = "written"
        READ = "read back", "Read back"
        RESTORED = "restored"

    server = models.ForeignKey(Server, models.SET_NULL, null=True, related_name="backups")
    server_name = models.CharField(max_length=63)
    database = models.CharField(max_length=63)
    kind = models.CharField(max_length=20, default="logical")
    store = models.ForeignKey(Store, models.PROTECT, related_name="backups")
    prefix = models.CharField(max_length=500)
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")
    selection = models.JSONField(default=dict)
    made_by = models.CharField(max_length=150, blank=True)
    started_at = models.DateTimeField(db_index=True)
    finished_at = models.DateTimeField()
    server_version = models.CharField(max_length=120)
    tool = models.CharField(max_length=120)
    encrypted = models.BooleanField(default=True)
    stored_bytes = models.BigIntegerField()
    plain_bytes = models.BigIntegerField()
    tables_count = models.IntegerField()
    total_rows = models.BigIntegerField()
    written_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)
    read_seconds = models.FloatField(null=True)
    restored_at = models.DateTimeField(null=True)
    restored_seconds = models.FloatField(null=True)
    problem = models.TextField(blank=True)
    notes = models.JSONField(default=list)
    keep = models.BooleanField(default=False)
    deleted_at = models.DateTimeField(null=True)
    deleted_why = models.TextField(blank=True)

    objects = BackupQuerySet.as_manager()

    class Meta:
        ordering = ("-started_at",)
        constraints = [models.UniqueConstraint(fields=["store", "prefix"], name="one_backup_each_prefix")]
        indexes = [models.Index(fields=["server", "database", "-started_at"])]

    def __str__(self) -> str:
        return (
            f"{self.database} of {self.server_name}, {timezone.localtime(self.started_at):%Y-%m-%d %H:%M:%S}"
        )

    def get_absolute_url(self) -> str:
        return reverse("backup", args=[self.server_name, self.pk])

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def rung(self) -> Backup.Rung:
        if self.restored_at:
            return self.Rung.RESTORED
        return self.Rung.READ if self.read_at else self.Rung.WRITTEN

    def places(self) -> list[Store]:
        """The stores that hold it, the one to read from first; what is known to be damaged comes last."""
        further = self.copies.select_related("store").order_by("problem", "written_at")
        return [self.store, *(copy.store for copy in further)]

    @property
    def where(self) -> str:
        """The names of all these stores."""
        return " and ".join(place.name for place in self.places())

    def manifest(self) -> Manifest:
        """Read anew from a store: the first that gives it."""
        first, *further = self.places()
        try:
            return self.manifest_in(first)
        except (StoreError, NoManifest):
            for place in further:
                with suppress(StoreError, NoManifest):
                    return self.manifest_in(place)
            raise

    def manifest_in(self, place: Store) -> Manifest:
        return Manifest.load(place.open().get(f"{self.prefix}/{NAME}"))

    def volumes(self, piece: str = "database") -> list[Volume]:
        return self.manifest().pieces[piece].volumes


class Copy(models.Model):
    """The same objects, byte for byte, in a further store."""

    backup = models.ForeignKey(Backup, models.CASCADE, related_name="copies")
    store = models.ForeignKey(Store, models.PROTECT, related_name="copies")
    written_at = models.DateTimeField(default=timezone.now)
    seconds = models.FloatField(null=True)
    read_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True)

    class Meta:
        ordering = ("written_at",)
        verbose_name_plural = "copies"
        constraints = [models.UniqueConstraint(fields=["backup", "store"], name="one_copy_each_store")]

    def __str__(self) -> str:
        return f"copy in {self.store}"


class KeptDatabase(models.Model):
    """A database that a restore renamed aside, or restored and could not put in place; until when it can come."""

    server = models.ForeignKey(Server, models.CASCADE, related_name="kept_databases")
    name = models.CharField(max_length=63)
    original = models.CharField(max_length=63)
    backup = models.ForeignKey(Backup, models.SET_NULL, null=True)
    run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")
    swapped_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    restored_at = models.DateTimeField(null=True)
    dropped_at = models.DateTimeField(null=True)
    facts: Any = models.JSONField(default=dict)

    class Meta:
        ordering = ("-swapped_at",)

    def __str__(self) -> str:
        return self.name

    @property
    def is_there(self) -> bool:
        return self.restored_at is None and self.dropped_at is None

    @property
    def is_restored(self) -> bool:
        """Is it what a restore made, and not what it replaced?"""
        return bool(self.facts.get("restored"))

    @property
    def is_new(self) -> bool:
        """Was it to be a new database, in the place of none?"""
        return bool(self.facts.get("new"))

    @property
    def origin(self) -> str:
        """What it has to do with the original."""
        return f"restored for {self.original}" if self.is_restored else f"was {self.original}"

    @classmethod
    def present(cls, server: Server) -> models.QuerySet[KeptDatabase]:
        return cls.objects.filter(server=server, restored_at=None, dropped_at=None)


class Policy(models.Model):
    """How the backups of some databases are kept: where, for whom they are encrypted, and for how long."""

    name = models.CharField(max_length=63, unique=True, validators=[slug])
    server = models.ForeignKey(Server, models.CASCADE, null=True, blank=True)
    tag = models.CharField(max_length=40, blank=True)
    database = models.CharField(max_length=63, blank=True, help_text="Empty: every database of the server.")
    store = models.ForeignKey(Store, models.PROTECT, null=True, blank=True)
    copies: Any = models.ManyToManyField(Store, blank=True, related_name="copy_policies")
    keys: Any = models.ManyToManyField(BackupKey, blank=True, related_name="policies")
    compression = models.PositiveIntegerField(null=True, blank=True)
    rules = models.JSONField(default=dict)
    enabled = models.BooleanField(default=True)
    changed_at: Any = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return self.name


def expiry(hours: float) -> datetime:
    return timezone.now() + timedelta(hours=hours)
