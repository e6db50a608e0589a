"""The second person: what destroys waits, where a server asks for it, until another one who may do it agrees."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from dbadmin import runs
from dbadmin.events import record
from dbadmin.models import Run, Schedule
from dbadmin.operations import REGISTRY, Refused
from dbadmin.permissions import keys_with, may_anywhere, require_operation, servers_with

#: As waiting() says it; every page of an admin asks.
WAITING = """
select server_id, count(*) from dbadmin_run
where status = 'waiting' and server_id is not null and user_id is distinct from %s
group by server_id
"""
OWN = "You asked for it yourself. Another admin has to agree."


def waiting(user: Any) -> QuerySet[Run]:
    """The runs that wait for somebody like this person, oldest first; their own are among them."""
    found = Run.objects.filter(status=Run.Status.WAITING, server__in=servers_with(user, "runs.approve"))
    return found.select_related("server", "user", "schedule").order_by("wait_until", "id")


def count(user: Any) -> int:
    """How many wait for this very person."""
    if not may_anywhere(user, "runs.approve"):
        return 0
    keys = keys_with(user, "runs.approve")
    with connection.cursor() as cursor:
        cursor.execute(WAITING, [user.pk])
        return sum(number for server, number in cursor.fetchall() if server in keys)


def why_not(run: Run, user: Any) -> str:
    """Why this person cannot decide; "" when they can."""
    if run.status != Run.Status.WAITING:
        return f"Run {run.pk} waits for nobody: it is {run.status}."
    if run.wait_until is None or run.wait_until <= timezone.now():
        return "The time in which somebody could agree is over. Ask again."
    if run.user_id == user.pk:
        return OWN
    operation = REGISTRY.get(run.operation)
    if operation is None or run.server is None:
        return "The operation or the server of this run is no longer in dbadmin."
    try:
        require_operation(user, operation(run.server, run.params))
    except PermissionDenied as denied:
        return str(denied)
    return ""


def agree(run: Run, who: Any, later: bool = False) -> None:
    """Let it run; later: and every later run of its schedule, for as long as that is not changed."""
    end(run, who, Run.Status.QUEUED, "")
    said = f"Agreed to run {run.pk}: {run}."
    if later and run.schedule_id:
        Schedule.objects.filter(pk=run.schedule_id).update(second=person(who))
        said += f" And to every later run of the schedule {run.schedule}."
    record(who, "approval", said, run.server, run=run.pk)
    transaction.on_commit(lambda: runs.enqueue(run))


def refuse(run: Run, who: Any, why: str) -> None:
    """Do not let it run."""
    name = person(who).get_username()
    end(run, who, Run.Status.REFUSED, f"{name} did not agree: {why}" if why else f"{name} did not agree.")
    record(who, "approval", f"Refused run {run.pk}: {run}. {why}".strip(), run.server, run=run.pk)


def end(run: Run, who: Any, status: str, message: str) -> None:
    """Store a decision, unless another was faster."""
    problem = why_not(run, person(who))
    if problem:
        raise Refused(problem)
    now = timezone.now()
    decision = {
        "status": status,
        "message": message,
        "second": person(who),
        "second_name": person(who).get_username(),
        "second_at": now,
        "finished_at": now if status == Run.Status.REFUSED else None,
    }
    if not Run.objects.filter(pk=run.pk, status=Run.Status.WAITING).update(**decision):
        raise Refused(f"Somebody else has decided about run {run.pk} a moment ago.")
    run.refresh_from_db()


def person(who: Any) -> Any:
    """Of a request, who sent it."""
    return getattr(who, "user", who)


def expire() -> list[int]:
    """Close what nobody agreed to in time."""
    late = list(Run.objects.filter(status=Run.Status.WAITING, wait_until__lte=timezone.now()))
    closed = []
    for run in late:
        message = (
            f"Nobody agreed until {run.wait_until:%Y-%m-%d %H:%M} UTC. Ask again, if it is still wanted."
        )
        if Run.objects.filter(pk=run.pk, status=Run.Status.WAITING).update(
            status=Run.Status.REFUSED, message=message, finished_at=timezone.now()
        ):
            record(None, "approval", f"Nobody agreed in time to run {run.pk}: {run}.", run.server, run=run.pk)
            closed.append(run.pk)
    return closed
