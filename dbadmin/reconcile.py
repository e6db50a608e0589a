"""What Redis forgot is sent again, whose worker died is said so, and what it left is removed."""

from __future__ import annotations

import logging
from datetime import timedelta

import psycopg
import redis
from django.db.models import F, Q
from django.utils import timezone

from dbadmin import control, queues, runs
from dbadmin.models import Run
from dbadmin.runner import BEING_REMOVED, FIRST_RETRY, LAST_RETRY
from dbadmin.watch import life_key

log = logging.getLogger("dbadmin.reconcile")

#: A living run beats every two seconds; one that was silent for so long and holds no lock is lost.
SILENCE = timedelta(seconds=6)
#: A run that was just queued is on its way; one that waits longer must be in Redis.
ON_ITS_WAY = timedelta(seconds=3)
LOST = "Its worker died{when}." + BEING_REMOVED


def send_forgotten(connection: redis.Redis) -> list[int]:
    """Queued runs that Redis does not know (any more) are sent again; raises redis.RedisError."""
    waiting = list(Run.objects.filter(status=Run.Status.QUEUED, queued_at__lt=timezone.now() - ON_ITS_WAY))
    known = {name: queues.waiting_ids(name, connection) for name in {run.queue for run in waiting}}
    forgotten = [run for run in waiting if queues.job_id(run) not in known[run.queue]]
    for run in forgotten:
        log.info("run %s is sent to Redis again", run.pk)
        runs.enqueue(run)
    answered = [run.pk for run in waiting if run.message == queues.WAITS]
    Run.objects.filter(pk__in=answered, status=Run.Status.QUEUED).update(message="")
    return [run.pk for run in forgotten]


def say_waiting() -> None:
    """While Redis is away every queued run says what it waits for."""
    Run.objects.filter(status=Run.Status.QUEUED).exclude(message=queues.WAITS).update(message=queues.WAITS)


def close_all_lost(connection: psycopg.Connection[object]) -> list[int]:
    """Runs that are silent and hold no lock are closed; connection: a direct one to the control database."""
    silent = Run.objects.filter(Q(heartbeat_at__lt=timezone.now() - SILENCE) | Q(heartbeat_at=None))
    return [run.pk for run in silent.filter(status=Run.Status.RUNNING) if close_if_dead(run, connection)]


def close_lost(run_id: int) -> bool:
    """Close one run whose process is known to have died."""
    run = Run.objects.filter(pk=run_id, status=Run.Status.RUNNING).first()
    if run is None:
        return False
    with control.direct_connection("dbadmin looks after a lost run") as connection:
        return close_if_dead(run, connection)


def close_if_dead(run: Run, connection: psycopg.Connection[object]) -> bool:
    """Its life lock is free: say that it is lost and ask for a clean-up."""
    key = life_key(run.pk)
    if not control.try_lock(connection, key):
        return False
    try:
        now = timezone.now()
        when = f" in step {run.step} of {len(run.plan)}" if run.step and len(run.plan) > 1 else ""
        closed = Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING).update(
            status=Run.Status.LOST, finished_at=now, message=LOST.format(when=when), clean_up_due_at=now
        )
    finally:
        control.unlock(connection, key)
    if closed:
        log.warning("run %s is lost: its worker %s died", run.pk, run.worker)
    return bool(closed)


def send_clean_ups() -> list[int]:
    """Clean-ups that are due go to workers, later each time; raises redis.RedisError."""
    due = list(Run.objects.filter(clean_up_due_at__lte=timezone.now()).exclude(status__in=Run.OPEN))
    for run in due:
        queues.send(run, queues.CLEAN_UP)
        # Until it has succeeded it stays due: the worker may die again.
        again = timezone.now() + timedelta(seconds=min(2 * FIRST_RETRY * 2**run.clean_up_tries, LAST_RETRY))
        Run.objects.filter(pk=run.pk, clean_up_due_at=run.clean_up_due_at).update(
            clean_up_due_at=again, clean_up_tries=F("clean_up_tries") + 1
        )
    return [run.pk for run in due]
