"""What a server can be recovered to, drawn as bars, and the way to a recovery."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from dbadmin.models import Server
from dbadmin.permissions import require


@login_required
@require_GET
def recovery(request: HttpRequest, server_name: str) -> HttpResponse:
    """Windows, holes, base backups, what stands recovered, and how the drills went."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    require(request.user, "backups.view", server)
    return render(request, "backups/recovery.html", {"server": server})
