"""
title:    Backup age
about:    How long ago each database was last backed up, and how far the newest backups are proven.
empty:    The server has no database.
scope:    instance
judged:   primary
every:    300s
key:      database
series:   max(written_seconds), max(proven_seconds)
warning:  written_seconds > 93600
critical: written_seconds > 180000
actions:  take_backup(database)
column proven_at:        when the newest backup that was read back or restored was begun
column written_seconds:  since the newest backup was written; nothing when there is none
column proven_seconds:   since the newest backup that was read back or restored was written
column restored_seconds: since the newest backup that was restored and compared was written
column stored_bytes:     size of the newest backup in its store
column problem:          what the last proof found wrong
column unproven_seconds: since the newest proven backup was begun; when none is proven, since the oldest one was
column late_ratio:       age of the newest in usual distances between scheduled backups
column failed_count:     attempts since the last one that succeeded
column size_ratio:       unpacked size of the newest against the usual one before it
column slow_ratio:       time that the newest took against the usual one before it; below a minute all are equal
column copies_missing_count: backups that do not lie whole in every store that the policy asks for
column store_problem:    what the store of the newest does against the policy, or refuses
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from backups import habits, policies
from backups.models import Backup, BackupQuerySet
from dbadmin.connections import Session
from dbadmin.models import Server

COLUMNS = (
    "database", "size_bytes", "proven_at", "written_seconds", "proven_seconds", "restored_seconds",
    "stored_bytes", "backups_count", "problem", "unproven_seconds", "late_ratio", "failed_count", "size_ratio",
    "slow_ratio", "copies_missing_count", "store_problem",
)  # fmt: skip

_DATABASES = """
    select datname as database,
           case when pg_catalog.has_database_privilege(oid, 'connect')
                then pg_catalog.pg_database_size(oid) end as size_bytes
    from pg_catalog.pg_database where datallowconn and not datistemplate order by 1"""


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each database that the server has now."""
    if session.server is None:
        return []
    server = session.server.primary or session.server
    found = Backup.objects.of(server).whole()
    return [_row(server, found.filter(database=each.database), each) for each in session.rows(_DATABASES)]


def _row(server: Server, found: BackupQuerySet, database: Any) -> tuple[Any, ...]:
    newest, good = found.select_related("store").first(), found.good().first()
    oldest = found.last()
    ages = [
        good.started_at if good else None,
        _age(newest),
        _age(good),
        _age(found.exclude(restored_at=None).filter(problem="").first()),
    ]
    stored = newest.stored_bytes if newest else None
    problem = newest.problem if newest else None
    return (
        database.database, database.size_bytes, *ages, stored, found.count(), problem or None,
        _age(good or oldest),
        habits.lateness(found),
        policies.failed_attempts(server, database.database),
        habits.against_usual(found, lambda backup: backup.plain_bytes, habits.LEAST_BYTES),
        habits.against_usual(found, lambda backup: backup.seconds, habits.LEAST_SECONDS),
        policies.copies_missing(server, database.database, found),
        (newest.store.test_problem if newest else "") or None,
    )  # fmt: skip


def _age(backup: Backup | None) -> float | None:
    return (timezone.now() - backup.started_at).total_seconds() if backup else None
