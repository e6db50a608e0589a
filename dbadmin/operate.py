"""One page serves every operation: ask, preview, confirm, enqueue; and the pages of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dbadmin import consent, runs, units
from dbadmin.addresses import where, whole
from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY, Operation, Refused, Risk
from dbadmin.permissions import RIGHTS, may, may_read, require, require_parameters, servers_with
from dbadmin.plans import Plan, plan_of
from dbadmin.readiness import Check
from dbadmin.steps import Step

#: A request for a second person lasts no longer.
LONGEST_HOURS = 14 * 24


def operation_or_404(name: str) -> type[Operation]:
    """The operation of this name."""
    if name not in REGISTRY:
        raise Http404(f"There is no operation {name}.")
    return REGISTRY[name]


def bound_form(request: HttpRequest, server: Server, operation_class: type[Operation]) -> forms.Form:
    """Bound when something was sent; a row's button fills the fields it knows and leaves the rest to their defaults."""
    if request.method == "POST" and not is_row_start(request):
        return operation_class.form(server, request.POST)
    form = operation_class.form(server, initial=request.GET.dict())
    if "preview" not in request.GET and any(
        field.required and name not in request.GET and field.initial is None
        for name, field in form.fields.items()
    ):
        return form
    data = request.GET.copy()
    if "preview" not in data:
        for name, field in form.fields.items():
            if name not in data and field.initial is not None:
                initial = field.initial() if callable(field.initial) else field.initial
                data.setlist(
                    name, [str(item) for item in initial] if isinstance(initial, list) else [str(initial)]
                )
    return operation_class.form(server, data)


def is_row_start(request: HttpRequest) -> bool:
    """A button of a row that starts at once: what it is about stands in the address."""
    return request.method == "POST" and "start" in request.POST


def planned(operation: Operation, form: forms.Form) -> Plan:
    """The plan; a refusal that names a field goes there."""
    plan = plan_of(operation)
    if plan.field in form.fields:
        form.add_error(plan.field, plan.refusal)
        return Plan()
    return plan


@login_required
@require_http_methods(["GET", "POST"])
def operate(request: HttpRequest, server_name: str, name: str) -> HttpResponse:
    """Ask, preview, confirm, enqueue."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=server_name)
    operation_class = operation_or_404(name)
    require(request.user, operation_class.permission(), server)

    form = bound_form(request, server, operation_class)
    operation, plan, missing, risk = None, Plan(), "", operation_class.risk
    if form.is_bound and form.is_valid():
        operation = operation_class(server, dict(form.cleaned_data))
        require_parameters(request.user, operation)
        plan = planned(operation, form)
        # A server that gave no plan will not tell the risk either.
        risk = operation.risk_now() if plan.steps else risk
    fresh = consent.is_fresh(request, risk)

    if operation and plan.steps and request.method == "POST":
        if is_row_start(request):
            ready = risk is Risk.HARMLESS
        else:
            missing = consent.missing(operation, plan.agreed, request.POST.dict())
            ready = not missing and fresh
        if ready:
            return started(request, form, operation, plan.steps)

    context = {
        "server": server,
        "operation_class": operation_class,
        "operation": operation,
        "form": form,
        "plan": plan.steps,
        "plan_digest": consent.digest(plan.agreed),
        "refusal": plan.refusal,
        "takes_back": bool(operation and plan.steps and operation.takes_back(plan.steps)),
        "checks": outcome(looked_at(request, operation, plan)),
        "missing": missing,
        "risk": risk.value,
        "waits": operation.waits() if operation and plan.steps else "",
        "target": operation.target() if operation and plan.steps else "",
        "asks_second": operation.asks_second() if operation and plan.steps else False,
        "reason": request.POST.get("reason", ""),
        "wait_hours": request.POST.get("wait_hours") or round(runs.PATIENCE.total_seconds() / 3600),
        "fresh": fresh,
        "reauthenticate_url": reauthenticate_url(request, form),
        "back_url": back_url(request, server),
    }
    return render(request, "dbadmin/operate.html", context, status=422 if request.method == "POST" else 200)


def looked_at(request: HttpRequest, operation: Operation | None, plan: Plan) -> Sequence[Check]:
    """What the plan looked at, and on a preview what else the operation tells."""
    if operation is None:
        return ()
    more = operation.look() if request.method == "GET" and (plan.steps or plan.refusal) else ()
    return [*operation.checks, *more]


def outcome_url(user: Any, operation: Operation, run: Run) -> str:
    """Where the outcome of a run is looked at; "" for those who may not look there."""
    right = f"{operation.permission().partition('.')[0]}.view"
    if run.status != Run.Status.SUCCEEDED or (right in RIGHTS and not may(user, right, operation.server)):
        return ""
    return operation.result_url(run)


def outcome(checks: Sequence[Check]) -> dict[str, Sequence[Check]]:
    """What was looked at: the lines that tell something, and those that only say that all is well."""
    told = [check for check in checks if check.state != "ok"]
    return {"all": checks, "told": told, "well": [check for check in checks if check.state == "ok"]}


def back_url(request: HttpRequest, server: Server) -> str:
    """Where the person came from, when that was one of our pages."""
    wanted = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()})
    return wanted if safe else server.get_absolute_url()


def preview_of(request: HttpRequest, form: forms.Form) -> str:
    """The address of this very preview, with all that was filled in, and all that stood there by default."""
    data = form.data if isinstance(form.data, QueryDict) else request.GET
    pairs = [(name, value) for name in form.fields for value in data.getlist(name)]
    return f"{request.path}?{urlencode([*pairs, ('preview', '1')])}"


def reauthenticate_url(request: HttpRequest, form: forms.Form) -> str:
    """Prove who you are, then come back to this very preview."""
    return f"{reverse('account_reauthenticate')}?{urlencode({'next': preview_of(request, form)})}"


def started(
    request: HttpRequest, form: forms.Form, operation: Operation, steps: Sequence[Step]
) -> HttpResponse:
    """Make the run of exactly this plan and show it; a refusal at the last moment goes back to what was filled in."""
    try:
        run = runs.start(
            operation,
            request.user,
            Run.Door.PAGE,
            reason=request.POST.get("reason", "").strip(),
            steps=steps,
            patience=patience(request),
        )
    except Refused as reason:
        messages.error(request, str(reason))
        return redirect(preview_of(request, form))
    return redirect(run)


def patience(request: HttpRequest) -> timedelta:
    """For how long a second person is asked."""
    hours = whole(request.POST.get("wait_hours", ""))
    return runs.PATIENCE if hours is None else timedelta(hours=min(max(hours, 1), LONGEST_HOURS))


def run_or_404(request: HttpRequest, pk: int) -> Run:
    """A run that the person may see."""
    run = get_object_or_404(Run.objects.select_related("server", "user", "schedule"), pk=pk)
    if run.server is None:
        require(request.user, "runs.view")
    elif not may(request.user, "runs.view", run.server):
        raise Http404
    return run


def steps_of(run: Run) -> list[dict[str, Any]]:
    """The plan's texts, each with how far it is."""
    stands = []
    for number, text in enumerate(run.plan, start=1):  # run.step is the one that runs, 0 before the first
        if number < run.step or run.status == Run.Status.SUCCEEDED:
            state, word = "done", "done"
        elif number == run.step and run.status not in {Run.Status.WAITING, Run.Status.QUEUED}:
            state, word = ("running", "runs") if run.is_open else ("failed", run.get_status_display().lower())
        else:
            state, word = "", "waits" if run.is_open else "not reached"
        reverse_text = run.reverse[number - 1] if number <= len(run.reverse) else ""
        stands.append({"text": text, "state": state, "word": word, "reverse": reverse_text})
    return stands


@login_required
@require_GET
def run(request: HttpRequest, pk: int) -> HttpResponse:
    """One run: where it stands, its steps, its log, what to do next."""
    found = run_or_404(request, pk)
    operation_class = REGISTRY.get(found.operation)
    may_act = bool(
        operation_class and found.server and may(request.user, operation_class.permission(), found.server)
    )
    operation = operation_class(found.server, found.params) if operation_class and found.server else None
    is_open = may_read(request.user, found)
    context = {
        "run": found,
        "server": found.server,
        "steps": steps_of(found) if is_open else [],
        "kept_from": not is_open,
        "waits_for": runs.waits_for(found),
        "lines": list(found.lines.order_by("-id")[:500])[::-1] if is_open else [],
        "may_cancel": may_act and found.is_open,
        "again_url": again_url(found) if may_act and not found.is_open else "",
        "undo_url": runs.undo_url(found) if may_act else "",
        "result_url": outcome_url(request.user, operation, found) if operation else "",
        "asked": consent.asked(request, found),
        "live": 1 if found.status in {Run.Status.QUEUED, Run.Status.RUNNING} else 0,
        "progress": progress_text(found),
        "eta": eta(found),
        "duration": units.duration(found.finished_at - found.started_at)
        if found.finished_at and found.started_at
        else "",
    }
    template = "dbadmin/_run.html" if request.headers.get("HX-Request") else "dbadmin/run.html"
    return render(request, template, context)


def progress_text(found: Run) -> str:
    """3.1 GiB of 4.8 GiB."""
    if found.progress_done is None:
        return ""
    show = units.size if found.progress_unit == "bytes" else units.count
    word = "" if found.progress_unit == "bytes" else f" {found.progress_unit}"
    total = f" of {show(found.progress_total)}" if found.progress_total else ""
    return f"{show(found.progress_done)}{total}{word}"


def eta(found: Run) -> str:
    """The time left at the pace so far; nothing before a twentieth is done."""
    if not (found.is_open and found.started_at and found.progress_total and found.progress_done):
        return ""
    share = found.progress_done / found.progress_total
    if not 0.05 <= share < 1:
        return ""
    passed = (timezone.now() - found.started_at).total_seconds()
    return units.duration(round(passed / share - passed))


def again_url(found: Run) -> str:
    """The same operation with the same parameters, as a new preview."""
    return preview_url(found.server_name, found.operation, found.params)


def preview_url(server_name: str, operation: str, params: dict[str, Any]) -> str:
    """The preview of an operation with these parameters."""
    pairs = [
        (name, item)
        for name, value in params.items()
        for item in (value if isinstance(value, list) else [value])
        if item not in (None, "", False)
    ]
    return f"{reverse('operate', args=[server_name, operation])}?{urlencode([*pairs, ('preview', '1')])}"


@login_required
@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask a run to stop."""
    found = run_or_404(request, pk)
    operation_class = operation_or_404(found.operation)
    require(request.user, operation_class.permission(), found.server)
    try:
        runs.cancel(found, request.user)
    except Refused as reason:
        messages.error(request, str(reason))
    return redirect(found)


#: Parameters of the list -> columns of a run.
FILTERS = {
    "server": "server_name",
    "server_name": "server_name",
    "operation": "operation",
    "status": "status",
    "user_name": "user_name",
}


@login_required
@require_GET
def run_list(request: HttpRequest) -> HttpResponse:
    """Every run that the person may see, newest first, filtered by the address."""
    found = Run.objects.defer("plan", "reverse", "facts", "result", "params")
    if not may(request.user, "runs.view"):
        allowed = servers_with(request.user, "runs.view")
        if not allowed.exists():
            raise PermissionDenied("This needs a role on some server.")
        found = found.filter(server__in=allowed)
    chosen = {name: request.GET[name] for name in FILTERS if request.GET.get(name)}
    found = found.filter(**{FILTERS[name]: value for name, value in chosen.items()})
    context = {
        "server": None,
        "runs": (page := Paginator(found, 50).get_page(request.GET.get("page"))).object_list,
        "page": page,
        "chosen": chosen,
        "operations": sorted(((name, cls.title) for name, cls in REGISTRY.items()), key=lambda item: item[1]),
        "statuses": Run.Status.choices,
        "servers": Server.objects.visible_to(request.user),
    }
    return render(request, "dbadmin/runs.html", context)


def menu(user: Any, server: Server) -> SafeString:
    """Links to the operations that a person may start on a server, by app; empty when there are none."""
    html = []
    apps = groupby(sorted(REGISTRY.values(), key=lambda cls: (cls.app, cls.title)), key=lambda cls: cls.app)
    for app, classes in apps:
        links = [
            f'<a href="{where("operate", server.name, cls.name)}">{escape(cls.title)}…</a>'
            for cls in classes
            if may(user, cls.permission(), server)
        ]
        if links:
            html.append(f'<p class="menu-head">{escape(app.capitalize())}</p>{"".join(links)}')
    return mark_safe("<hr>".join(html))  # noqa: S308 - each part is escaped above


__all__ = ["Risk", "cancel", "menu", "operate", "run", "run_list"]
