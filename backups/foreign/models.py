"""A repository of another tool that is shown beside our backups, and what was last read of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from dbadmin.models import Server


class ForeignRepository(models.Model):
    """Where it is read from, and what it held then; nothing in it is ever changed."""

    class Tool(models.TextChoices):
        """Who keeps it."""

        PGBACKREST = "pgbackrest", "pgBackRest"
        BARMAN = "barman", "Barman"
        WALG = "walg", "WAL-G"

    class Source(models.TextChoices):
        """How its tool's JSON comes to us."""

        PROGRAM = "program", "The tool on the worker"
        FILE = "file", "A file on the worker"
        URL = "url", "An https address"

    server = models.ForeignKey(Server, models.CASCADE, related_name="foreign_repositories")
    tool = models.CharField(max_length=20, choices=Tool)
    name = models.CharField(max_length=70)
    source = models.CharField(max_length=10, choices=Source)
    location = models.CharField(max_length=500, blank=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    made_at = models.DateTimeField(default=timezone.now)
    tried_at = models.DateTimeField(null=True)
    as_of = models.DateTimeField(null=True)
    trouble = models.TextField(blank=True)
    seen: Any = models.JSONField(default=dict)

    class Meta:
        ordering = ("tool", "name")
        constraints = [
            models.UniqueConstraint(
                fields=["server", "tool", "name"], name="one_foreign_repository_each_name"
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_tool_display()} {self.name}"

    @property
    def where(self) -> str:
        """In words."""
        return self.location or f"the program {self.tool_program} of the worker"

    @property
    def tool_program(self) -> str:
        return "wal-g" if self.tool == self.Tool.WALG else self.tool

    @property
    def backups(self) -> list[dict[str, Any]]:
        """The newest first; of very many only those."""
        return [_dated(each, "started_at", "finished_at") for each in self.seen.get("backups", [])]

    @property
    def windows(self) -> list[dict[str, Any]]:
        return [_dated(each, "start", "end") for each in self.seen.get("windows", [])]

    @property
    def holes(self) -> list[dict[str, Any]]:
        return [_dated(each, "start", "end") for each in self.seen.get("holes", [])]

    @property
    def newest_at(self) -> datetime | None:
        """When the newest whole backup was finished."""
        return max(
            (each["finished_at"] for each in self.backups if each["finished_at"] and not each["problem"]),
            default=None,
        )

    @property
    def gaps_count(self) -> int | None:
        """Holes that no newer backup leads over; None while nobody can tell."""
        found = sum(hole["end"] is None for hole in self.holes)
        return found if found or (self.as_of and self.seen.get("holes_known")) else None

    @property
    def unread(self) -> timedelta:
        """How old is what we know."""
        return timezone.now() - (self.as_of or self.made_at)


def _dated(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    return entry | {name: datetime.fromisoformat(entry[name]) if entry.get(name) else None for name in names}
