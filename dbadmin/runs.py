"""Starting, cancelling and undoing runs: the one implementation behind page, command, API and schedule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import redis
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.utils import timezone

from dbadmin import queues
from dbadmin.events import record
from dbadmin.models import Run, Schedule, WorkerBeat
from dbadmin.operations import Operation, Refused, plan_reverses, plan_texts
from dbadmin.permissions import require, require_operation
from dbadmin.plans import steps_of
from dbadmin.steps import Step

#: How long a run waits for a second person, unless somebody says otherwise.
PATIENCE = timedelta(hours=24)
#: A worker that has not been seen for so long is gone.
SILENCE = timedelta(seconds=30)


def start(
    operation: Operation,
    user: Any,
    door: str,
    reason: str = "",
    schedule: Schedule | None = None,
    due_at: datetime | None = None,
    undoes: Run | None = None,
    steps: Sequence[Step] | None = None,
    patience: timedelta = PATIENCE,
) -> Run:
    """Plan, store the plan, and queue a run; the caller has asked for consent as the risk demands.

    user: None only at the command line, whose user owns the machine. steps: the very plan that was shown and
    agreed to; without it the plan is made here. A scheduled run is planned by its worker.
    patience: how long it may wait for a second person, where one has to agree.
    """
    if user is not None:
        require_operation(user, operation)
    elif door != Run.Door.COMMAND:
        raise PermissionDenied("It belongs to nobody; let somebody with the right start it.")
    if not operation.server.enabled:
        raise Refused(f"{operation.server} is switched off in dbadmin. Switch it on first.")
    second = operation.asks_second() and not (schedule and schedule.second_id)
    if second and not reason.strip():
        raise Refused(why_needed(operation), field="reason")
    if steps is None and (second or door != Run.Door.SCHEDULE):
        steps = steps_of(operation)
    run = filled(operation, user, door, steps)
    run.reason, run.schedule, run.due_at, run.undoes = reason, schedule, due_at, undoes
    if second:
        run.status, run.wait_until = Run.Status.WAITING, timezone.now() + patience
    refuse_other(run)
    try:
        with transaction.atomic():
            run.save()
    except IntegrityError:
        refuse_other(run)
        raise
    if second:
        record(user, "approval", f"Asked for a second person: {run}. {reason}", run.server, run=run.pk)
    else:
        transaction.on_commit(lambda: enqueue(run))
    return run


def why_needed(operation: Operation) -> str:
    """What a person is told who gave no reason."""
    return (
        f"{operation.server} asks for a second person before anything is destroyed. "
        "Say why this is to be done: another admin reads the reason and agrees or not."
    )


def filled(operation: Operation, user: Any, door: str, steps: Sequence[Step] | None) -> Run:
    """A run that is not saved yet."""
    server = operation.server
    return Run(
        server=server,
        server_name=server.name,
        operation=operation.name,
        title=operation.title,
        target=operation.target(),
        params=dict(operation.params),
        plan=plan_texts(steps or []),
        reverse=plan_reverses(steps or []),
        planned_at=None if steps is None else timezone.now(),
        risk=operation.risk_now().value,
        queue=server.queue or operation.queue,
        user=user,
        user_name=user.get_username() if user is not None else "",
        door=door,
    )


def refuse_other(run: Run) -> None:
    """One at a time for each (server, operation, target); and first the leftovers of a lost one go."""
    same = Run.objects.filter(server=run.server, operation=run.operation, target=run.target).exclude(
        pk=run.pk
    )
    other = same.filter(status__in=Run.OPEN).first()
    if other:
        who = f" by {other.user_name}" if other.user_name else ""
        raise Refused(
            f"Run {other.pk}{who} is {other.status} with the same: {other}. Wait for its end, or cancel it."
        )
    left = same.filter(clean_up_due_at__isnull=False).first()
    if left:
        raise Refused(f"What run {left.pk} left behind is still being removed. Try again in a moment.")


def enqueue(run: Run) -> None:
    """Hand the id to Redis; while Redis is away the run waits and says so."""
    try:
        queues.send(run)
        waits = ""
    except redis.RedisError:
        waits = queues.WAITS
    if waits != run.message and Run.objects.filter(pk=run.pk, status=Run.Status.QUEUED).update(message=waits):
        run.message = waits


def may_not(user: Any, denied: PermissionDenied) -> str:
    """Why what is due does not begin in the name of this person."""
    who = user.get_username() if user is not None else "Its owner, who is gone,"
    return f"{who} may not do this (any more): {denied}"


def refused(run: Run, message: str) -> Run:
    """Store a run that will not begin, so that a schedule's miss is seen."""
    run.status, run.message, run.finished_at = Run.Status.REFUSED, message, timezone.now()
    run.save()
    return run


def cancel(run: Run, user: Any) -> None:
    """End a run: at once while it waits, within seconds while it works; Refused when it has ended."""
    allow(run, user)
    name = user.get_username() if user is not None else "the command line"
    now = timezone.now()
    before = Run.objects.filter(pk=run.pk, status__in=[Run.Status.WAITING, Run.Status.QUEUED]).update(
        status=Run.Status.CANCELLED,
        finished_at=now,
        cancel_requested_at=now,
        cancel_requested_by=name,
        message=f"Cancelled by {name} before it began.",
    )
    during = (
        0
        if before
        else Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING).update(
            cancel_requested_at=now, cancel_requested_by=name
        )
    )
    run.refresh_from_db()
    if before:
        queues.forget(run)
    elif not during:
        raise Refused(f"Run {run.pk} has ended already: {run.status}.")


def allow(run: Run, user: Any) -> None:
    """Who may start it may cancel it; None is the command line."""
    from dbadmin.operations import REGISTRY

    if user is None or (run.user_id is not None and run.user_id == user.pk):
        return
    operation = REGISTRY.get(run.operation)
    if operation is None or run.server is None:
        raise PermissionDenied("The operation or the server of this run is no longer in dbadmin.")
    require(user, operation(run.server, run.params).required(), run.server)


def waits_for(run: Run) -> str:
    """Why a run has not begun, in words; "" when it will at any moment."""
    if run.status == Run.Status.WAITING and run.wait_until:
        return (
            f"Waits until {timezone.localtime(run.wait_until):%Y-%m-%d %H:%M} for a second person: "
            "another admin has to agree on the page of approvals."
        )
    if run.status != Run.Status.QUEUED or run.message:
        return run.message if run.status == Run.Status.QUEUED else ""
    alive = WorkerBeat.objects.filter(kind="worker", seen_at__gt=timezone.now() - SILENCE)
    if not alive.filter(queues__contains=[run.queue]).exists():
        return f"No worker serves the queue {run.queue}. Start one: manage.py worker --queues {run.queue}"
    if not alive.filter(queues__contains=[run.queue], busy_with=None).exists():
        return f"All workers of the queue {run.queue} are busy."
    return ""


def undo_url(run: Run) -> str:
    """The preview that would take back what a run did; "" when nothing can."""
    from dbadmin.operate import preview_url
    from dbadmin.operations import REGISTRY

    operation = REGISTRY.get(run.operation)
    is_done = run.status == Run.Status.SUCCEEDED
    if operation is None or run.server is None or not (is_done or run.facts.get("stays")):
        return ""
    own = operation(run.server, run.params).undo(run)
    if own is not None:
        return preview_url(run.server_name, *own) if own[0] else ""
    if is_done and "reverse_run" in REGISTRY and run.reverse and all(run.reverse):
        return preview_url(run.server_name, "reverse_run", {"run": run.pk})
    return ""
