"""A proven restored database takes its name or the place of the original; where it cannot, it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from backups import leases, made_roles, preflight, properties, subscriptions, swap
from backups.forms import free_name
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
    work.remember(live=job.live, aside=aside, keep_hours=keep_hours)
    with work.connect(preflight.other_database(job.server, [job.live, job.scratch])) as connection:
        so_far = "It was not swapped: the original is untouched."
        with _kept_otherwise(job, work, connection, so_far), swap.alone(connection, job.live):
            work.remember(was_open=swap.is_open(connection, job.live))
            _put(job, work, connection)


def give_name(job: Restoring, work: Work, name: str, keep_hours: float) -> None:
    """The proven database takes its new name; the next that is free when somebody took it meanwhile."""
    work.remember(new=name, keep_hours=keep_hours)
    with (
        work.connect(preflight.other_database(job.server, [job.scratch])) as connection,
        _kept_otherwise(job, work, connection, f"It was not named {name}."),
    ):
        settle(work, connection, job.scratch, work.facts, job.dsn)
        try:
            swap.move_in(connection, name, job.scratch, work.stop_if_cancelled)
        except psycopg.errors.DuplicateDatabase:
            taken, name = name, free_name(job.server, name)
            work.log(f"Somebody made a database {taken} meanwhile; it is left alone.")
            swap.move_in(connection, name, job.scratch, work.stop_if_cancelled)
    job.backup.release(work)
    work.result(database=name)
    told(work, f"The restored database is {name}.")


def settle(
    work: Work, connection: psycopg.Connection[Any], name: str, facts: Mapping[str, Any], dsn: str = ""
) -> None:
    """What a restored database gets last of all, before people use it: no slot of its original, and its limit of
    connections, which would be in the way of what loads it.

    facts: of its restore; dsn: what leads into it, "" for the server's.
    """
    subscriptions.take_slots(work, connection, name, dsn)
    if "connection_limit" in facts:
        statement = properties.limit_statement(facts["connection_limit"], name)
        connection.execute(statement)
        work.log(statement.as_string(None))


def settle_texts(kept: KeptDatabase) -> str:
    """The statements of that for one that was kept, to be read before."""
    if not kept.is_restored:
        return ""
    lines = subscriptions.texts(subscriptions.with_slots(kept.server, kept.name))
    if "connection_limit" in kept.facts:
        lines += f"{properties.limit_statement(kept.facts['connection_limit'], kept.name).as_string(None)};\n"
    return lines


@contextmanager
def _kept_otherwise(
    job: Restoring, work: Work, connection: psycopg.Connection[Any], so_far: str
) -> Iterator[None]:
    """What goes wrong is told with so_far and with what becomes of the restored database."""
    try:
        yield
    except (Told, psycopg.Error) as reason:
        if connection.closed:  # whether it was done is found out by the clean-up
            raise
        work.remember(kept=job.scratch)
        raise RestoreFailed(
            f"{sentence(reason, job.server)} {so_far} The restored database, proven, is kept as {job.scratch} for "
            f"{work.facts['keep_hours']:.0f} hours. When nothing is in the way any more, {_WAY}."
        ) from reason


_WAY = "the operation “Undo a restore” puts it in place"


def _put(job: Restoring, work: Work, connection: psycopg.Connection[Any]) -> None:
    settle(work, connection, job.scratch, work.facts, job.dsn)
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
    told(
        work,
        f"{job.live} is the restored database now. {count(ended)} sessions were ended; nobody could "
        f"connect for {duration(gap)}. The old one is kept as {aside}.",
    )


def _take_place(job: Restoring, work: Work, connection: psycopg.Connection[Any]) -> None:
    """The database whose place it takes is gone: there is nothing to put aside."""
    swap.move_in(connection, job.live, job.scratch, work.stop_if_cancelled)
    job.backup.release(work)
    work.result(database=job.live)
    told(work, f"Somebody dropped or renamed {job.live} meanwhile. The restored database has its name now.")


def told(work: Work, sentence: str) -> None:
    """How it ended, in the log and as the run's own word."""
    work.log(sentence)
    work.say(sentence)


def _record(work: Work, name: str, backup: Backup | None, facts: dict[str, Any]) -> KeptDatabase:
    return KeptDatabase.objects.update_or_create(
        server=work.server,
        name=name,
        defaults={
            "original": work.facts.get("new") or work.facts["live"], "backup": backup, "run": work.run, "facts": facts,
            "expires_at": expiry(work.facts.get("keep_hours", 72)),
        },
    )[0]  # fmt: skip


def clean_up(work: Work) -> None:
    """What a restore left: its scratch database goes or, when only its place was to be taken, is kept; a fence is
    opened, a finished swap is written down."""
    backup = leases.end(work)
    scratch = work.facts.get("scratch")
    if not scratch:
        made_roles.drop(work)
        return
    live = work.facts.get("live", "")
    with work.connect(preflight.other_database(work.server, [scratch, live])) as connection:
        _end_sessions_of(connection, work)
        made = swap.name(connection, work.facts.get("scratch_oid"))
        if made not in (None, scratch):
            _tell_done(connection, work, str(made), backup)
            return
        if made and _is_wanted(work):
            swap.allow(connection, made, False)  # nobody writes to what was proven
            facts: dict[str, Any] = {
                "restored": True, "counters": counters(connection, live),
                **{name: work.facts[name] for name in ("new", "connection_limit") if name in work.facts},
            }  # fmt: skip
            _record(work, made, backup, facts)
            tell = work.log if work.facts.get("kept") else work.stands
            tell(f"The restored database, proven, is kept as {made}; {_WAY}.")
        else:
            subscriptions.drop_database(work, scratch)
            work.log(f"Dropped {scratch}, if it was there.")
            made_roles.drop(work)
        was_open = work.facts.get("was_open")
        if was_open is not None and swap.oid(connection, live) is not None:
            swap.allow(connection, live, was_open)
            work.log(f"{live} is as it was and takes {'connections' if was_open else 'none'}.")


def _tell_done(connection: psycopg.Connection[Any], work: Work, name: str, backup: Backup | None) -> None:
    """The restored database has its name: only the word of it was missing."""
    aside = work.facts.get("aside", "")
    if not aside or swap.oid(connection, aside) is None:
        work.result(database=name)
        work.stands(f"The restored database is {name}, proven: it had its name before this ended.")
        return
    found = KeptDatabase.present(work.server).filter(name=aside).first()
    kept = found or _record(work, aside, backup, {})
    work.result(kept=kept.pk, aside=aside)
    work.stands(
        f"{name} is the restored database: the swap was complete before this ended. The old one is kept as {aside}; "
        "the operation “Undo a restore” brings it back."
    )


def _is_wanted(work: Work) -> bool:
    """Had the restored database only to take its place, and did nobody cancel that before its keeping was told?"""
    cancelled = Run.objects.filter(pk=work.run.pk, cancel_requested_at__isnull=False)
    return bool(work.facts.get("kept") or (work.facts.get("keep_hours") and not cancelled.exists()))


def _end_sessions_of(connection: psycopg.Connection[Any], work: Work) -> None:
    """The programs of a dead worker are dead; their sessions may not have noticed yet."""
    connection.execute(
        "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
        " where application_name = %s and pid <> pg_catalog.pg_backend_pid()",
        [f"dbadmin run {work.run.pk}"],
    )
