"""Settings of alerts: the rules, and the channels by which people are told."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, Q, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dbadmin.addresses import whole
from dbadmin.events import record
from dbadmin.forms import wanted
from dbadmin.permissions import require
from dbadmin.probes import PROBES
from monitoring.alert_forms import ChannelForm, RuleForm
from monitoring.alert_models import AlertRule, Channel, Delivery
from monitoring.alert_pages import limit_words
from monitoring.deliveries import send_test

RIGHT = "alerts.change"


@login_required
@require_GET
def rules(request: HttpRequest) -> HttpResponse:
    """All rules, by what they look at."""
    require(request.user, RIGHT)
    found = AlertRule.objects.select_related("server").annotate(
        open=Count("alerts", filter=Q(alerts__resolved_at=None))
    )
    rows = [
        {
            "rule": rule,
            "reading": PROBES[rule.probe].title if rule.probe in PROBES else rule.get_kind_display(),
            "limits": limit_words(rule),
        }
        for rule in found
    ]
    return render(request, "monitoring/rules.html", {"rows": rows})


@login_required
@require_http_methods(["GET", "POST"])
def add_rule(request: HttpRequest) -> HttpResponse:
    """A new rule; ?probe= and ?column= begin it, ?like= copies another one."""
    require(request.user, RIGHT)
    rule = AlertRule(probe=request.GET.get("probe", ""), column=request.GET.get("column", ""))
    if like := whole(request.GET.get("like", "")):
        rule = get_object_or_404(AlertRule, pk=like, kind=AlertRule.Kind.READING)
        rule.pk, rule.origin, rule._state.adding = None, None, True
    return edit_rule(request, rule)


@login_required
@require_http_methods(["GET", "POST"])
def change_rule(request: HttpRequest, pk: int) -> HttpResponse:
    """One rule."""
    require(request.user, RIGHT)
    return edit_rule(request, get_object_or_404(AlertRule, pk=pk))


def edit_rule(request: HttpRequest, rule: AlertRule) -> HttpResponse:
    """Save it; what came with dbadmin and was changed is no longer kept up to date."""
    is_new = rule.pk is None
    form = RuleForm(request.POST or None, instance=rule)
    if request.method == "POST" and form.is_valid():
        saved = form.save(commit=False)
        changed = set(form.changed_data) - {"enabled", "tells"}
        saved.is_changed = saved.is_changed or (saved.origin is not None and bool(changed))
        saved.save()
        record(request, "alert rule", f"{'Added' if is_new else 'Changed'} the rule {saved}.", saved.server)
        messages.success(request, f"{saved} is {'added' if is_new else 'saved'}.")
        return redirect("alert_rules")
    context = {
        "form": form,
        "rule": None if is_new else rule,
        "alerts": [] if is_new else rule.alerts.select_related("server")[:10],
    }
    return render(request, "monitoring/rule.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def switch_rule(request: HttpRequest, pk: int) -> HttpResponse:
    """On or off; its open alerts end within a minute of its end."""
    require(request.user, RIGHT)
    rule = get_object_or_404(AlertRule, pk=pk)
    if rule.enabled != wanted(request):
        rule.enabled = not rule.enabled
        rule.save(update_fields=["enabled"])
        says = f"Switched the rule {rule} {'on' if rule.enabled else 'off'}."
        record(request, "alert rule", says, rule.server)
    return redirect("alert_rules")


@login_required
@require_POST
def remove_rule(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove a rule; one that came with dbadmin gets its first form back."""
    require(request.user, RIGHT)
    rule = get_object_or_404(AlertRule, pk=pk)
    if rule.origin is None:
        record(request, "alert rule", f"Removed the rule {rule}.", rule.server)
        now = timezone.now()
        rule.alerts.filter(resolved_at=None).update(resolved_at=now, resolved_because="Its rule was removed.")
        rule.delete()
    else:
        from monitoring.rules import keep_defaults

        AlertRule.objects.filter(pk=pk).update(is_changed=False, server=None, environment="", tag="")
        keep_defaults()
        record(request, "alert rule", f"Gave the rule {rule} its first form back.")
    return redirect("alert_rules")


@login_required
@require_GET
def channels(request: HttpRequest) -> HttpResponse:
    """All channels, and how the last notice of each went."""
    require(request.user, RIGHT)
    last = Delivery.objects.filter(channel=OuterRef("pk")).order_by("-id")
    found = Channel.objects.select_related("server").annotate(
        waiting=Count("deliveries", filter=Q(deliveries__state=Delivery.State.WAITING)),
        last_state=Subquery(last.values("state")[:1]),
        last_answer=Subquery(last.values("answer")[:1]),
        last_at=Subquery(last.values("created_at")[:1]),
    )
    return render(request, "monitoring/channels.html", {"channels": found, "kinds": Channel.Kind.choices})


@login_required
@require_http_methods(["GET", "POST"])
def add_channel(request: HttpRequest, kind: str) -> HttpResponse:
    """A new channel of a kind."""
    require(request.user, RIGHT)
    if kind not in Channel.Kind.values:
        raise Http404("There is no such kind of channel.")
    return edit_channel(request, Channel(kind=kind))


@login_required
@require_http_methods(["GET", "POST"])
def change_channel(request: HttpRequest, pk: int) -> HttpResponse:
    """One channel and its last notices."""
    require(request.user, RIGHT)
    return edit_channel(request, get_object_or_404(Channel, pk=pk))


def edit_channel(request: HttpRequest, channel: Channel) -> HttpResponse:
    """Save; secrets only sealed."""
    is_new = channel.pk is None
    form = ChannelForm(request.POST or None, instance=channel)
    if request.method == "POST" and form.is_valid():
        saved = form.save()
        record(request, "channel", f"{'Added' if is_new else 'Changed'} the channel {saved}.", saved.server)
        messages.success(request, f"{saved} is saved. Press Test to see whether notices arrive.")
        return redirect("channel", pk=saved.pk)
    context = {
        "form": form,
        "channel": None if is_new else channel,
        "kind": channel.get_kind_display(),
        "deliveries": [] if is_new else channel.deliveries.select_related("server")[:30],
    }
    return render(request, "monitoring/channel.html", context, status=422 if form.errors else 200)


@login_required
@require_POST
def test_channel(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a notice that says that it is a test, now."""
    require(request.user, RIGHT)
    channel = get_object_or_404(Channel, pk=pk)
    delivery = send_test(channel, request.user)
    record(request, "channel", f"Tested the channel {channel}: {delivery.state}.")
    if delivery.state == Delivery.State.SENT:
        messages.success(request, f"It arrived: {delivery.answer}.")
    else:
        messages.error(request, f"It did not arrive. {delivery.answer}")
    return redirect("channel", pk=pk)


@login_required
@require_POST
def remove_channel(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove a channel with the record of its notices."""
    require(request.user, RIGHT)
    channel = get_object_or_404(Channel, pk=pk)
    record(request, "channel", f"Removed the channel {channel}.", channel.server)
    channel.delete()
    return redirect("channels")


@login_required
@require_POST
def send_again(request: HttpRequest, pk: int) -> HttpResponse:
    """A notice that was given up is tried anew."""
    require(request.user, RIGHT)
    delivery = get_object_or_404(Delivery, pk=pk)
    if delivery.state == Delivery.State.GIVEN_UP:
        Delivery.objects.filter(pk=pk).update(state=Delivery.State.WAITING, tries=0, due_at=timezone.now())
        messages.success(request, "It is sent again within some seconds.")
    return redirect("channel", pk=delivery.channel_id)
