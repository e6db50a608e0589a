"""The list of alerts, one alert, and taking it on."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from dbadmin.events import record
from dbadmin.forms import wanted
from dbadmin.models import Server
from dbadmin.permissions import may, may_anywhere, require
from monitoring import evidence
from monitoring.alert_lists import visible, watched
from monitoring.alert_models import Alert, AlertRule, Severity
from monitoring.deliveries import hushing

STATES = (("open", "Open"), ("taken", "Taken"), ("chores", "Chores"), ("over", "Over"), ("all", "All"))
#: What a rule that tells nobody is worth: it is listed apart, as no channel and no count speaks of it.
CHORES = Q(rule__tells=False)
#: The open ones, by tab: those that want somebody, which the navigation counts; those that have somebody; the rest.
STILL = {
    "open": ~CHORES & Q(acknowledged_at=None),
    "taken": ~CHORES & ~Q(acknowledged_at=None),
    "chores": CHORES,
}
PER_PAGE = 50


@login_required
@require_GET
def alerts(request: HttpRequest) -> HttpResponse:
    """Open ones first, the worst on top; the past below filters."""
    if not may_anywhere(request.user, "monitoring.view"):
        raise PermissionDenied("This needs the role viewer, operator or admin on some server.")
    state = request.GET.get("state", "open")
    state = state if state in dict(STATES) else "open"
    chosen = {
        name: request.GET[name] for name in ("severity", "server_name", "name") if request.GET.get(name)
    }
    found = filtered(visible(request.user), state, chosen).select_related("server", "rule")
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    rows = list(page.object_list)
    silences = hushing()
    context = {
        "rows": [
            {"alert": alert, "silenced": alert.is_open and any(silence.hushes(alert) for silence in silences)}
            for alert in rows
        ],
        "page": page,
        "states": counted(request.user),
        "state": state,
        "chosen": chosen,
        "severities": Severity.choices,
        "servers": watched(request.user),
        "names": visible(request.user).order_by("name").values_list("name", flat=True).distinct(),
        "may_change": may(request.user, "alerts.change"),
        "may_silence": may_anywhere(request.user, "alerts.acknowledge"),
    }
    return render(request, "monitoring/alerts.html", context)


def filtered(found: QuerySet[Alert], state: str, chosen: dict[str, str]) -> QuerySet[Alert]:
    """What the address asks for, in the order that fits."""
    for name, column in (("severity", "severity"), ("server_name", "server__name"), ("name", "name")):
        if name in chosen:
            found = found.filter(**{column: chosen[name]})
    if state == "over":
        return found.exclude(resolved_at=None).order_by("-resolved_at")
    if state in STILL:
        # "critical" comes before "warning" by the alphabet too.
        return found.filter(STILL[state], resolved_at=None).order_by("severity", "-since")
    return found.order_by(F("resolved_at").desc(nulls_first=True), "-pk")


def counted(user: Any) -> list[tuple[str, str, int | None]]:
    """The tabs, with how many are open and taken."""
    still = visible(user).filter(resolved_at=None)
    numbers = {name: still.filter(which).count() for name, which in STILL.items()}
    return [(name, label, numbers.get(name)) for name, label in STATES]


def alert_for(request: HttpRequest, pk: int, permission: str) -> Alert:
    """An alert on a server that the person may see, with the right."""
    found = get_object_or_404(Alert.objects.select_related("server", "rule"), pk=pk)
    server = found.server
    if server is not None and not Server.objects.visible_to(request.user).filter(pk=server.pk).exists():
        raise Http404("There is no such alert.")
    require(request.user, permission, server)
    return found


@login_required
@require_GET
def alert(request: HttpRequest, pk: int) -> HttpResponse:
    """What, since when, the evidence, what to do, and all that happened to it."""
    found = alert_for(request, pk, "monitoring.view")
    earlier = Alert.objects.filter(rule=found.rule, server=found.server, row_key=found.row_key)
    context = {
        "alert": found,
        "server": found.server,
        "rule": found.rule,
        "limit_text": limit_words(found.rule, found.evidence.get("baseline")) if found.rule else "",
        "value_text": found.rule.shown(found.last_value) if found.rule else "",
        "chart": evidence.chart(found),
        "row": evidence.row(found),
        "actions": evidence.actions(found, request.user) if found.is_open else [],
        "place": evidence.place(found),
        "subject": evidence.subject(found),
        "steps": evidence.steps(found),
        "earlier": earlier.filter(database=found.database).exclude(pk=found.pk)[:10] if found.rule else [],
        "silenced": next((each for each in hushing() if found.is_open and each.hushes(found)), None),
        "may_take": may(request.user, "alerts.acknowledge", found.server),
        "may_change": may(request.user, "alerts.change"),
    }
    return render(request, "monitoring/alert.html", context)


def limit_words(rule: AlertRule, base: float | None = None) -> str:
    """warning above 80 %, critical above 90 %; base: what the limits are multiples of in the row at hand."""
    if rule.comparison == rule.Comparison.PRESENT:
        return "not empty"
    word = "below" if rule.comparison == rule.Comparison.BELOW else "above"
    pairs = (("warning", rule.warning), ("critical", rule.critical))
    return ", ".join(
        f"{name} {'at any' if rule.is_any(limit) else f'{word} {rule.shown_limit(limit, base)}'}"
        for name, limit in pairs
        if limit is not None
    )


@login_required
@require_POST
def acknowledge(request: HttpRequest, pk: int) -> HttpResponse:
    """Take an alert on: nobody is reminded of it until it gets worse. Or give it back."""
    found = alert_for(request, pk, "alerts.acknowledge")
    name, take = request.user.get_username(), wanted(request)
    if not found.is_open:
        messages.info(request, "It is over already.")
    elif take:
        taken = Alert.objects.filter(pk=pk, acknowledged_at=None, resolved_at=None)
        if taken.update(acknowledged_at=timezone.now(), acknowledged_by=name):
            found.note("taken", f"Taken by {name}.", name)
            record(request, "alert", f"Took the alert {found}.", found.server, alert=pk)
        elif found.acknowledged_by != name:
            messages.info(request, f"{found.acknowledged_by} has taken it already.")
    elif (
        Alert.objects.filter(pk=pk)
        .exclude(acknowledged_at=None)
        .update(acknowledged_at=None, acknowledged_by="")
    ):
        found.note("given back", f"Given back by {name}.", name)
        record(request, "alert", f"Gave the alert {found} back.", found.server, alert=pk)
    return redirect(found)
