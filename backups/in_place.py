"""A proven restored database takes the place of the original; where it cannot, it is kept beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from backups import leases, preflight, subscriptions, swap
from backups.models import Backup, KeptDatabase, expiry
from backups.restoring import RestoreFailed, Restoring
from backups.written_since import counters
from dbadmin.failures import Told, sentence
from dbadmin.models import Run
from dbadmin.units import count, duration

if TYPE_CHECKING:
    from dbadmin.runner import Work


def put(job: Restoring, work: Work, keep_hours: float) -> None:
    """Fence, swap, and remember the old database for the time in which this can be undone.

    From here on the restored database is not lost: the clean-up of a run that fails or dies keeps it.
    """
    aside = job.scratch.replace("__restore_", "__before_")
    with work.connect(preflight.other_database(job.server, [job.live, job.scratch])) as connection:
        was_open = swap.is_open(connection, job.live)
        work.remember(live=job.live, aside=aside, keep_hours=keep_hours, was_open=was_open)
        try:
            _put(job, work, connection)
        except (Told, psycopg.Error) as reason:
            if connection.closed:  # whether it was swapped is found out by the clean-up
                raise
            work.remember(kept=job.scratch)
            raise RestoreFailed(
                f"{sentence(reason, job.server)} It was not swapped: the original is untouched. The restored database, "
                f"proven, is kept as {job.scratch} for {keep_hours:.0f} hours. When nothing is in the way any more, "
                "the operation “Undo a restore” puts it in place."
            ) from reason


def _put(job: Restoring, work: Work, connection: psycopg.Connection[Any]) -> None:
    job.limit(work, connection)
    if swap.oid(connection, job.live) is None:
        _take_place(job, work, connection)
        return
    if found := list(preflight.obstacles(job.server, job.live)):
        raise RestoreFailed(found[0].message)
    aside = work.facts["aside"]
    gap, ended = swap.swap(connection, job.live, aside, job.scratch, work.stop_if_cancelled)
    kept = _record(work, aside, job.backup, {"counters": counters(connection, job.live)})
    job.backup.release(work)
    work.result(kept=kept.pk, aside=aside, gap_seconds=round(gap, 3), sessions_ended=ended)
    work.log(
        f"{job.live} is the restored database now. {count(ended)} sessions were ended; nobody could "
        f"connect for {duration(gap)}. The old one is kept as {aside}."
    )


def _take_place(job: Restoring, work: Work, connection: psycopg.Connection[Any]) -> None:
    """The database whose place it takes is gone: there is nothing to put aside."""
    swap.move_in(connection, job.live, job.scratch, work.stop_if_cancelled)
    work.remember(renamed=job.live)
    job.backup.release(work)
    work.result(database=job.live)
    work.log(f"Somebody dropped or renamed {job.live} meanwhile. The restored database has its name now.")


def _record(work: Work, name: str, backup: Backup | None, facts: dict[str, Any]) -> KeptDatabase:
    return KeptDatabase.objects.update_or_create(
        server=work.server,
        name=name,
        defaults={
            "original": work.facts["live"], "backup": backup, "run": work.run, "facts": facts,
            "expires_at": expiry(work.facts.get("keep_hours", 72)),
        },
    )[0]  # fmt: skip


def clean_up(work: Work) -> None:
    """What a restore left: its scratch database goes or, when it only had to be swapped in, is kept; a fence is opened,
    a finished swap is written down."""
    backup = leases.end(work)
    scratch = work.facts.get("scratch")
    if not scratch or work.facts.get("renamed"):
        return
    live, aside = work.facts.get("live", ""), work.facts.get("aside", "")
    with work.connect(preflight.other_database(work.server, [scratch, live])) as connection:
        _end_sessions_of(connection, work)
        there, made = swap.oid(connection, live), work.facts.get("scratch_oid")
        if there is not None and there == made:
            said = f"The swap was complete: {live} is the restored database"
            if swap.oid(connection, aside) is not None:
                _record(work, aside, backup, {})
                said += f", the old one is {aside}"
            work.log(f"{said}.")
            return
        if made is not None and swap.oid(connection, scratch) == made and _is_wanted(work):
            swap.allow(connection, scratch, False)  # nobody writes to what was proven
            _record(work, scratch, backup, {"restored": True, "counters": counters(connection, live)})
            work.log(
                f"The restored database is kept as {scratch}; the operation “Undo a restore” puts it in place."
            )
        else:
            subscriptions.drop_database(work, scratch)
            work.log(f"Dropped {scratch}, if it was there.")
        if there is not None:
            was_open = work.facts.get("was_open", True)
            swap.allow(connection, live, was_open)
            work.log(f"{live} is as it was and takes {'connections' if was_open else 'none'}.")


def _is_wanted(work: Work) -> bool:
    """Had the restored database only to be put in place, and did nobody cancel that before its keeping was told?"""
    cancelled = Run.objects.filter(pk=work.run.pk, cancel_requested_at__isnull=False)
    return bool(work.facts.get("kept") or (work.facts.get("aside") and not cancelled.exists()))


def _end_sessions_of(connection: psycopg.Connection[Any], work: Work) -> None:
    """The programs of a dead worker are dead; their sessions may not have noticed yet."""
    connection.execute(
        "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
        " where application_name = %s and pid <> pg_catalog.pg_backend_pid()",
        [f"dbadmin run {work.run.pk}"],
    )
