"""Which of our processes live: Redis forgets its list of workers, a row in the control database stays."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from datetime import timedelta

from django.db import Error as DatabaseError
from django.db import connections
from django.utils import timezone

from dbadmin.models import Run, WorkerBeat

log = logging.getLogger("dbadmin.beats")

FORGOTTEN = timedelta(hours=1)
#: What apps have a worker tell of itself with each beat, such as the programs of its host: quick, and fit for JSON.
ABILITIES: dict[str, Callable[[], object]] = {}


def default_name() -> str:
    """The host and the process."""
    return f"{socket.gethostname()}-{os.getpid()}"


def beat(
    kind: str, name: str, queues: list[str] | None = None, busy_with: int | None = None, leads: bool = False
) -> None:
    """Say that we are alive; while the control database is away, only the log hears it."""
    now = timezone.now()
    seen = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "queues": queues or [],
        "busy_with": None,
        "leads": leads,
        "seen_at": now,
    }
    try:
        if kind == WorkerBeat.Kind.WORKER:
            seen["abilities"] = {each: tell() for each, tell in ABILITIES.items()}
        seen["busy_with"] = Run.objects.only("pk").filter(pk=busy_with).first() if busy_with else None
        WorkerBeat.objects.update_or_create(
            kind=kind, name=name, defaults=seen, create_defaults={**seen, "started_at": now}
        )
    except DatabaseError as error:
        log.warning("no heartbeat: the control database does not answer: %s", error)
    finally:
        # Nothing stays open that a fork could share.
        connections.close_all()


def forget_the_dead() -> None:
    """Those that were not seen for an hour are no news any more."""
    WorkerBeat.objects.filter(seen_at__lt=timezone.now() - FORGOTTEN).delete()


def leave(kind: str, name: str) -> None:
    """Say good-bye."""
    try:
        WorkerBeat.objects.filter(kind=kind, name=name).delete()
    except DatabaseError as error:
        log.warning("no good-bye: the control database does not answer: %s", error)
    finally:
        connections.close_all()
