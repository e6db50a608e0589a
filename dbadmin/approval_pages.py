"""The page of what waits for a second person, and the decision about it."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from dbadmin import consent, two_people
from dbadmin.models import Run
from dbadmin.operate import run_or_404
from dbadmin.operations import Refused, Risk
from dbadmin.permissions import may_anywhere, require, servers_with

RECENT = 20


@login_required
@require_GET
def approvals(request: HttpRequest) -> HttpResponse:
    """What waits for a second person, and how the last ones were decided."""
    if not may_anywhere(request.user, "runs.approve"):
        raise PermissionDenied("This needs the role admin.")
    waiting = list(two_people.waiting(request.user))
    decided = Run.objects.exclude(wait_until=None).exclude(status=Run.Status.WAITING)
    context = {
        "rows": [{"run": run, "is_own": run.user_id == request.user.pk} for run in waiting],
        "decided": decided.filter(server__in=servers_with(request.user, "runs.approve"))[:RECENT],
    }
    return render(request, "dbadmin/approvals.html", context)


@login_required
@require_POST
def decide(request: HttpRequest, pk: int) -> HttpResponse:
    """Agree, or do not; only another person than the one who asked, and only with a fresh proof of identity."""
    run = run_or_404(request, pk)
    require(request.user, "runs.approve", run.server)
    if not consent.is_fresh(request, Risk.DESTROYS):
        return redirect(consent.prove_url(run))
    try:
        if request.POST.get("decision") == "agree":
            two_people.agree(run, request, later=bool(request.POST.get("later")))
        else:
            two_people.refuse(run, request, request.POST.get("why", "").strip())
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect(run)
