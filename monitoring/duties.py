"""What the scheduler does for monitoring: sees that servers are read, tells people, ends what has no rule."""

from __future__ import annotations

import datetime as dt

from django.utils import timezone

from dbadmin import periodic, units
from dbadmin.models import Server, ServerState, WorkerBeat
from monitoring.alert_models import Alert, AlertRule, Delivery
from monitoring.alerts import end_orphans, narrowest, states

#: How often servers are looked at, and how often notices are sent, seconds.
LOOK, SEND = 15.0, 5.0
#: A server that was added so lately may still wait for its first reading, seconds.
NEW = 120.0
#: How long alerts that are over are kept.
KEPT = dt.timedelta(days=400)


def register() -> None:
    """Called once, when the app is ready."""
    from monitoring.deliveries import work

    periodic.register("servers that are not read", LOOK, look_at_servers)
    periodic.register("alerts without a rule", 60.0, end_orphans)
    periodic.register("notices", SEND, work)
    periodic.register("old alerts", 3600.0, forget_old)


def look_at_servers() -> None:
    """Servers that do not answer, and servers that nobody asks."""
    rules = list(AlertRule.objects.exclude(kind=AlertRule.Kind.READING))
    known = {state.server_id: state for state in ServerState.objects.all()}
    for server in Server.objects.filter(enabled=True):
        for rule in narrowest(rules, server):
            look_at(server, rule, known.get(server.pk))


def look_at(server: Server, rule: AlertRule, state: ServerState | None) -> None:
    """One server by one rule of that kind."""
    now = timezone.now()
    asked_at = state.asked_at if state and state.asked_at else None
    silent = (now - (asked_at or server.created_at)).total_seconds()
    if rule.kind == AlertRule.Kind.SILENT:
        limit = rule.critical if rule.critical is not None else rule.warning or 0.0
        away = silent if silent > limit + (0 if asked_at else NEW) else None
        said = f"since {units.moment(asked_at)}" if asked_at else "ever"
        states(server, rule, away, f"No sampler has read it {said}.")
    elif rule.kind == AlertRule.Kind.UNREACHABLE and state is not None and silent < 300:
        # What nobody asks is not known to be away: then the other rule speaks.
        if not state.trouble:
            states(server, rule, None, "")
        else:
            since = state.reached_at or server.created_at
            text = str(state.trouble.get("message", ""))
            states(server, rule, (now - since).total_seconds(), text)


def look_at_scheduler() -> None:
    """The sampler's side: is there a scheduler?"""
    rule = next(iter(narrowest(AlertRule.objects.filter(kind=AlertRule.Kind.SCHEDULER), None)), None)
    if rule is None:
        return
    last = WorkerBeat.objects.filter(kind=WorkerBeat.Kind.SCHEDULER).order_by("-seen_at").first()
    if last is None:
        return  # It left in good order, or there never was one: its absence was wanted.
    away = (timezone.now() - last.seen_at).total_seconds()
    is_away = away > (rule.critical or rule.warning or 0.0)
    states(None, rule, away if is_away else None, f"Last seen {units.moment(last.seen_at)}.")


def forget_old() -> None:
    """Alerts that ended long ago, and what was sent then."""
    Alert.objects.filter(resolved_at__lt=timezone.now() - KEPT).delete()
    Delivery.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
