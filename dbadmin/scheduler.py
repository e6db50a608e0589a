"""One leader turns due schedules into runs and keeps an eye on all runs; the others stand by."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import psycopg
import redis
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.utils import timezone

from dbadmin import beats, control, queues, reconcile, runs, two_people
from dbadmin.models import Run, Schedule
from dbadmin.operations import REGISTRY, Operation, Refused
from dbadmin.periodic import Periodic
from dbadmin.schedules import BadScheduleError, next_due

log = logging.getLogger("dbadmin.scheduler")

#: Seconds between ticks, between heartbeats, and until the runs of a restarted control database are judged.
TICK, BEAT, MERCY = 1.0, 5.0, 10.0
#: A run that begins later than this after its moment says so.
LATE = timedelta(minutes=1)


class Scheduler:
    """A process that leads while it holds the lock."""

    def __init__(self, name: str = "") -> None:
        self.name = name or beats.default_name()
        self.key = control.lock_key("scheduler")
        self.connection: psycopg.Connection[Any] | None = None
        self.leads = False
        self.connected_at = self.beaten_at = self.forgot_at = 0.0
        self.redis: redis.Redis | None = None
        self.redis_is_away = False
        self.told_to_stop = False

    def run(self) -> None:
        """Tick until told to stop; connect again whenever the control database was away."""
        periodic = Periodic(lambda: self.leads)
        periodic.start()
        try:
            while not self.told_to_stop:
                try:
                    self.tick()
                except (psycopg.OperationalError, DatabaseError) as error:
                    log.warning("the control database does not answer (%s); trying again", error)
                    self.resign()
                time.sleep(TICK)
        finally:
            periodic.stop()
            self.resign()
            beats.leave("scheduler", self.name)

    def stop(self, *_: object) -> None:
        """The handler of SIGTERM and Ctrl-C."""
        self.told_to_stop = True

    def tick(self) -> None:
        """One second's work."""
        self.leads = self.holds_lock()
        if time.monotonic() - self.beaten_at >= BEAT:
            beats.beat("scheduler", self.name, leads=self.leads)
            self.beaten_at = time.monotonic()
        if self.leads and self.connection is not None:
            start_due()
            if time.monotonic() - self.connected_at > MERCY:
                # A control database that was away kept every run from beating: give them time to do so.
                reconcile.close_all_lost(self.connection)
                self.forget()
            self.serve_redis()
        connections.close_all()

    def forget(self) -> None:
        """Once a minute: processes that are gone for long, and runs to which nobody agreed in time."""
        if time.monotonic() - self.forgot_at > 60:
            two_people.expire()
            beats.forget_the_dead()
            self.forgot_at = time.monotonic()

    def holds_lock(self) -> bool:
        """Are we the leader? Asked of the very connection that holds the lock."""
        if self.connection is None or self.connection.closed:
            self.connection = control.direct_connection("dbadmin scheduler")
            self.connected_at = time.monotonic()
            self.leads = False
        if self.leads:
            self.connection.execute("select 1")
            return True
        if control.try_lock(self.connection, self.key):
            log.info("%s leads", self.name)
            return True
        return False

    def resign(self) -> None:
        """Give the lock back by closing."""
        self.leads = False
        if self.connection is not None:
            with suppress(psycopg.Error):
                self.connection.close()
        self.connection = None
        connections.close_all()

    def serve_redis(self) -> None:
        """Send what waits; Redis may be away."""
        try:
            self.redis = self.redis or queues.connect()
            reconcile.send_forgotten(self.redis)
            reconcile.send_clean_ups()
        except redis.RedisError as error:
            if not self.redis_is_away:
                log.warning("Redis does not answer (%s); runs wait", error)
            self.redis_is_away, self.redis = True, None
            reconcile.say_waiting()
        else:
            self.redis_is_away = False


def start_due(now: datetime | None = None) -> list[Run]:
    """Every due schedule becomes one run, whatever it missed; each in a transaction of its own."""
    now = now or timezone.now()
    made = []
    while (run := start_one(now)) is not None:
        made.append(run)
    Schedule.objects.filter(enabled=False, due_at__isnull=False).update(due_at=None)
    return made


def start_one(now: datetime) -> Run | None:
    """The schedule that is due longest; None when there is none that nobody else takes care of."""
    with transaction.atomic():
        due = Schedule.objects.select_for_update(skip_locked=True, of=("self",)).select_related(
            "server", "created_by"
        )
        schedule = due.filter(enabled=True, due_at__lte=now).order_by("due_at").first()
        if schedule is None or schedule.due_at is None:
            return None
        was_due = schedule.due_at
        try:
            following = next_due(schedule.cron, schedule.time_zone, max(now, was_due))
        except BadScheduleError as bad:
            log.error("schedule %s: %s", schedule.pk, bad)
            following = None
        Schedule.objects.filter(pk=schedule.pk).update(due_at=following)
        return begin(schedule, was_due, now)


def begin(schedule: Schedule, due_at: datetime, now: datetime) -> Run:
    """Start its run, or record why it was left out."""
    reason = f"Schedule {schedule}"
    if now - due_at > LATE:
        reason += f"; was due at {due_at:%Y-%m-%d %H:%M} UTC, when no scheduler was at work"
    found = REGISTRY.get(schedule.operation)
    if found is None:
        return left_out(schedule, due_at, reason, f"There is no operation {schedule.operation} any more.")
    operation = found(schedule.server, schedule.params)
    try:
        refuse_overlap(schedule)
        with transaction.atomic():
            return runs.start(operation, schedule.created_by, Run.Door.SCHEDULE, reason, schedule, due_at)
    except Refused as refusal:
        return left_out(schedule, due_at, reason, str(refusal), operation)
    except PermissionDenied as denied:
        return left_out(schedule, due_at, reason, runs.may_not(schedule.created_by, denied), operation)
    except (LookupError, TypeError, ValueError) as error:
        log.exception("schedule %s", schedule.pk)
        return left_out(
            schedule, due_at, reason, f"Its parameters do not fit the operation: {error!r}.", operation
        )


def refuse_overlap(schedule: Schedule) -> None:
    """Its last run has not ended."""
    last = Run.objects.filter(schedule=schedule, status__in=Run.OPEN).first()
    if last:
        raise Refused(f"Left out: run {last.pk} of the same schedule has not ended.")


def left_out(
    schedule: Schedule, due_at: datetime, reason: str, message: str, operation: Operation | None = None
) -> Run:
    """A run that says why it did not happen."""
    run = Run(
        server=schedule.server,
        server_name=schedule.server.name,
        operation=schedule.operation,
        title=operation.title if operation else schedule.operation,
        params=schedule.params,
        risk=operation.risk.value if operation else "",
        user=schedule.created_by,
        user_name=schedule.created_by.get_username() if schedule.created_by else "",
        door=Run.Door.SCHEDULE,
        schedule=schedule,
        due_at=due_at,
        reason=reason,
    )
    return runs.refused(run, message)
