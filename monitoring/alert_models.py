"""Alerts: the rules, what they found, who was told, and when they keep silent."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from dbadmin import secrets
from dbadmin.models import Server
from dbadmin.units import UNKNOWN, duration, percent, significant, unit_of
from monitoring.scopes import Scope, lengths


class Severity(models.TextChoices):
    """How bad."""

    WARNING = "warning"
    CRITICAL = "critical"


#: For comparisons: none is least.
RANK = {"": 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class AlertRule(Scope):
    """When a number of a reading needs attention."""

    class Kind(models.TextChoices):
        """What is looked at."""

        READING = "reading", "A reading"
        UNREACHABLE = "unreachable", "A server that does not answer"
        SILENT = "silent", "A server that no sampler reads"
        SCHEDULER = "scheduler", "The scheduler of dbadmin"

    class Measure(models.TextChoices):
        """How a number is made of the columns."""

        VALUE = "value", "the column as it is read"
        RATE = "rate", "the column's increase in a second"
        PER = "per", "the column's increase for each of the other"
        SHARE = "share", "the column's share in both increases together"

    class Comparison(models.TextChoices):
        """On which side it is bad."""

        ABOVE = ">", "above"
        BELOW = "<", "below"
        PRESENT = "present", "not empty"

    class Against(models.TextChoices):
        """What the warning and critical numbers are."""

        LIMIT = "limit", "fixed limits"
        BASELINE = "baseline", "multiples of its own mean of the last week"
        COLUMN = "column", "multiples of the other column of its row"

    origin = models.CharField(max_length=80, unique=True, null=True, blank=True, editable=False)
    is_changed = models.BooleanField(default=False, editable=False)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.READING, editable=False)
    probe = models.CharField(max_length=60, blank=True)
    column = models.CharField(max_length=63, blank=True)
    measure = models.CharField(max_length=8, choices=Measure, default=Measure.VALUE)
    other = models.CharField(max_length=63, blank=True)
    comparison = models.CharField(max_length=8, choices=Comparison, default=Comparison.ABOVE)
    against = models.CharField(max_length=10, choices=Against, default=Against.LIMIT)
    warning = models.FloatField(null=True, blank=True)
    critical = models.FloatField(null=True, blank=True)
    clear = models.FloatField(null=True, blank=True)
    floor = models.FloatField(null=True, blank=True)
    at_least = models.FloatField(default=0)
    for_seconds = models.PositiveIntegerField(default=0, validators=[lengths])
    advice = models.TextField(blank=True)
    tells = models.BooleanField(default=True)
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("alert_rule", args=[self.pk])

    @property
    def subject(self) -> tuple[str, ...]:
        """Rules of one subject stand in for one another: the narrowest scope wins."""
        if self.kind != self.Kind.READING:
            return (self.kind,)
        # Fixed limits and those of another column stand in for one another.
        is_own = self.against == self.Against.BASELINE
        other = "" if self.against == self.Against.COLUMN else self.other
        return (self.kind, self.probe, self.column, other, self.measure, self.comparison, str(is_own))

    def shown(self, value: float | None) -> str:
        """A value of this rule's number, for people."""
        if value is None:
            return UNKNOWN
        match self.measure:
            case self.Measure.SHARE:
                return percent(value)
            case self.Measure.RATE:
                return f"{unit_of(self.column.removesuffix('_total')).text(value)}/s"
            case self.Measure.PER:
                return per_text(self.column, value)
        unit = unit_of(self.column)
        if self.kind != self.Kind.READING:
            return duration(value)
        return unit.text(value) if unit.numeric else significant(value)

    def is_any(self, limit: float | None) -> bool:
        """Does this limit only ask whether there is one at all? missing > -1, failing_count > 0."""
        if limit is None or self.comparison != self.Comparison.ABOVE or self.against != self.Against.LIMIT:
            return False
        return limit <= 0 or (limit < 1 and self.column.endswith("_count"))

    def shown_limit(self, limit: float | None, base: float | None = None) -> str:
        """A warning or critical number, for people; base: what it is a multiple of in the row at hand."""
        if limit is None:
            return UNKNOWN
        if self.against == self.Against.COLUMN:
            times = "" if limit == 1 else f"{significant(limit)} × "
            return self.shown(limit * base) if base is not None else f"{times}{label_of(self.other)}"
        is_count = self.measure == self.Measure.VALUE and self.column.endswith("_count")
        if is_count and self.against == self.Against.LIMIT:
            # Above 2.5 is above 2, below 2.5 is below 3: nobody counts halves.
            limit = math.floor(limit) if self.comparison == self.Comparison.ABOVE else math.ceil(limit)
        return (
            f"{significant(limit)} × baseline" if self.against == self.Against.BASELINE else self.shown(limit)
        )


def label_of(column: str) -> str:
    """lead for lead_seconds."""
    return column.removesuffix(unit_of(column).suffix).replace("_", " ")


def per_text(column: str, value: float) -> str:
    """1.2 s for exec_seconds_total each call."""
    return unit_of(column.removesuffix("_total")).text(value)


class Alert(models.Model):
    """Something that needed attention, from its beginning to its end."""

    rule = models.ForeignKey(AlertRule, models.SET_NULL, null=True, related_name="alerts")
    name = models.CharField(max_length=120)
    server = models.ForeignKey(Server, models.CASCADE, null=True, related_name="alerts")
    database = models.CharField(max_length=63, blank=True)
    row_key = models.JSONField(default=list)
    row_name = models.TextField(blank=True)
    severity = models.CharField(max_length=8, choices=Severity)
    since = models.DateTimeField(help_text="Since when it was seen to be so.")
    opened_at = models.DateTimeField(default=timezone.now)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    resolved_at = models.DateTimeField(null=True)
    resolved_because = models.TextField(blank=True)
    last_value = models.FloatField(null=True)
    last_at = models.DateTimeField(default=timezone.now)
    text = models.TextField()
    evidence = models.JSONField(default=dict)
    told_severity = models.CharField(max_length=8, blank=True)
    told_at = models.DateTimeField(null=True)
    told_end = models.BooleanField(default=False)

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=["server", "-id"]), models.Index(fields=["-resolved_at"])]
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "server", "database", "row_key"],
                name="one_open_alert",
                condition=models.Q(resolved_at=None),
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.row_name}" if self.row_name else self.name

    def get_absolute_url(self) -> str:
        return reverse("alert", args=[self.pk])

    @property
    def key(self) -> tuple[Any, ...]:
        """What it is about, within its rule and server."""
        return (self.database, tuple(self.row_key))

    @property
    def is_open(self) -> bool:
        """Not over yet."""
        return self.resolved_at is None

    @property
    def dedup_key(self) -> str:
        """The name of this alert for other systems, the same from its beginning to its end."""
        return f"dbadmin-alert-{self.pk}"

    @property
    def took(self) -> float:
        """Seconds from its beginning to its end, or until now."""
        return ((self.resolved_at or timezone.now()) - self.since).total_seconds()

    def note(self, kind: str, text: str, user_name: str = "") -> AlertNote:
        """One more line of its history."""
        return AlertNote.objects.create(alert=self, kind=kind, text=text, user_name=user_name)


class AlertNote(models.Model):
    """One line of an alert's history."""

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="notes")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=20)
    text = models.TextField()
    user_name = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.text


class Silence(Scope):
    """A time in which nobody is told; alerts open and end all the same."""

    rule = models.ForeignKey(AlertRule, models.CASCADE, null=True, blank=True, related_name="silences")
    row_name = models.CharField(max_length=200, blank=True)
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=200)
    created_by = models.CharField(max_length=150, editable=False)

    class Meta:
        ordering = ("-ends_at",)

    def __str__(self) -> str:
        return f"{self.rule or 'Every rule'} on {self.where}"

    @property
    def is_on(self) -> bool:
        """Now."""
        return self.starts_at <= timezone.now() < self.ends_at

    def hushes(self, alert: Alert) -> bool:
        """Is nobody told of this alert?"""
        return (
            self.covers(alert.server)
            and self.rule_id in (None, alert.rule_id)
            and self.row_name in ("", alert.row_name)
        )


class Channel(Scope):
    """Where people are told."""

    class Kind(models.TextChoices):
        """By what."""

        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack, Mattermost or Rocket.Chat"
        PAGERDUTY = "pagerduty", "PagerDuty"
        WEBHOOK = "webhook", "Signed webhook"
        APPRISE = "apprise", "Apprise"

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=10, choices=Kind)
    sealed_settings = models.TextField(editable=False, blank=True)
    least = models.CharField(max_length=8, choices=Severity, default=Severity.WARNING)
    tells_end = models.BooleanField(default=True)
    repeat_seconds = models.PositiveIntegerField(default=0, validators=[lengths])
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def settings(self) -> dict[str, Any]:
        """Addresses and keys in clear. Never print them."""
        text = secrets.unseal(self.sealed_settings, f"channel.settings:{self.key}")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def seal(self, values: dict[str, Any]) -> None:
        """Keep addresses and keys encrypted, bound to this channel."""
        self.sealed_settings = secrets.seal(json.dumps(values), f"channel.settings:{self.key}")


class Delivery(models.Model):
    """One notice on its way to one channel."""

    class State(models.TextChoices):
        """Where it is."""

        WAITING = "waiting"
        SENT = "sent"
        GIVEN_UP = "given up"

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="deliveries")
    server = models.ForeignKey(Server, models.SET_NULL, null=True, related_name="+")
    alerts = models.ManyToManyField(Alert, related_name="deliveries")
    notice = models.JSONField()
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    tries = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    answer = models.TextField(blank=True)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(state="waiting"), name="delivery_waiting")
        ]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.notice.get('title', '')} to {self.channel}"
