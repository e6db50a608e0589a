"""Ways to tell people of alerts: a module for each kind of channel, with FIELDS and send(channel, notice)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from monitoring.notify.notice import Field, Notice, NotSent

if TYPE_CHECKING:
    from monitoring.alert_models import Channel

__all__ = ["KINDS", "Field", "NotSent", "Notice", "fields_of", "send"]

#: Kind of channel -> module.
KINDS = {
    "email": "monitoring.notify.email",
    "slack": "monitoring.notify.slack",
    "pagerduty": "monitoring.notify.pagerduty",
    "webhook": "monitoring.notify.webhook",
    "apprise": "monitoring.notify.apprise_extra",
}


class Way(Protocol):
    """What each module has."""

    FIELDS: tuple[Field, ...]

    @staticmethod
    def send(channel: Channel, notice: Notice) -> str:
        """Tell; what the other side answered. Raises NotSent."""
        ...


def way(kind: str) -> Any:
    """The module of a kind."""
    return import_module(KINDS[kind])


def fields_of(kind: str) -> tuple[Field, ...]:
    """What a channel of this kind must know."""
    fields: tuple[Field, ...] = way(kind).FIELDS
    return fields


def send(channel: Channel, notice: Notice) -> str:
    """Tell by the channel's own way."""
    answer: str = way(channel.kind).send(channel, notice)
    return answer
