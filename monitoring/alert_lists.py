"""Which alerts a person may see, and how many of them want somebody."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from dbadmin.models import Server
from dbadmin.permissions import may, servers_with
from monitoring.alert_models import Alert


def visible(user: Any) -> QuerySet[Alert]:
    """Alerts on servers that the person monitors; those of dbadmin itself for who monitors all."""
    allowed = Q(server__in=servers_with(user, "monitoring.view"))
    if may(user, "monitoring.view"):
        allowed = Q()
    return Alert.objects.filter(allowed)


def open_count(user: Any) -> int:
    """Open ones that nobody has taken, without chores."""
    return visible(user).filter(resolved_at=None, acknowledged_at=None, rule__tells=True).count()


def watched(user: Any) -> QuerySet[Server]:
    """The servers that the person monitors."""
    return servers_with(user, "monitoring.view")
