"""History: which series there are, their samples packed by minute, hour and total, gaps and marks."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from dbadmin.models import Server
from monitoring.alert_models import Alert, AlertNote, AlertRule, Channel, Delivery, Silence

__all__ = [
    "Alert", "AlertNote", "AlertRule", "Channel", "Delivery", "Gap", "Hour", "Layout", "Line", "Mark",
    "Minute", "Name", "Silence", "Source", "Statement", "Text", "Total",
]  # fmt: skip


class Source(models.Model):
    """A probe of a server (and database) whose answers become series."""

    id = models.AutoField(primary_key=True)
    server = models.ForeignKey(Server, models.CASCADE, related_name="sources")
    database = models.CharField(max_length=63, blank=True)
    probe = models.CharField(max_length=60)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["server", "probe", "database"], name="one_source")]

    def __str__(self) -> str:
        return f"{self.probe} of {self.server} {self.database}".strip()


class Line(models.Model):
    """One key of a source: a table, a state, a statement. Its columns are the series."""

    id = models.AutoField(primary_key=True)
    source = models.ForeignKey(Source, models.CASCADE, related_name="lines")
    key = models.JSONField(help_text="The values of the key columns; empty for figures over all rows.")
    first_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "key"], name="one_line")]

    def __str__(self) -> str:
        return " ".join(str(part) for part in self.key)


class Layout(models.Model):
    """The columns of packed samples, written once instead of in every sample."""

    id = models.AutoField(primary_key=True)
    columns = ArrayField(models.TextField(), unique=True)

    def __str__(self) -> str:
        return ", ".join(self.columns)


class Minute(models.Model):
    """All changed lines of a source at one tick of the current hour. One partition a day."""

    pk = models.CompositePrimaryKey("source", "taken_at")
    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False)
    taken_at = models.DateTimeField()
    layout = models.ForeignKey(Layout, models.DO_NOTHING, db_constraint=False)
    body = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_minute"


class Hour(models.Model):
    """A closed hour of a source, every tick of it, in blocks of some lines each. One partition a day."""

    pk = models.CompositePrimaryKey("source", "starts_at", "part")
    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False)
    starts_at = models.DateTimeField()
    part = models.SmallIntegerField(help_text="More than one when the columns changed within the hour.")
    firsts = ArrayField(models.IntegerField(), help_text="The first line that belongs to each block.")
    ends = ArrayField(models.IntegerField(), help_text="Where each block ends in the body.")
    layout = models.ForeignKey(Layout, models.DO_NOTHING, db_constraint=False)
    body = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_hour"


class Total(models.Model):
    """Sums of counters, and mean, least and most of gauges, over an hour or a day. One partition a month."""

    HOUR, DAY = 3600, 86400

    pk = models.CompositePrimaryKey("source", "span", "starts_at")
    source = models.ForeignKey(Source, models.DO_NOTHING, db_constraint=False)
    span = models.IntegerField()
    starts_at = models.DateTimeField()
    layout = models.ForeignKey(Layout, models.DO_NOTHING, db_constraint=False)
    body = models.BinaryField()

    class Meta:
        managed = False
        db_table = "monitoring_total"


class Gap(models.Model):
    """A time for which counters are not known, and why."""

    class Cause(models.TextChoices):
        """Why there is nothing to show."""

        SILENT = "silent", "no sample was taken"
        UNREACHABLE = "unreachable", "the server did not answer"
        PROBLEM = "problem", "the question was refused"
        RESTART = "restart", "the server was restarted"
        CRASH = "crash", "the server crashed and lost its statistics"
        RESET = "reset", "statistics were reset"
        EVICTION = "eviction", "the statement was forgotten to make room"
        UPGRADE = "upgrade", "the server was upgraded"
        REPLACED = "replaced", "another server answers"
        CLOCK = "clock", "a clock was moved"

    server = models.ForeignKey(Server, models.CASCADE, related_name="gaps")
    source = models.ForeignKey(Source, models.CASCADE, null=True, help_text="Empty: the whole server.")
    lines = ArrayField(models.IntegerField(), null=True, help_text="Empty: every line of the source.")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, help_text="Empty: it lasts.")
    cause = models.CharField(max_length=12, choices=Cause)
    text = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["server", "started_at"])]

    def __str__(self) -> str:
        return self.text


class Mark(models.Model):
    """A moment on the timeline of a server: a restart, a reset, a changed setting, a deploy."""

    server = models.ForeignKey(Server, models.CASCADE, related_name="marks")
    at = models.DateTimeField()
    kind = models.CharField(max_length=20)
    text = models.TextField()
    facts = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["server", "at"])]
        ordering = ("at", "id")

    def __str__(self) -> str:
        return self.text


class Text(models.Model):
    """The text of a kind of statement, kept once whatever server runs it."""

    digest = models.BinaryField(unique=True, help_text="BLAKE2 of the text.")
    fingerprint = models.CharField(
        max_length=16, db_index=True, help_text="Equal for equal statements of any major."
    )
    text = models.TextField()
    is_cut = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.text


class Statement(models.Model):
    """The text of a statement of one database; roles and levels share it."""

    server = models.ForeignKey(Server, models.CASCADE, related_name="statements")
    database_id = models.BigIntegerField()
    query_id = models.BigIntegerField()
    text = models.ForeignKey(Text, models.PROTECT)
    first_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "query_id", "database_id"], name="one_statement")
        ]

    def __str__(self) -> str:
        return str(self.text)


class Name(models.Model):
    """What a role or database is called, by the number that statements are kept under."""

    server = models.ForeignKey(Server, models.CASCADE, related_name="names")
    kind = models.CharField(max_length=10)
    number = models.BigIntegerField()
    name = models.CharField(max_length=63)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["server", "kind", "number"], name="one_name")]

    def __str__(self) -> str:
        return self.name
