"""Marks that others put on a server's timeline: a deploy tells when it happened, and charts show it."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from dbadmin import exports
from dbadmin.api import door, refuse, server_or_404
from dbadmin.charts import TimeRange, moment_of
from dbadmin.events import record
from dbadmin.models import ApiToken
from dbadmin.permissions import require
from monitoring.models import Mark

#: Characters of a mark's text, and marks in one answer.
LONGEST, MOST = 200, 1000


@door("GET", "POST")
def marks(request: HttpRequest, server_name: str) -> HttpResponse:
    """The marks of a window, or a new one: {"text": "shop 4.2 was deployed", "at": "2026-03-01T14:32:00Z"}."""
    server = server_or_404(request, server_name)
    if request.method == "POST":
        return add(request, server_name)
    require(request.user, "monitoring.view", server)
    window = TimeRange.of(request.GET, "24h")
    found = Mark.objects.filter(server=server, at__gte=window.start, at__lt=window.end)
    return JsonResponse({"marks": [as_dict(mark) for mark in found.order_by("-at")[:MOST]]})


@door("POST", scope=ApiToken.Scope.OPERATE)
def add(request: HttpRequest, server_name: str) -> HttpResponse:
    """A deploy, or whatever else somebody did: now, or at a moment that is past."""
    server = server_or_404(request, server_name)
    require(request.user, "marks.add", server)
    try:
        body: Any = json.loads(request.body or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return refuse(400, "Send a JSON object.")
    text, at = body.get("text"), timezone.now()
    if not isinstance(text, str) or not 0 < len(text.strip()) <= LONGEST or "\0" in text:
        return refuse(422, f"Say in text what happened, in at most {LONGEST} characters.")
    if body.get("at") is not None:
        moment = moment_of(str(body["at"]))
        if moment is None or moment > at:
            return refuse(422, "at is a moment that is past, such as 2026-03-01T14:32:00Z.")
        at = moment
    facts = {"by": request.user.get_username()}
    mark = Mark.objects.create(server=server, at=at, kind="deploy", text=text.strip(), facts=facts)
    record(request, "mark", f"Marked on the timeline of {server}: {mark.text}", server)
    return JsonResponse(as_dict(mark), status=201)


def as_dict(mark: Mark) -> dict[str, Any]:
    """A mark for programs."""
    return {"at": exports.plain(mark.at), "kind": mark.kind, "text": mark.text, "facts": mark.facts}
