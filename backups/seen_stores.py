"""Which host sees which directory store: a path names a disk, and not every host has the same one there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from backups.models import Store
from backups.stores import StoreError
from dbadmin.models import WorkerBeat

#: Seconds that a directory has to answer: one of a network may hang, and a worker's heartbeat must not.
PATIENCE = 1.0
#: A worker that was not seen for so long tells nothing.
SEEN = timedelta(minutes=3)
SILENT = "It did not answer within a second: its disk may hang."
_looking: dict[str, threading.Thread] = {}


@dataclass(frozen=True)
class Sight:
    """What one host sees; problem: nothing when it is the store's disk."""

    host: str
    problem: str


def here() -> dict[str, str]:
    """Name of each directory store -> what is wrong with it on this host, or nothing."""
    found: dict[str, str] = {}
    for store in Store.objects.filter(kind=Store.Kind.LOCAL, enabled=True):
        found[store.name] = SILENT
        last = _looking.get(store.name)
        if last and last.is_alive():
            continue  # one more would wait as well
        look = _looking[store.name] = threading.Thread(target=_look, args=[store, found], daemon=True)
        look.start()
        look.join(PATIENCE)
    return dict(found)


def _look(store: Store, found: dict[str, str]) -> None:
    try:
        store.open().must_be_there()
    except StoreError as reason:
        found[store.name] = str(reason)
    else:
        found[store.name] = ""


def sights(stores: Iterable[Store]) -> dict[str, list[Sight]]:
    """Name of each directory store -> what this host and those of the workers see, each host once."""
    beats = WorkerBeat.objects.filter(kind=WorkerBeat.Kind.WORKER, seen_at__gt=timezone.now() - SEEN)
    told = {beat.host: beat.abilities.get("stores", {}) for beat in beats.order_by("seen_at")}
    told[socket.gethostname()] = here()
    return {
        store.name: [
            Sight(host, seen[store.name]) for host, seen in sorted(told.items()) if store.name in seen
        ]
        for store in stores
    }
