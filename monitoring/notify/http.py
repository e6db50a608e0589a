"""One POST with a time limit: no redirect is followed, and an answer that is no success is said in words."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from monitoring.notify.notice import NotSent

#: Seconds for the whole exchange; characters of the answer that are kept.
PATIENCE, MOST = 10.0, 300
#: Answers after which trying again helps.
PASSING = {408, 425, 429}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead a signed notice anywhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def post(url: str, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> str:
    """Send JSON; the answer's status and beginning. NotSent never names the address: it may be secret."""
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise NotSent("The address of the channel is no http or https address.", is_final=True)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", "User-Agent": "dbadmin", **(headers or {})}
    request = urllib.request.Request(url, data, sent, method="POST")  # noqa: S310 - the scheme is looked at above
    try:
        with OPENER.open(request, timeout=PATIENCE) as answer:
            return said(answer.status, answer.read(MOST))
    except urllib.error.HTTPError as error:
        text = said(error.code, error.read(MOST))
        wait = error.headers.get("Retry-After", "") if error.headers else ""
        raise NotSent(
            f"The other side refused: {text}",
            is_final=error.code < 500 and error.code not in PASSING,
            wait=float(wait) if wait.isdigit() else 0.0,
        ) from None
    except (urllib.error.URLError, TimeoutError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise NotSent(f"The other side does not answer: {reason}.") from None


def said(status: int, body: bytes) -> str:
    """200 ok."""
    return f"{status} {' '.join(body.decode(errors='replace').split())}".strip()
