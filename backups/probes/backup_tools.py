"""
title:    Backup tools
about:    Whether a worker that takes this server's backups has client programs of its version.
empty:    Nothing is known of the server's version.
scope:    instance
judged:   primary
every:    300s
critical: unfit_count > 0
column server_version: major version of the server; older client programs refuse it
column worker:         a worker that has fitting client programs
column client_version: those that it would take
column found_versions: all that workers told of
column workers_count:  workers that take backups of this server and were seen in the last minutes
column unfit_count:    1 when none of them can take a backup; nothing while no worker has told what it has
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from dbadmin.connections import Session
from dbadmin.models import WorkerBeat

COLUMNS = ("server_version", "worker", "client_version", "found_versions", "workers_count", "unfit_count")
SEEN = timedelta(minutes=3)


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row: the version, and who could take the next backup."""
    if session.server is None:
        return []
    queue = (session.server.primary or session.server).queue or "backups"
    alive = WorkerBeat.objects.filter(
        kind=WorkerBeat.Kind.WORKER, queues__contains=[queue], seen_at__gt=timezone.now() - SEEN
    )
    told = [(beat.name, beat.abilities["pg_clients"]) for beat in alive if "pg_clients" in beat.abilities]
    fitting = sorted(
        (_numbers(version), version, name)
        for name, versions in told
        for version in versions
        if _numbers(version)[0] >= session.major
    )
    best = fitting[0] if fitting else ([], None, None)
    found = sorted({version for _, versions in told for version in versions}, key=_numbers)
    unfit = int(not fitting) if told else None
    return [(str(session.major), best[2], best[1], ", ".join(found) or None, len(alive), unfit)]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
