"""In the worker: does what was previewed, step by step, or refuses; whatever happens, the row tells it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections as django_connections
from django.utils import timezone

from dbadmin import connections
from dbadmin.failures import sentence
from dbadmin.models import Run
from dbadmin.operations import REGISTRY, Operation, Refused, plan_reverses, plan_texts
from dbadmin.watch import Busy, Watcher
from dbadmin.work import Cancelled, Work

__all__ = ["Cancelled", "Work", "clean_up", "execute"]

log = logging.getLogger("dbadmin.runner")
Status = Run.Status

#: How messages end until what the run left is removed.
BEING_REMOVED = " What it had begun is being removed; then start it again."
OWED = " What it left is not removed yet; that is tried again until it succeeds."
CHANGED = "The server changed since the preview. Look at the new plan."
#: Seconds until a failed clean-up is tried again: doubled each time, at most an hour.
FIRST_RETRY, LAST_RETRY = 5, 3600


def execute(run_id: int) -> None:
    """The job: claim the run, do it, say how it ended. A run that is not queued any more is passed over."""
    run = claim(run_id)
    if run is None:
        return
    if run.server is None:
        finish(run, Status.REFUSED, f"The server {run.server_name} is no longer in dbadmin.")
        return
    work = Work(run)
    try:
        with Watcher(work):
            status, message = attempt(work)
            if work.began and status != Status.SUCCEEDED:
                message += tidy(work, status)
            work.close()
            finish(run, status, message)
    except Busy:
        finish(
            run,
            Status.REFUSED,
            f"Another run works on {run.target}. Wait for its end, then start this again.",
        )
    finally:
        work.close()


def claim(run_id: int) -> Run | None:
    """Make a queued run ours; None when somebody else has it or it ended."""
    now = timezone.now()
    worker = str(getattr(settings, "DBADMIN_WORKER_NAME", ""))
    ours = Run.objects.filter(pk=run_id, status=Status.QUEUED).update(
        status=Status.RUNNING, started_at=now, heartbeat_at=now, worker=worker, message=""
    )
    return Run.objects.select_related("server").get(pk=run_id) if ours else None


def attempt(work: Work) -> tuple[str, str]:
    """Follow the plan; the status and the sentence in which it ended."""
    try:
        try:
            work.interruptible = True
            follow_plan(work)
        finally:
            work.interruptible = False
    except Cancelled as cancelled:
        # It may have come in the middle of a query of our own; what follows gets a connection that is whole.
        django_connections.close_all()
        return Status.CANCELLED, str(cancelled)
    except Refused as refusal:
        return Status.REFUSED, str(refusal)
    except Exception as error:
        if work.stopped:
            return Status.CANCELLED, work.why_stopped
        log.exception("run %s failed", work.run.pk)
        if isinstance(error, DatabaseError):
            django_connections.close_all()  # what follows gets one that is whole
        return Status.FAILED, at_step(work) + work.clean(sentence(error, work.server))
    return Status.SUCCEEDED, work.run.message or (work.operation.done if work.operation else "")


def at_step(work: Work) -> str:
    """Which of several steps failed."""
    several = len(work.run.plan) > 1 and work.run.step
    return f"Step {work.run.step} of {len(work.run.plan)} failed: " if several else ""


def follow_plan(work: Work) -> None:
    """Plan again, compare, run the steps one by one."""
    run = work.run
    work.operation = operation_of(run)
    steps = list(work.operation.plan())
    texts, reverses = plan_texts(steps), plan_reverses(steps)
    if run.planned_at is None:
        run.plan, run.reverse, run.planned_at = texts, reverses, timezone.now()
        run.save(update_fields=["plan", "reverse", "planned_at"])
    elif (texts, reverses) != (run.plan, run.reverse):
        raise Refused(CHANGED)
    for number, step in enumerate(steps, start=1):
        look_at_the_row(work, number)
        run.step = number
        work.stop_if_cancelled()
        run.progress_done, run.progress_total, run.progress_unit = None, None, ""
        step.run(work)


def look_at_the_row(work: Work, step: int) -> None:
    """Between steps: say which comes next, and see a wish to cancel at once, not when the watcher looks again.

    A control database that is away is the watcher's business; the run goes on.
    """
    mine = Run.objects.filter(pk=work.run.pk)
    try:
        mine.filter(status=Status.RUNNING).update(step=step)
        asked = mine.exclude(cancel_requested_at=None).values_list("cancel_requested_by", flat=True).first()
    except DatabaseError:
        django_connections.close_all()
        return
    if asked is not None:
        work.stop(f"Cancelled by {asked}.")


def operation_of(run: Run) -> Operation:
    """The operation with the run's parameters, told which run asks."""
    if run.server is None:
        raise Refused(f"The server {run.server_name} is no longer in dbadmin.")
    found = REGISTRY.get(run.operation)
    if found is None:
        raise Refused(f"This worker does not know the operation {run.operation}. Update the worker.")
    return found(run.server, run.params)


def finish(run: Run, status: str, message: str) -> None:
    """Write how it ended."""
    words = {
        "status": status, "message": message, "finished_at": timezone.now(), "step": run.step,
        "progress_done": run.progress_done, "progress_total": run.progress_total, "progress_unit": run.progress_unit,
    }  # fmt: skip
    patiently(lambda: Run.objects.filter(pk=run.pk, status=Status.RUNNING).update(**words))


def patiently(write: Callable[[], object]) -> None:
    """While the control database is away, try for ten minutes."""
    for _ in range(300):
        try:
            write()
        except DatabaseError:
            django_connections.close_all()
            time.sleep(2)
        else:
            return


# -- after failure, cancel and loss ----------------------------------------


def tidy(work: Work, status: str, says: str = "") -> str:
    """Remove what the run left, and say so if asked to; what stays, or that it has to be tried again."""
    try:
        work.close()
        end_backends(work)
        if work.operation is not None:
            work.operation.clean_up(work)
        stays = outcome(work, status)
    except Exception as error:
        log.exception("the clean-up of run %s failed", work.run.pk)
        reason = work.clean(sentence(error, work.server))
        work.log(f"The clean-up did not succeed: {reason}")
        owe(work.run)
        return OWED
    if says:
        work.log(says)
    work.flush()  # who sees that the run is cleaned finds in its log what was removed
    said = work.run.message.removesuffix(BEING_REMOVED).removesuffix(OWED)
    settle(work.run, **({"message": (said + stays).strip()} if says else {}))
    return stays


def outcome(work: Work, status: str) -> str:
    """What stays of a run that did not succeed, to be read behind how it ended."""
    stays, operation = work.standing, work.operation
    cleans = operation is None or type(operation).clean_up is not Operation.clean_up
    if not stays and not cleans and status in (Status.CANCELLED, Status.LOST):
        stays = done_steps(work, status)
    if stays:
        work.remember(stays=True)
    elif status == Status.LOST:
        stays = ["What it left unfinished is removed; start it again when the cause is known."]
    return "".join(f" {each}" for each in stays)


def done_steps(work: Work, status: str) -> list[str]:
    """Which steps were done, where no clean-up takes them back."""
    last, total = work.run.step or 0, len(work.run.plan)
    step, number = work.facts.get("committing") or (0, "")
    committed = is_committed(work, number) if last and step == last else None
    done = last if committed else max(last - 1, 0)
    if done and done == total:
        return ["All of it was done before that, and stays."]
    told = [
        f"Steps 1 to {done} of {total} were done and stay."
        if done > 1
        else f"Step 1 of {total} was done and stays."
    ]
    unknown = ["Whether the step in which it died was carried out, a new preview shows."]
    return (told if done else []) + (unknown if last and committed is None and status == Status.LOST else [])


def is_committed(work: Work, transaction: str) -> bool | None:
    """Was a transaction of this number committed? None: the server does not know it any more."""
    with open_somewhere(work) as connection, suppress(psycopg.errors.InvalidParameterValue):
        row = connection.execute("select pg_catalog.pg_xact_status(%s::text::xid8)", [transaction]).fetchone()
        return row == ("committed",) if row in (("committed",), ("aborted",)) else None
    return None


def owe(run: Run) -> None:
    """The scheduler is to send a clean-up, later each time."""
    delay = min(FIRST_RETRY * 2**run.clean_up_tries, LAST_RETRY)
    run.clean_up_tries += 1
    due = timezone.now() + timedelta(seconds=delay)
    row = Run.objects.filter(pk=run.pk)
    patiently(lambda: row.update(clean_up_due_at=due, clean_up_tries=run.clean_up_tries))


def settle(run: Run, **words: str) -> None:
    """Nothing is left. words: message, where the run has ended with another."""
    Run.objects.filter(pk=run.pk).update(cleaned_at=timezone.now(), clean_up_due_at=None, **words)


def clean_up(run_id: int) -> None:
    """The job after a loss: remove what a run left whose worker died."""
    run = Run.objects.select_related("server").get(pk=run_id)
    if run.is_open or run.clean_up_due_at is None:
        return
    if run.server is None:
        settle(run)
        return
    work = Work(run, label="clean-up of run")
    try:
        with Watcher(work, cleaning=True):
            work.operation = operation_of(run)
            tidy(work, run.status, says="What the run left is removed.")
    except Busy:
        owe(run)
    finally:
        work.close()


def end_backends(work: Work, patience: float = 10.0) -> None:
    """End the server's sessions of this run and wait until they are gone; a dead worker's may still work."""
    name = f"dbadmin run {work.run.pk}"
    with open_somewhere(work) as connection:
        wait_until(
            lambda: not ended_backends(connection, name), patience, "sessions of the run that do not end"
        )


def open_somewhere(work: Work) -> psycopg.Connection[Any]:
    """A session on the server; in another database when a run died while its own was closed to everybody.

    The server says so in the words of its own language, so the other database is tried whatever it says.
    """
    try:
        return connections.connect(work.server)
    except psycopg.OperationalError as error:
        try:
            return connections.connect(work.server, database="postgres")
        except psycopg.OperationalError:
            raise error from None


def ended_backends(connection: psycopg.Connection[Any], name: str) -> int:
    """How many sessions of this name there still are; each was told to end."""
    rows = connection.execute(
        "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
        " where application_name = %s and pid <> pg_catalog.pg_backend_pid()",
        [name],
    ).fetchall()
    return len(rows)


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Look ten times a second."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.1)
