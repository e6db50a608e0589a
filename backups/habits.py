"""What is usual for the backups of a database: how often, how large, how long; and how the newest differs."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from django.utils import timezone

from backups.models import Backup, BackupQuerySet
from backups.retention import usual_interval

#: The newest is held against so many before it, and against none while there are fewer than FEWEST.
LOOK_BACK, FEWEST = 7, 3
#: Below these nothing is called slower or smaller: there chance decides.
LEAST_SECONDS, LEAST_BYTES = 60.0, float(1 << 20)


def lateness(found: BackupQuerySet) -> float | None:
    """The age of the newest, in the usual distances between those that a schedule took; unknown for few."""
    moments = list(found.filter(run__schedule__isnull=False).values_list("started_at", flat=True)[:15])
    newest = found.first()
    if newest is None or len(moments) < FEWEST:
        return None
    return (timezone.now() - newest.started_at) / usual_interval(moments)


def against_usual(found: BackupQuerySet, measure: Callable[[Backup], float], least: float) -> float | None:
    """The newest against the median of those before it; 1 is as usual, unknown for few."""
    newest, before = found.first(), list(found[1 : LOOK_BACK + 1])
    if newest is None or len(before) < FEWEST:
        return None
    usual = median(measure(backup) for backup in before)
    return max(float(measure(newest)), least) / max(float(usual), least)
