"""Partitions of the history by time: made when first needed, dropped when old, all of them under a cap."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

logger = logging.getLogger(__name__)

#: Table -> (is a partition a month, days kept).
DAY, MONTH = "day", "month"


@dataclass(frozen=True)
class Table:
    """A table of the history: how it is cut and how long it is kept."""

    name: str
    cut: str
    days: int

    def bounds(self, moment: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
        """First moment of the partition that holds this one, and the first after it."""
        start = moment.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.cut == DAY:
            return start, start + dt.timedelta(days=1)
        start = start.replace(day=1)
        return start, (start + dt.timedelta(days=32)).replace(day=1)

    def partition(self, moment: dt.datetime) -> str:
        """Its name: sorted by name is sorted by time."""
        start, _ = self.bounds(moment)
        return f"{self.name}_{start:%Y%m%d}"


def tables() -> dict[str, Table]:
    """The tables with their retention, from the settings."""
    kept: dict[str, int] = settings.HISTORY_DAYS
    return {
        "minute": Table("monitoring_minute", DAY, 2),
        "hour": Table("monitoring_hour", DAY, kept["minutes"]),
        "total": Table("monitoring_total", MONTH, kept["totals"]),
    }


_made: set[str] = set()


def ensure(which: str, moment: dt.datetime) -> None:
    """Make the partition for a moment unless it is there."""
    table = tables()[which]
    name = table.partition(moment)
    if name in _made:
        return
    start, end = table.bounds(moment)
    with transaction.atomic(), connection.cursor() as cursor:
        # Two samplers may want it at the same moment.
        cursor.execute("select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext(%s))", [table.name])
        cursor.execute("select pg_catalog.to_regclass(%s)", [name])
        if cursor.fetchone() == (None,):
            cursor.execute(
                f"create table {name} partition of {table.name} for values from ('{start.isoformat()}')"
                f" to ('{end.isoformat()}')"
            )
            cursor.execute(f"alter table {name} alter column body set storage external")
        transaction.on_commit(lambda: _made.add(name))


def existing(table: Table) -> list[str]:
    """Its partitions, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select inhrelid::regclass::text from pg_catalog.pg_inherits"
            " where inhparent = %s::regclass order by 1",
            [table.name],
        )
        return [name for (name,) in cursor.fetchall()]


def drop(name: str) -> None:
    """Drop a partition; waits for readers at most a moment, else it is done the next time."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("set local lock_timeout = '2s'")
        cursor.execute(f"drop table if exists {name}")
    _made.discard(name)
    logger.info("Dropped %s", name)


def drop_old(now: dt.datetime | None = None) -> list[str]:
    """Drop what is past its retention; returns the names."""
    dropped = []
    for table in tables().values():
        oldest = table.partition((now or timezone.now()) - dt.timedelta(days=table.days))
        for name in existing(table):
            if name < oldest:
                drop(name)
                dropped.append(name)
    return dropped


def size_bytes() -> int:
    """What all samples take on disk, indexes included."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select coalesce(sum(pg_catalog.pg_total_relation_size(inhrelid)), 0) from pg_catalog.pg_inherits"
            " where inhparent = any(%s::regclass[])",
            [[table.name for table in tables().values()]],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def keep_under_cap() -> list[str]:
    """Drop the oldest partitions until the history is under its cap; the newest of each table stays."""
    cap = settings.HISTORY_CAP_BYTES
    dropped = []
    while size_bytes() > cap:
        known = tables()
        oldest = [name for which in ("minute", "hour") for name in existing(known[which])[:-1]]
        oldest = oldest or existing(known["total"])[:-1]
        if not oldest:
            break
        name = min(oldest, key=lambda partition: partition.rpartition("_")[2])
        drop(name)
        dropped.append(name)
    return dropped
