"""Incoming webhooks of Slack, and of Mattermost and Rocket.Chat, which understand the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitoring.notify.http import post
from monitoring.notify.notice import Field, Item, Notice

if TYPE_CHECKING:
    from monitoring.alert_models import Channel

FIELDS = (Field("url", "Webhook URL", "https://hooks.slack.com/services/…", secret=True),)
COLOURS = {"critical": "#c0392b", "warning": "#b7791f", "over": "#2f855a"}
#: Slack cuts longer messages.
MOST_ITEMS = 20


def send(channel: Channel, notice: Notice) -> str:
    """One message; a coloured part for each alert."""
    return post(channel.settings["url"], message(notice))


def message(notice: Notice) -> dict[str, Any]:
    """The JSON."""
    title = escaped(notice.title)
    parts = [attachment(item, notice.kind) for item in notice.alerts[:MOST_ITEMS]]
    left = len(notice.alerts) - len(parts)
    if left > 0:
        parts.append({"text": f"and {left} more", "fallback": f"and {left} more"})
    return {"text": f"<{notice.url}|{title}>" if notice.url else title, "attachments": parts}


def attachment(item: Item, kind: str) -> dict[str, Any]:
    """One alert."""
    is_over = kind == "resolved"
    text = item.because if is_over else "\n".join(part for part in (item.text, item.advice) if part)
    found: dict[str, Any] = {
        "color": COLOURS["over" if is_over else item.severity],
        "title": escaped(f"{'Over: ' if is_over else ''}{item.title}"),
        "text": escaped(text),
        "fallback": escaped(f"{item.title}: {text}"),
        "fields": [{"title": "Since", "value": item.since[:16].replace("T", " ") + " UTC", "short": True}],
    }
    if item.url:
        found["title_link"] = item.url
    return found


def escaped(text: str) -> str:
    """Slack's three characters: a table's name must not become a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
