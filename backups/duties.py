"""What the scheduler that leads does for backups: base backups when due, and other tools' repositories read."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.core.exceptions import PermissionDenied
from django.utils import timezone

from backups.models import ForeignRepository, PointInTime
from backups.operations.read_foreign_repository import ReadForeignRepository
from backups.operations.take_base_backup import TakeBaseBackup
from backups.physical.chains import Recoverable, recoverable
from dbadmin import periodic, runs
from dbadmin.models import Run
from dbadmin.operations import Refused

log = logging.getLogger("dbadmin.backups")

#: Seconds between two looks.
LOOK = 60.0
#: The WAL of a new base backup may take so long to arrive; after a failure we wait as long.
MERCY, AGAIN = timedelta(minutes=3), timedelta(minutes=10)
#: Base backups are taken in the name of a person.
REMEDY = "Let an admin carry out “Change point-in-time recovery”: base backups are then taken in that admin's name."
#: Repositories of other tools are read so often.
READ_EVERY = timedelta(hours=1)


def register() -> None:
    """Called once, when the app is ready."""
    periodic.register("base backups", LOOK, take_due)
    periodic.register("foreign repositories", LOOK, read_due)


def take_due() -> list[Run]:
    """Begin what is due, for the person who switched it on."""
    begun = []
    points = PointInTime.objects.filter(enabled=True, server__enabled=True).select_related(
        "server", "made_by"
    )
    for point in points:
        reason = why_due(point, recoverable(point.server), timezone.now())
        if not reason or not point.is_received or is_tried(point):
            continue
        operation = TakeBaseBackup(point.server, {})
        try:
            begun.append(runs.start(operation, point.made_by, Run.Door.SCHEDULE, reason))
        except PermissionDenied as denied:
            note(point, operation, reason, f"{runs.may_not(point.made_by, denied)} {REMEDY}")
        except Refused as refusal:
            note(point, operation, reason, str(refusal))
    return begun


def note(point: PointInTime, operation: TakeBaseBackup, reason: str, message: str) -> None:
    """A run that says why it did not begin: once, not every minute that it is so."""
    last = Run.objects.filter(server=point.server, operation=operation.name).first()
    if last is None or (last.status, last.message) != (Run.Status.REFUSED, message):
        run = runs.filled(operation, point.made_by, Run.Door.SCHEDULE, None)
        run.reason = reason
        runs.refused(run, message)


def why_due(point: PointInTime, found: Recoverable, now: datetime) -> str:
    """The reason for a new base backup, or nothing."""
    newest = max(found.chains, key=lambda chain: chain.base.started_at, default=None)
    if newest is None:
        return "Point-in-time recovery needs a first base backup"
    if newest.missing and now - newest.base.finished_at > MERCY:
        return f"The WAL segment {newest.missing} is missing: only a new base backup makes later moments recoverable"
    if now - newest.base.started_at > timedelta(hours=point.base_hours):
        return f"A base backup every {point.base_hours} hours"
    return ""


def is_tried(point: PointInTime) -> bool:
    """One is under way, or the last attempt failed a moment ago."""
    tried = Run.objects.filter(server=point.server, operation=TakeBaseBackup.name)
    recent = tried.exclude(status=Run.Status.SUCCEEDED).filter(queued_at__gt=timezone.now() - AGAIN)
    return tried.filter(status__in=Run.OPEN).exists() or recent.exists()


def read_due() -> list[Run]:
    """Begin to read the repositories that nobody tried for an hour, for those who registered them."""
    begun = []
    last = timezone.now() - READ_EVERY
    for repository in ForeignRepository.objects.filter(server__enabled=True).exclude(tried_at__gt=last):
        operation = ReadForeignRepository(repository.server, {"repository": repository.pk})
        try:
            begun.append(runs.start(operation, repository.made_by, Run.Door.SCHEDULE, "Read each hour"))
        except PermissionDenied as refusal:
            repository.trouble = f"{refusal} Show it no longer, and again in the name of somebody who may."
            repository.save(update_fields=["trouble"])
        except Refused as refusal:
            log.warning("%s of %s is not read: %s", repository, repository.server, refusal)
    return begun
