"""Operations that come due by themselves: the list, one, its next moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dbadmin import runs, schedules
from dbadmin.events import record
from dbadmin.models import Run, Schedule, Server
from dbadmin.operate import operation_or_404, planned, preview_url
from dbadmin.operations import REGISTRY, Operation, Refused
from dbadmin.permissions import may, require, servers_with
from dbadmin.plans import Plan

if TYPE_CHECKING:  # Django's forms take no type argument at run time
    ScheduleModelForm = forms.ModelForm[Schedule]
else:
    ScheduleModelForm = forms.ModelForm


class ScheduleForm(ScheduleModelForm):
    """When."""

    class Meta:
        model = Schedule
        fields = ("name", "cron", "time_zone", "enabled")
        help_texts = {
            "cron": "minute hour day month weekday, such as 30 2 * * *; or @hourly, @daily, @weekly, @monthly."
        }

    def clean(self) -> dict[str, Any]:
        """The line and the zone are understood."""
        data = super().clean() or self.cleaned_data
        if data.get("cron") and data.get("time_zone"):
            try:
                schedules.next_runs(data["cron"], data["time_zone"], 1)
            except schedules.BadScheduleError as error:
                self.add_error(error.field, str(error))
        return data


@login_required
@require_GET
def schedules_list(request: HttpRequest) -> HttpResponse:
    """All schedules that the person may see, with their next moments and last runs."""
    allowed = servers_with(request.user, "schedules.view")
    if not allowed.exists() and not may(request.user, "schedules.view"):
        raise PermissionDenied("This needs the role viewer, operator or admin on some server.")
    found = list(Schedule.objects.filter(server__in=allowed).select_related("server"))
    rows = [
        {
            "schedule": schedule,
            "title": REGISTRY[schedule.operation].title
            if schedule.operation in REGISTRY
            else schedule.operation,
            "target": schedule.name,
            "due_at": schedules.next_runs(schedule.cron, schedule.time_zone, 1)[0]
            if schedule.enabled
            else None,
            "last_run": schedule.runs.first(),
            "may_change": may(request.user, "schedules.change", schedule.server),
        }
        for schedule in found
    ]
    changeable = list(servers_with(request.user, "schedules.change"))
    context = {
        "rows": rows,
        "servers": changeable,
        "operations": sorted(REGISTRY.items(), key=lambda item: item[1].title) if changeable else [],
    }
    return render(request, "dbadmin/schedules.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """Choose server and operation by the address, then fill in when and with what."""
    server = get_object_or_404(Server.objects.visible_to(request.user), name=request.GET.get("server", ""))
    operation = operation_or_404(request.GET.get("operation", ""))
    schedule = Schedule(server=server, operation=operation.name, cron=request.GET.get("cron", ""))
    return edit(request, schedule, operation)


@login_required
@require_http_methods(["GET", "POST"])
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """One schedule."""
    schedule = get_object_or_404(Schedule.objects.select_related("server"), pk=pk)
    return edit(request, schedule, operation_or_404(schedule.operation))


def edit(request: HttpRequest, schedule: Schedule, operation_class: type[Operation]) -> HttpResponse:
    """Both forms: when, and the operation's own."""
    server = schedule.server
    require(request.user, "schedules.change", server)
    require(request.user, operation_class.permission(), server)
    form = ScheduleForm(request.POST or None, instance=schedule)
    given = {
        name: value for name, value in request.GET.items() if name not in {"server", "operation", "cron"}
    }
    params = operation_class.form(
        server, request.POST or None, initial=schedule.params or given, prefix="params"
    )
    plan = Plan()
    if request.method == "POST" and form.is_valid() and params.is_valid():
        plan = planned(operation_class(server, dict(params.cleaned_data)), params)
        if not (plan.refusal or params.errors) and request.POST.get("action") != "preview":
            schedule = form.save(commit=False)
            schedule.params, schedule.created_by_id, schedule.due_at = (
                params.cleaned_data,
                request.user.pk,
                None,
            )
            schedule.second = None  # who agreed, agreed to what it was
            schedule.save()
            note_saved(request, schedule)
            (due,) = schedules.next_runs(schedule.cron, schedule.time_zone, 1)
            messages.success(
                request,
                f"{schedule} runs next at {due:%Y-%m-%d %H:%M %Z}.",
            )
            return redirect("schedules")
    context = {
        "schedule": schedule,
        "server": server,
        "operation_class": operation_class,
        "form": form,
        "params_form": params,
        "plan": plan.texts,
        "refusal": plan.refusal,
        "next": next_of(form),
        "runs": schedule.runs.all()[:10] if schedule.pk else [],
    }
    return render(
        request, "dbadmin/schedule_form.html", context, status=422 if form.errors or params.errors else 200
    )


def note_saved(request: HttpRequest, schedule: Schedule) -> None:
    """Somebody made or changed it."""
    text = f"Saved the schedule {schedule}: {schedule.cron} {schedule.time_zone}."
    record(request, "schedule", text, schedule.server)


def next_of(form: ScheduleForm) -> list[Any]:
    """The next five moments of what is in the form; none of a line that is told to be wrong when it is sent."""
    source = form.cleaned_data if form.is_bound and form.is_valid() else form.initial
    if not source.get("cron"):
        return []
    try:
        return schedules.next_runs(source["cron"], source.get("time_zone") or "UTC", 5)
    except schedules.BadScheduleError:
        return []


@login_required
@require_POST
def run_now(request: HttpRequest, pk: int) -> HttpResponse:
    """The scheduled operation at once, as its person."""
    schedule = get_object_or_404(Schedule.objects.select_related("server"), pk=pk)
    operation_class = operation_or_404(schedule.operation)
    require(request.user, operation_class.permission(), schedule.server)
    if operation_class.risk.needs_reauthentication:
        return redirect(preview_url(schedule.server.name, schedule.operation, schedule.params))
    try:
        operation = operation_class(schedule.server, schedule.params)
        run = runs.start(operation, request.user, Run.Door.PAGE, reason=f"Schedule {schedule}, at once")
    except Refused as reason:
        messages.error(request, str(reason))
        return redirect("schedules")
    return redirect(run)


@login_required
@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget a schedule; its runs stay."""
    schedule = get_object_or_404(Schedule.objects.select_related("server"), pk=pk)
    require(request.user, "schedules.change", schedule.server)
    record(request, "schedule", f"Removed the schedule {schedule}.", schedule.server)
    schedule.delete()
    return redirect("schedules")
