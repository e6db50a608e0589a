"""PagerDuty Events v2: one event for each alert, the same dedup key from its beginning to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitoring.notify.http import post
from monitoring.notify.notice import Field, Item, Notice

if TYPE_CHECKING:
    from monitoring.alert_models import Channel

ENDPOINT = "https://events.pagerduty.com/v2/enqueue"
FIELDS = (
    Field("routing_key", "Integration key", "Of an Events API v2 integration.", secret=True),
    Field(
        "endpoint",
        "Endpoint",
        "For another region: https://events.eu.pagerduty.com/v2/enqueue",
        default=ENDPOINT,
    ),
)
#: PagerDuty refuses longer summaries.
MOST = 1024


def send(channel: Channel, notice: Notice) -> str:
    """An event for each alert. Sent twice, it is one to PagerDuty, so that a retry does no harm."""
    settings = channel.settings
    answer = ""
    for item in notice.alerts:
        answer = post(settings.get("endpoint") or ENDPOINT, event(settings["routing_key"], notice, item))
    return answer


def event(routing_key: str, notice: Notice, item: Item) -> dict[str, Any]:
    """The JSON; a test opens nothing that stays: its event is resolved at once."""
    found: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if notice.kind == "resolved" else "trigger",
        "dedup_key": item.dedup_key,
    }
    if notice.kind == "resolved":
        return found
    where = f"{notice.server}: " if notice.server else ""
    found["payload"] = {
        "summary": f"{where}{': '.join(filter(None, (item.title, item.text)))}"[:MOST],
        "source": notice.server or "dbadmin",
        "severity": item.severity,
        "timestamp": item.since,
        "component": item.database or "postgresql",
        "group": notice.environment,
        "class": item.name,
        "custom_details": {"row": item.row, "value": item.value, "what to do": item.advice},
    }
    found["client"] = "dbadmin"
    if item.url:
        found["client_url"] = item.url
        found["links"] = [{"href": item.url, "text": "The alert in dbadmin"}]
    return found
