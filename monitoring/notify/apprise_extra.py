"""A hundred other services by the library Apprise, where it is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from monitoring.notify.notice import Field, Notice, NotSent

if TYPE_CHECKING:
    from monitoring.alert_models import Channel

FIELDS = (
    Field("urls", "Apprise URLs", "Separated by spaces: tgram://…, msteams://…, ntfy://…", secret=True),
)


def is_there() -> bool:
    """Is the library installed?"""
    return find_spec("apprise") is not None


def send(channel: Channel, notice: Notice) -> str:
    """By all addresses; Apprise only says whether all went well."""
    if not is_there():
        raise NotSent(
            "Apprise is not installed here: pip install apprise, where the scheduler and the samplers run.",
            is_final=True,
        )
    apprise: Any = import_module("apprise")
    target = apprise.Apprise()
    if not target.add(channel.settings["urls"].split()):
        raise NotSent("Apprise does not understand one of the addresses.", is_final=True)
    kinds = {"critical": "failure", "warning": "warning"}
    kind = "success" if notice.kind == "resolved" else kinds.get(notice.severity, "info")
    if not target.notify(title=notice.title, body="\n".join(notice.lines), notify_type=kind):
        raise NotSent("One of the services did not take it; Apprise does not say why.")
    return "taken by every service"
