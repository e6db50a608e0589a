"""Times in which nobody is told: the list, a new one, ending one."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from dbadmin.events import record
from dbadmin.permissions import grants_of, may_anywhere, roles_for, servers_with
from monitoring.alert_models import AlertRule, Silence

if TYPE_CHECKING:  # Django's forms take no type argument at run time
    SilenceModelForm = forms.ModelForm[Silence]
else:
    SilenceModelForm = forms.ModelForm

RIGHT = "alerts.acknowledge"
LENGTHS = (
    ("30m", "30 minutes"), ("1h", "1 hour"), ("4h", "4 hours"), ("12h", "12 hours"), ("1d", "1 day"),
    ("7d", "7 days"), ("30d", "30 days"),
)  # fmt: skip
#: One of these says that not everything is meant.
NARROWING = ("rule", "server", "environment", "tag", "row_name")
SECONDS = {"m": 60, "h": 3600, "d": 86400}


class SilenceForm(SilenceModelForm):
    """What is silenced, from now or from a moment on, and why."""

    length = forms.ChoiceField(choices=LENGTHS, initial="4h", label="For")
    everything = forms.BooleanField(required=False, label="Silence every rule on every server")

    class Meta:
        model = Silence
        fields = ("rule", "server", "environment", "tag", "row_name", "starts_at", "reason")
        labels = {"row_name": "Only this row", "starts_at": "From"}
        help_texts = {
            "server": "Or an environment, or a tag.",
            "row_name": "As the alert names it, such as public.users. Empty: every row.",
        }
        widgets = {
            "starts_at": forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
        }

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.fields["server"].queryset = servers_with(user, RIGHT)  # type: ignore[attr-defined]
        self.fields["rule"].queryset = AlertRule.objects.all()  # type: ignore[attr-defined]
        for name in ("rule", "server"):
            self.fields[name].empty_label = f"Every {name}"  # type: ignore[attr-defined]
        _, *environments = self.fields["environment"].choices  # type: ignore[attr-defined]
        self.fields["environment"].choices = [("", "Every environment"), *environments]  # type: ignore[attr-defined]
        if not self.is_bound:
            del self.fields["everything"]

    def clean(self) -> dict[str, Any]:
        """A person silences no more than what the role reaches."""
        data = super().clean() or self.cleaned_data
        if not self.errors and not reaches(self.user, data):
            raise forms.ValidationError("Your role does not reach all of this. Choose a server.")
        narrowed = any(data.get(name) for name in NARROWING)
        if narrowed:
            del self.fields["everything"]
        elif not self.errors and not data.get("everything"):
            self.add_error(
                "everything",
                "Nobody would be told of anything, whatever happens. Choose what is to be silent, or tick this.",
            )
        return data

    def save(self, commit: bool = True) -> Silence:
        """With its end."""
        silence = super().save(commit=False)
        text = self.cleaned_data["length"]
        silence.ends_at = silence.starts_at + dt.timedelta(seconds=int(text[:-1]) * SECONDS[text[-1]])
        silence.created_by = self.user.get_username()
        silence.save()
        return silence


def reaches(user: Any, where: Any) -> bool:
    """Has the person the right wherever this holds?"""
    roles = roles_for(RIGHT)
    for grant in grants_of(user):
        if grant.role not in roles:
            continue
        if grant.covers(None) or (where.get("server") and grant.covers(where["server"])):
            return True
        if where.get("environment") and grant.environment == where["environment"]:
            return True
        if where.get("tag") and grant.tag == where["tag"]:
            return True
    return False


@login_required
@require_http_methods(["GET", "POST"])
def silences(request: HttpRequest) -> HttpResponse:
    """Those of now and of later, the last ones, and a form; prefilled from an alert by the address."""
    if not may_anywhere(request.user, RIGHT):
        raise PermissionDenied("This needs the role operator or admin on some server.")
    names = ("rule", "server", "row_name", "reason")
    given: dict[str, Any] = {name: request.GET[name] for name in names if request.GET.get(name)}
    given["starts_at"] = timezone.localtime()
    form = SilenceForm(request.user, request.POST or None, initial=given)
    if request.method == "POST" and form.is_valid():
        silence = form.save()
        record(request, "silence", f"Silenced {silence}: {silence.reason}", silence.server)
        messages.success(request, f"{silence}: nobody is told until {silence.ends_at:%Y-%m-%d %H:%M} UTC.")
        return redirect("silences")
    now = timezone.now()
    found = Silence.objects.select_related("rule", "server")
    allowed = servers_with(request.user, "monitoring.view")
    shown = [each for each in found[:200] if each.server_id is None or each.server in allowed]
    context = {
        "form": form,
        "active": [each for each in shown if each.ends_at > now],
        "past": [each for each in shown if each.ends_at <= now][:20],
    }
    return render(request, "monitoring/silences.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def end(request: HttpRequest, pk: int) -> HttpResponse:
    """End a silence now; one that has not begun is removed."""
    silence = get_object_or_404(Silence.objects.select_related("rule", "server"), pk=pk)
    where = {"server": silence.server, "environment": silence.environment, "tag": silence.tag}
    if not reaches(request.user, where):
        raise PermissionDenied(f"This needs the role operator or admin on {silence.where}.")
    now = timezone.now()
    if silence.starts_at > now:
        silence.delete()
    elif silence.ends_at > now:
        Silence.objects.filter(pk=pk).update(ends_at=now)
    record(request, "silence", f"Ended the silence of {silence}.", silence.server)
    return redirect("silences")
