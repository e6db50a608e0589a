"""Who is told of what: alerts of a server together, in order for each channel, again until they arrive."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.db import Error, connection, connections, transaction
from django.db.models import F, Max, Min, Q
from django.utils import timezone

from dbadmin.control import lock_key
from monitoring import notify
from monitoring.alert_models import RANK, Alert, Channel, Delivery, Silence
from monitoring.notify.notice import Item, Notice, NotSent

logger = logging.getLogger(__name__)

#: Alerts of a server that open within this time are told together.
TOGETHER = dt.timedelta(seconds=15)
#: The end of an alert is no news after a day.
OLD = dt.timedelta(days=1)
#: Pause after the first failure, and the longest; how often a notice is tried.
PAUSE, LONGEST, MOST_TRIES = 15.0, 1800.0, 14
#: Whoever takes a notice has so long to send it before another process may.
LEASE = dt.timedelta(minutes=3)


def work() -> None:
    """Everything that is due: new notices are written, waiting ones sent."""
    plan()
    while send_one():
        pass


def plan() -> list[Delivery]:
    """Write a notice for each channel that must be told; one process at a time."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("select pg_catalog.pg_try_advisory_xact_lock(%s)", [lock_key("notices")])
            if not cursor.fetchone()[0]:
                return []
        channels = list(Channel.objects.filter(enabled=True).select_related("server"))
        return [*beginnings(channels), *endings(channels), *reminders(channels)] if channels else []


def beginnings(channels: Sequence[Channel]) -> list[Delivery]:
    """Alerts that opened or became worse, unless somebody has them or keeps them silent."""
    now = timezone.now()
    waiting = (
        Alert.objects.filter(resolved_at=None, acknowledged_at=None, rule__tells=True)
        .filter(opened_at__lte=now - TOGETHER)
        .exclude(told_severity=F("severity"))
        .select_related("server", "rule")
    )
    silences = hushing()
    alerts = [alert for alert in waiting if not any(silence.hushes(alert) for silence in silences)]
    made = []
    told: set[int] = set()
    for channel in channels:
        mine = [alert for alert in alerts if concerns(channel, alert)]
        told.update(alert.pk for alert in mine)
        made.extend(written(channel, "opened", mine))
    for alert in alerts:
        if alert.pk in told:
            Alert.objects.filter(pk=alert.pk).update(told_severity=alert.severity, told_at=now)
    return made


def concerns(channel: Channel, alert: Alert) -> bool:
    """Is the channel for this server, and for so bad a thing?"""
    return channel.covers(alert.server) and RANK[alert.severity] >= RANK[channel.least]


def hushing() -> list[Silence]:
    """The silences of now."""
    now = timezone.now()
    return list(Silence.objects.filter(starts_at__lte=now, ends_at__gt=now).select_related("server"))


def endings(channels: Sequence[Channel]) -> list[Delivery]:
    """Alerts that are over, to those who were told that they began."""
    over = Alert.objects.filter(resolved_at__gt=timezone.now() - OLD, told_end=False).exclude(
        told_severity=""
    )
    alerts = list(over.select_related("server", "rule"))
    pairs = set(
        Delivery.alerts.through.objects.filter(alert__in=alerts).values_list("delivery__channel", "alert")
    )
    made = []
    for channel in channels:
        if channel.tells_end:
            made.extend(
                written(channel, "resolved", [alert for alert in alerts if (channel.pk, alert.pk) in pairs])
            )
    Alert.objects.filter(pk__in=[alert.pk for alert in alerts]).update(told_end=True)
    return made


def reminders(channels: Sequence[Channel]) -> list[Delivery]:
    """Alerts that nobody has taken, again to channels that want it."""
    made: list[Delivery] = []
    for channel in channels:
        if not channel.repeat_seconds:
            continue
        before = timezone.now() - dt.timedelta(seconds=channel.repeat_seconds)
        due = (
            Alert.objects.filter(resolved_at=None, acknowledged_at=None)
            .annotate(last=Max("deliveries__created_at", filter=Q(deliveries__channel=channel)))
            .filter(last__lt=before)
            .select_related("server", "rule")
        )
        silences = hushing()
        mine = [alert for alert in due if not any(silence.hushes(alert) for silence in silences)]
        made.extend(written(channel, "reminder", mine))
    return made


def written(channel: Channel, kind: str, alerts: Iterable[Alert]) -> list[Delivery]:
    """One notice for each server."""
    groups: dict[int | None, list[Alert]] = {}
    for alert in alerts:
        groups.setdefault(alert.server_id, []).append(alert)
    made = []
    for group in groups.values():
        group.sort(key=lambda alert: (-RANK[alert.severity], alert.pk))
        delivery = Delivery.objects.create(
            channel=channel, server=group[0].server, notice=notice_of(kind, group).stored()
        )
        delivery.alerts.set(group)
        made.append(delivery)
    return made


def notice_of(kind: str, alerts: Sequence[Alert]) -> Notice:
    """What is said of these alerts of one server."""
    server = alerts[0].server
    worst = max((alert.severity for alert in alerts), key=RANK.__getitem__)
    return Notice(
        id=str(uuid.uuid4()),
        kind=kind,
        title=title_of(kind, alerts),
        server=server.name if server else "",
        environment=server.environment if server else "",
        severity=worst,
        at=timezone.now().isoformat(),
        url=absolute(f"/alerts/?server_name={server.name}" if server else "/alerts/"),
        alerts=tuple(item_of(alert) for alert in alerts),
    )


def title_of(kind: str, alerts: Sequence[Alert]) -> str:
    """shop: Replication lag, and 2 more."""
    where = f"{alerts[0].server}: " if alerts[0].server else ""
    word = {"resolved": "Over: ", "reminder": "Still: "}.get(kind, "")
    more = f", and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    return f"{word}{where}{alerts[0]}{more}"[:250]


def item_of(alert: Alert) -> Item:
    """One alert for a notice."""
    return Item(
        id=alert.pk,
        name=alert.name,
        row=alert.row_name,
        database=alert.database,
        severity=alert.severity,
        text=alert.text,
        value=alert.last_value,
        since=alert.since.astimezone(dt.UTC).isoformat(timespec="seconds"),
        resolved_at=alert.resolved_at.astimezone(dt.UTC).isoformat(timespec="seconds")
        if alert.resolved_at
        else "",
        because=alert.resolved_because,
        advice=alert.rule.advice if alert.rule else "",
        url=absolute(alert.get_absolute_url()),
        dedup_key=alert.dedup_key,
    )


def absolute(path: str) -> str:
    """An address that works in a mail; none while PUBLIC_URL is not set."""
    return f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL else ""


def notice_of_test(channel: Channel) -> Notice:
    """What the test button sends; nothing is wrong."""
    now = timezone.now().astimezone(dt.UTC).isoformat(timespec="seconds")
    item = Item(
        0, "Test of the channel", channel.name, "", "warning", "Nothing is wrong: somebody pressed Test.",
        None, now, "", "", "", "", f"dbadmin-test-{channel.key}",
    )  # fmt: skip
    return Notice(
        str(uuid.uuid4()), "test", f"Test of {channel}", "", "", "warning", now, absolute("/alerts/"), (item,)
    )


def send_test(channel: Channel, user: Any) -> Delivery:
    """Send a test at once, once; recorded like any notice. Where it would stay open, it is ended too."""
    delivery = Delivery.objects.create(
        channel=channel, notice=notice_of_test(channel).stored(), asked_by=user, due_at=timezone.now() + LEASE
    )
    attempt(delivery, is_last=True)
    if channel.kind == Channel.Kind.PAGERDUTY and delivery.state == Delivery.State.SENT:
        ended = {**delivery.notice, "kind": "resolved", "id": str(uuid.uuid4())}
        attempt(Delivery.objects.create(channel=channel, notice=ended, asked_by=user), is_last=True)
    return delivery


def send_one() -> bool:
    """Take the next notice that is due and send it; False when there is none."""
    with transaction.atomic():
        # Of each channel only the first that waits: an end must not overtake its beginning.
        waiting = Delivery.objects.filter(state=Delivery.State.WAITING)
        first = waiting.values("channel").annotate(first=Min("id")).values("first")
        due = waiting.filter(pk__in=first, due_at__lte=timezone.now()).order_by("due_at")
        delivery = due.select_for_update(skip_locked=True, of=("self",)).select_related("channel").first()
        if delivery is None:
            return False
        delivery.due_at = timezone.now() + LEASE
        delivery.save(update_fields=["due_at"])
    attempt(delivery)
    return True


def attempt(delivery: Delivery, is_last: bool = False) -> None:
    """Send, and write down what came of it."""
    delivery.tries += 1
    try:
        delivery.answer = notify.send(delivery.channel, Notice.of(delivery.notice))[:500]
        delivery.state, delivery.sent_at = Delivery.State.SENT, timezone.now()
    except NotSent as reason:
        delivery.answer = str(reason)[:500]
        if reason.is_final or is_last or delivery.tries >= MOST_TRIES:
            delivery.state = Delivery.State.GIVEN_UP
        else:
            delivery.due_at = timezone.now() + dt.timedelta(seconds=pause(delivery.tries, reason.wait))
    except Exception as error:
        logger.exception("Notice %s could not be sent", delivery.pk)
        delivery.answer, delivery.state = f"It could not be sent: {error!r}"[:500], Delivery.State.GIVEN_UP
    delivery.save(update_fields=["tries", "answer", "state", "sent_at", "due_at"])


def pause(tries: int, wanted: float = 0.0) -> float:
    """Seconds until the next try: twice the last, or what the other side asked for."""
    return max(min(PAUSE * 2.0 ** (tries - 1), LONGEST), min(wanted, LONGEST))


class Sender(threading.Thread):
    """The sampler's own: people are told also while no scheduler runs, and that none runs."""

    def __init__(self) -> None:
        super().__init__(name="sender", daemon=True)
        self.stopping = threading.Event()

    def run(self) -> None:
        """Look, tell, rest, until stopped."""
        from monitoring.duties import look_at_scheduler

        while not self.stopping.wait(5.0):
            try:
                look_at_scheduler()
                work()
            except Error as error:
                logger.warning("Nobody could be told: %s", str(error).strip())
            finally:
                connections.close_all()

    def finish(self, seconds: float) -> None:
        """End after the notice under way."""
        self.stopping.set()
        self.join(seconds)
