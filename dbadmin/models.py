"""What must not be lost: servers, grants, runs, schedules, tokens, and who did what."""

from __future__ import annotations

import hashlib
import secrets as random
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from dbadmin import connections, schedules, secrets
from dbadmin.addresses import where

if TYPE_CHECKING:
    from psycopg.sql import Composable

Purpose = connections.Purpose
slug = RegexValidator(
    r"^[a-z0-9][a-z0-9_-]*$", "Use small letters, digits, - and _; start with a letter or digit."
)


class ServerQuerySet(models.QuerySet["Server"]):
    """Servers, as a person may see them."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> ServerQuerySet:
        """Servers on which the person has any role."""
        from dbadmin.permissions import visible_servers

        return visible_servers(self, user)


class Server(models.Model):
    """A PostgreSQL that we look after: a primary, or a replica of one."""

    class Environment(models.TextChoices):
        """How careful to be."""

        PRODUCTION = "production"
        STAGING = "staging"
        DEVELOPMENT = "development"

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=63, unique=True, validators=[slug])
    environment = models.CharField(max_length=20, choices=Environment, default=Environment.PRODUCTION)
    tags = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    primary = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="replicas")
    queue = models.CharField(max_length=40, blank=True, help_text="Workers of this queue reach the server.")
    enabled = models.BooleanField(default=True)
    two_people = models.BooleanField(
        "two people",
        default=False,
        help_text="What destroys begins only when a second person, who may do it as well, has agreed.",
    )
    sealed_monitor_dsn = models.TextField(editable=False)
    sealed_operate_dsn = models.TextField(editable=False, blank=True)
    sealed_pgbouncer_dsn = models.TextField(editable=False, blank=True)
    sealed_redis_url = models.TextField(editable=False, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    objects = ServerQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return where("server", self.name)

    @property
    def asks_two(self) -> bool:
        """Does what destroys need a second person here? The setting for an environment cannot be undone by a page."""
        return self.two_people or self.environment in settings.DBADMIN_TWO_PEOPLE

    def seal_dsn(self, purpose: Purpose, dsn: str) -> None:
        """Keep a DSN encrypted, bound to this server and this purpose."""
        setattr(self, f"sealed_{purpose}", secrets.seal(dsn, f"server.{purpose}:{self.key}"))

    def unsealed(self, purpose: Purpose) -> str:
        """The DSN or URL in clear, empty when none is kept. Never print it."""
        return secrets.unseal(getattr(self, f"sealed_{purpose}"), f"server.{purpose}:{self.key}")

    def dsn(self, purpose: connections.Role = "monitor", database: str | None = None) -> str:
        """The DSN in clear for monitoring or for operations, in a database of choice. Never print it."""
        if purpose == "pgbouncer":
            return self.unsealed("pgbouncer_dsn")
        own = self.unsealed("operate_dsn") if purpose == "operate" else ""
        return connections.with_database(own or self.unsealed("monitor_dsn"), database)

    def safe_dsn(self, purpose: connections.Role = "monitor") -> str:
        """Host, port, database and user for people; nothing that opens a door."""
        return connections.safe_dsn(self.dsn(purpose))

    def rows(
        self,
        query: str | Composable,
        params: Any = None,
        database: str | None = None,
        purpose: connections.Role = "operate",
    ) -> list[Any]:
        """Ask the server, read only and with short limits."""
        with connections.session(self, purpose, database) as session:
            return session.rows(query, params)

    def row(self, query: str | Composable, params: Any = None, database: str | None = None) -> Any:
        """The first row, or None."""
        return next(iter(self.rows(query, params, database)), None)

    def value(self, query: str | Composable, params: Any = None, database: str | None = None) -> Any:
        """The first column of the first row, or None."""
        row = self.row(query, params, database)
        return row[0] if row is not None else None


class Role(models.TextChoices):
    """What a person may do; permissions.py says what each means."""

    VIEWER = "viewer"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    ADMIN = "admin"


class Grant(models.Model):
    """A role given to a person: everywhere, or on one server, one environment, one tag."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="grants")
    role = models.CharField(max_length=10, choices=Role)
    server = models.ForeignKey(Server, models.CASCADE, null=True, blank=True)
    environment = models.CharField(max_length=20, choices=Server.Environment, blank=True)
    tag = models.CharField(max_length=40, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "role", "server", "environment", "tag"],
                name="one_grant",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        where = self.server or self.environment or (f"tag {self.tag}" if self.tag else "every server")
        return f"{self.role} on {where}"

    def covers(self, server: Server | None) -> bool:
        """Does it hold on this server? What concerns no server needs a grant for every server."""
        if not (self.server_id or self.environment or self.tag):
            return True
        if server is None:
            return False
        return (
            self.server_id == server.pk
            or (bool(self.environment) and self.environment == server.environment)
            or (bool(self.tag) and self.tag in server.tags)
        )


class Schedule(models.Model):
    """An operation and its parameters, due by a cron line in a time zone."""

    name = models.CharField(max_length=80, blank=True)
    server = models.ForeignKey(Server, models.CASCADE, related_name="schedules")
    operation = models.CharField(max_length=60)
    params = models.JSONField(default=dict, blank=True)
    cron = models.CharField(max_length=80)
    time_zone = models.CharField(max_length=60, default="UTC")
    enabled = models.BooleanField(default=True)
    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    second = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        blank=True,
        help_text="Who agreed to all its runs, as it is.",
    )

    class Meta:
        ordering = ("server__name", "operation")

    def __str__(self) -> str:
        return self.name or f"{self.operation} on {self.server}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Made or changed, it is next due after now; what it missed before is not made up for."""
        if kwargs.get("update_fields") is None:
            self.due_at = schedules.next_due(self.cron, self.time_zone) if self.enabled else None
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """A line or a zone that cannot be used is said at its field."""
        try:
            schedules.validate(self.cron, self.time_zone)
        except schedules.BadScheduleError as bad:
            raise ValidationError({bad.field: str(bad)}) from bad


class Run(models.Model):
    """One execution of an operation: the truth about it, whatever Redis remembers."""

    class Status(models.TextChoices):
        """Where it stands."""

        WAITING = "waiting"  # for a second person
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        REFUSED = "refused"
        LOST = "lost"

    OPEN = (Status.WAITING, Status.QUEUED, Status.RUNNING)

    class Door(models.TextChoices):
        """How it was asked for."""

        PAGE = "page"
        COMMAND = "command"
        API = "api"
        SCHEDULE = "schedule"

    server = models.ForeignKey(Server, models.SET_NULL, null=True, related_name="runs")
    server_name = models.CharField(max_length=63)
    operation = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    target = models.TextField(blank=True)
    params = models.JSONField(default=dict)
    plan = models.JSONField(default=list)
    reverse = models.JSONField(default=list)
    risk = models.CharField(max_length=10)
    queue = models.CharField(max_length=40)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="runs")
    user_name = models.CharField(max_length=150)
    door = models.CharField(max_length=10, choices=Door)
    reason = models.TextField(blank=True)
    wait_until = models.DateTimeField(null=True, help_text="A second person may agree until then.")
    second = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    second_name = models.CharField(max_length=150, blank=True)
    second_at = models.DateTimeField(null=True)
    schedule = models.ForeignKey(Schedule, models.SET_NULL, null=True, related_name="runs")
    due_at = models.DateTimeField(null=True)
    undoes = models.ForeignKey("self", models.SET_NULL, null=True, related_name="undone_by")
    queued_at = models.DateTimeField(default=timezone.now, db_index=True)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.CharField(max_length=150, blank=True)
    cleaned_at = models.DateTimeField(null=True)
    clean_up_due_at = models.DateTimeField(null=True)
    clean_up_tries = models.PositiveSmallIntegerField(default=0)
    planned_at = models.DateTimeField(null=True)
    worker = models.CharField(max_length=120, blank=True)
    step = models.PositiveIntegerField(default=0)
    progress_done = models.BigIntegerField(null=True)
    progress_total = models.BigIntegerField(null=True)
    progress_unit = models.CharField(max_length=20, blank=True)
    message = models.TextField(blank=True)
    facts = models.JSONField(default=dict)
    result = models.JSONField(default=dict)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["server", "-id"]),
            models.Index(
                fields=["status"],
                condition=models.Q(status__in=["waiting", "queued", "running"]),
                name="run_open",
            ),
            models.Index(fields=["operation", "-id"]),
            models.Index(
                fields=["clean_up_due_at"],
                condition=models.Q(clean_up_due_at__isnull=False),
                name="run_clean_up_due",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["schedule", "due_at"],
                name="one_run_each_due",
                condition=models.Q(schedule__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["server", "operation", "target"],
                name="one_open_run",
                condition=models.Q(status__in=["waiting", "queued", "running"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} {self.target}".strip()

    def get_absolute_url(self) -> str:
        return where("run", self.pk)

    @property
    def is_open(self) -> bool:
        """It has not ended."""
        return self.status in self.OPEN


class WorkerBeat(models.Model):
    """A process of ours that is alive: seen a moment ago, and what it is busy with."""

    class Kind(models.TextChoices):
        """What it does."""

        WORKER = "worker"
        SCHEDULER = "scheduler"
        SAMPLER = "sampler"

    kind = models.CharField(max_length=10, choices=Kind, default=Kind.WORKER)
    name = models.CharField(max_length=120)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    queues = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    leads = models.BooleanField(default=False)
    abilities = models.JSONField(default=dict, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    busy_with = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("kind", "name")
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="one_beat")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class RunLine(models.Model):
    """One line of a run's log."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="lines")
    at = models.DateTimeField(default=timezone.now)
    text = models.TextField()

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.text


class Event(models.Model):
    """What a person did in dbadmin itself: signed in, looked at audit data, exported, changed a right."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    user_name = models.CharField(max_length=150)
    address = models.GenericIPAddressField(null=True)
    kind = models.CharField(max_length=40)
    server = models.ForeignKey(Server, models.SET_NULL, null=True)
    text = models.TextField()
    facts = models.JSONField(default=dict)

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=["kind", "-id"]), models.Index(fields=["user", "-id"])]

    def __str__(self) -> str:
        return f"{self.user_name}: {self.text}"


class TokenAnswer(NamedTuple):
    """A new token: the row, and the text that is shown once."""

    token: ApiToken
    text: str


class ApiToken(models.Model):
    """A person's key to the API: only its hash is kept; it can do no more than its person and its scope."""

    class Scope(models.TextChoices):
        """What it may be used for."""

        READ = "read"
        OPERATE = "operate"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60)
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.READ)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def hash(text: str) -> str:
        """What is stored of a token."""
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def make(cls, user: Any, name: str, scope: str, expires_at: Any = None) -> TokenAnswer:
        """Make a token; its text is known only now."""
        text = f"dba_{random.token_urlsafe(32)}"
        return TokenAnswer(
            cls.objects.create(
                user=user, name=name, scope=scope, digest=cls.hash(text), expires_at=expires_at
            ),
            text,
        )

    @classmethod
    def find(cls, text: str) -> ApiToken | None:
        """The valid token of this text, or None."""
        now = timezone.now()
        valid = cls.objects.filter(revoked_at=None, user__is_active=True).exclude(expires_at__lte=now)
        token = valid.select_related("user").filter(digest=cls.hash(text)).first()
        if token:
            cls.objects.filter(pk=token.pk).update(used_at=now)
        return token


class StoredReading(models.Model):
    """The latest answer of a probe, packed: pages open from here while the server hangs."""

    server = models.ForeignKey(Server, models.CASCADE)
    database = models.CharField(max_length=63, blank=True)
    probe = models.CharField(max_length=60)
    taken_at = models.DateTimeField(help_text="When these rows were true.")
    took_ms = models.FloatField()
    asked_at = models.DateTimeField(help_text="When we last asked, with whatever outcome.")
    version = models.BigIntegerField(
        help_text="A hash of the body: who has decoded it need not fetch it again."
    )
    body = models.BinaryField()
    trouble = models.JSONField(null=True, help_text="Why there is no newer answer.")
    state = models.CharField(
        max_length=10, blank=True, help_text="The worst row's: critical, warning or nothing."
    )
    state_count = models.PositiveIntegerField(default=0, help_text="Rows in that state.")
    state_text = models.TextField(blank=True, help_text="The first of them, in words.")
    state_since = models.DateTimeField(null=True, help_text="Since when there is such a row.")
    state_action = models.JSONField(default=dict, help_text="The operation for the first of them, filled in.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "database", "probe"], name="one_stored_reading")
        ]

    def __str__(self) -> str:
        return f"{self.probe} of {self.server_id} {self.database}".strip()


class ServerState(models.Model):
    """What the sampler last knew of a server as a whole."""

    server = models.OneToOneField(Server, models.CASCADE, related_name="state")
    databases = ArrayField(models.TextField(), default=list)
    reached_at = models.DateTimeField(null=True, help_text="Last answer of any probe.")
    asked_at = models.DateTimeField(null=True, help_text="Last attempt.")
    trouble = models.JSONField(null=True, help_text="Why the last attempt failed.")
    epoch = models.JSONField(
        default=dict, help_text="Start, resets and identity: the evidence for comparing counters."
    )
    cost_ratio = models.FloatField(
        null=True, help_text="Our own statements' time in the server: 0.01 is 1 % of a core."
    )
    slowed = models.FloatField(
        default=1, help_text="How much longer than asked the intervals are, to keep the budget."
    )
    sampler = models.CharField(max_length=120, blank=True, help_text="Which process holds the lease.")

    def __str__(self) -> str:
        return f"State of server {self.server_id}"
