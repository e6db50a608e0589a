"""Which alerts a person may see, and how many of them want somebody."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from dbadmin.by_hand import all_of, read
from dbadmin.health import Finding
from dbadmin.models import Server
from dbadmin.permissions import keys_with, may, servers_with
from monitoring.alert_models import Alert, AlertRule

#: As Alert.objects would ask; every page does.
OPEN = """
select alert.server_id, count(*)
from monitoring_alert alert join monitoring_alertrule rule on rule.id = alert.rule_id
where alert.resolved_at is null and alert.acknowledged_at is null and rule.tells
group by alert.server_id
"""
FINDINGS = f"""
select {all_of(Alert, "alert")} from monitoring_alert alert join monitoring_alertrule rule on rule.id = alert.rule_id
where alert.server_id = %s and alert.resolved_at is null and rule.kind = %s
    and not coalesce(starts_with(rule.origin, 'header:'), false)
order by alert.since
"""  # noqa: S608 - our own names


def visible(user: Any) -> QuerySet[Alert]:
    """Alerts on servers that the person monitors; those of dbadmin itself for who monitors all."""
    allowed = Q(server__in=servers_with(user, "monitoring.view"))
    if may(user, "monitoring.view"):
        allowed = Q()
    return Alert.objects.filter(allowed)


def open_count(user: Any) -> int:
    """Open ones that nobody has taken, without chores."""
    keys = keys_with(user, "monitoring.view")
    with connection.cursor() as cursor:
        cursor.execute(OPEN)
        return sum(number for server, number in cursor.fetchall() if server in keys)


def findings(server: Server, user: Any) -> list[Finding]:
    """Open alerts of rules that are more than a reading's own threshold, which the overview shows by itself."""
    found = read(Alert, FINDINGS, [server.pk, AlertRule.Kind.READING])
    return [
        Finding(
            alert.severity,
            ": ".join(filter(None, (str(alert), alert.text))),
            alert.get_absolute_url(),
            alert.since,
        )
        for alert in found
    ]


def watched(user: Any) -> QuerySet[Server]:
    """The servers that the person monitors."""
    return servers_with(user, "monitoring.view")
