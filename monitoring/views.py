"""Pages of monitoring that are more than a list of panels."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dbadmin.views import server_for


@login_required
@require_GET
def queries(request: HttpRequest, server_name: str) -> HttpResponse:
    """Statements by total time in the chosen window."""
    server = server_for(request, server_name)
    return render(request, "monitoring/queries.html", {"server": server})
