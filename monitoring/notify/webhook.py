"""A webhook of one's own: the notice as JSON, signed, so that the receiver knows it as ours and fresh."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING

from monitoring.notify.http import post
from monitoring.notify.notice import Field, Notice

if TYPE_CHECKING:
    from monitoring.alert_models import Channel

FIELDS = (
    Field("url", "URL", "https://…; receives a POST of JSON."),
    Field("secret", "Signing secret", "HMAC-SHA256 over time, a full stop, and the body.", secret=True),
)


def send(channel: Channel, notice: Notice) -> str:
    """One POST."""
    settings = channel.settings
    body = json.dumps(notice.stored(), sort_keys=True).encode()
    return post(settings["url"], body, headers(settings["secret"], body, int(time.time()), notice.id))


def headers(secret: str, body: bytes, at: int, delivery: str) -> dict[str, str]:
    """When, and the proof of it."""
    return {
        "X-Dbadmin-Time": str(at),
        "X-Dbadmin-Signature": f"sha256={signature(secret, body, at)}",
        "X-Dbadmin-Notice": delivery,
    }


def signature(secret: str, body: bytes, at: int) -> str:
    """What the receiver computes too: hex of HMAC-SHA256 over "<time>.<body>"."""
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
