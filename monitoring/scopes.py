"""Which servers a rule, a silence or a channel is about: all, one, those of an environment or of a tag."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from dbadmin.models import Server


class Scope(models.Model):
    """Columns that narrow a row to some servers; all empty: every server."""

    server = models.ForeignKey(Server, models.CASCADE, null=True, blank=True, related_name="+")
    environment = models.CharField(max_length=20, choices=Server.Environment, blank=True)
    tag = models.CharField(max_length=40, blank=True)

    class Meta:
        abstract = True

    def covers(self, server: Server | None) -> bool:
        """Is this server meant? What concerns no server is meant by what is for all."""
        if not self.narrowness:
            return True
        if server is None:
            return False
        return (
            self.server_id == server.pk
            or (bool(self.environment) and self.environment == server.environment)
            or (bool(self.tag) and self.tag in server.tags)
        )

    @property
    def narrowness(self) -> int:
        """0 for all servers, then environment, tag, and 3 for a single server: the narrower one wins."""
        return 3 if self.server_id else 2 if self.tag else 1 if self.environment else 0

    @property
    def where(self) -> str:
        """For people."""
        if self.server_id:
            return str(self.server)
        return f"tag {self.tag}" if self.tag else self.environment or "every server"

    def clean(self) -> None:
        """At most one of the three."""
        if sum(bool(value) for value in (self.server_id, self.environment, self.tag)) > 1:
            raise ValidationError("Choose a server, an environment or a tag, not several.")


def lengths(value: Any) -> None:
    """A length of time that makes sense: up to thirty days."""
    if not 0 <= value <= 30 * 86400:
        raise ValidationError("Give a time between 0 and 30 days.")
