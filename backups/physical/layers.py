"""Incremental base backups: the layers that one is put together from, and when the next one is full."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backups.models import BackupKey
from backups.physical import manifest
from backups.physical.models import BaseBackup, PointInTime
from backups.physical.replication import INCREMENTAL_FROM
from dbadmin.models import Server

_SUMMARIES = """
    select current_setting('server_version_num')::int as version,
           current_setting('summarize_wal', true) as summarizes"""
ADVISED_SUMMARIES = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();"
GONE = "It is no longer in the store."


@dataclass(frozen=True)
class Choice:
    """What the next base backup is built on; when on nothing though something was wanted, why."""

    prior: BaseBackup | None = None
    why_full: str = ""


def layers(base: BaseBackup) -> list[BaseBackup]:
    """The full base backup first, then each incremental one on top of it, up to this."""
    found = [base]
    while found[0].prior:
        found.insert(0, found[0].prior)
    return found


def whole(bases: Iterable[BaseBackup]) -> list[BaseBackup]:
    """Those whose layers are all among them."""
    found: dict[int, BaseBackup] = {}
    for base in sorted(bases, key=lambda base: base.started_at):
        if base.prior_id is None or base.prior_id in found:
            found[base.pk] = base
    return list(found.values())


@dataclass(frozen=True)
class Able:
    """Can a server take incremental base backups at all, and does it keep the summaries that they need?"""

    version: int
    summarizes: bool
    server: str

    @property
    def knows(self) -> bool:
        return self.version >= INCREMENTAL_FROM

    @property
    def lacks(self) -> str:
        """What keeps it from that, with what mends it; empty when nothing does."""
        if not self.knows:
            return (
                f"PostgreSQL takes incremental base backups from {INCREMENTAL_FROM // 10000} on;"
                f" {self.server} is {self.version // 10000}."
            )
        return (
            ""
            if self.summarizes
            else f"summarize_wal of {self.server} is off. What mends it: {ADVISED_SUMMARIES}"
        )


def able(server: Server) -> Able:
    """Asked of the server itself."""
    found: Any = server.row(_SUMMARIES)
    return Able(found.version, found.summarizes == "on", str(server))


def choose(point: PointInTime, now: datetime) -> Choice:
    """The newest base backup, when all that it is built on is good and the full one is young enough."""
    if not point.full_days:
        return Choice()
    if lacks := able(point.server).lacks:
        return Choice(why_full=lacks)
    newest = (
        BaseBackup.objects.present()
        .filter(server=point.server, store=point.store, system_id=point.system_id)
        .first()
    )
    if newest is None:
        return Choice(why_full="There is none to build on yet.")
    if newest.encrypted and not BackupKey.identities():
        return Choice(
            why_full="The list of files of the one before cannot be opened: the private key is not kept here."
        )
    below = layers(newest)
    for base in below:
        if broken := unfit(base):
            return Choice(why_full=f"The {base} cannot be built on: {broken}")
    due = below[0].started_at + timedelta(days=point.full_days) - timedelta(hours=point.base_hours) / 2
    return Choice(why_full=f"A full one every {point.full_days} days.") if now >= due else Choice(newest)


def look_for(base: BaseBackup) -> None:
    """Mark one that vanished from its store, and none that came back."""
    was = base.problem
    if was in ("", GONE):
        there = base.store.open().head(f"{base.prefix}/{manifest.NAME}")
        base.problem = "" if there else GONE
        # What a verification found meanwhile stays.
        BaseBackup.objects.filter(pk=base.pk, problem=was).update(problem=base.problem)


def unfit(base: BaseBackup) -> str:
    """Why nothing can be built on a base backup; one that vanished from the store is marked."""
    if base.deleted_at:
        return f"Deleted. {base.deleted_why}"
    look_for(base)
    return base.problem or ("" if base.read_at else "It was never read back.")
