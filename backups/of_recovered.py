"""What every operation on a recovered cluster begins with: which of them, and whether it can be reached."""

from __future__ import annotations

import socket
from typing import Any

from django import forms

from backups.physical.models import RecoveredCluster
from dbadmin.failures import Told
from dbadmin.models import Server
from dbadmin.operations import Refused


class RecoveredField(forms.TypedChoiceField):
    """One of the clusters that stand now."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(coerce=int, **kwargs)

    def offer(self, server: Server | None) -> None:
        found = RecoveredCluster.objects.filter(ended_at=None).select_related("server")
        if server is not None:
            found = found.filter(server=server)
        self.choices = [(str(row.pk), str(row)) for row in found]


def offered_databases(server: Server | None) -> list[str]:
    """Those of the clusters that stand now."""
    standing = RecoveredCluster.objects.filter(server=server, ended_at=None)
    return list(dict.fromkeys(name for row in standing for name in row.databases))


def chosen(server: Server, pk: Any, database: str) -> RecoveredCluster:
    """The cluster that a form named, if it stands and has this database; raises Refused."""
    rows = RecoveredCluster.objects.filter(server=server, ended_at=None).select_related("base", "server")
    row = rows.filter(pk=pk).first()
    if row is None or not row.is_up:
        raise Refused("This recovered cluster does not stand any more. Recover again.", field="cluster")
    if database not in row.databases:
        raise Refused(
            f"{row} has no database {database}; it has {', '.join(row.databases)}.", field="database"
        )
    return row


def must_be_here(row: RecoveredCluster) -> None:
    """It listens on its own host alone; raises Told on any other."""
    here = socket.gethostname()
    if here != row.host:
        raise Told(
            f"The recovered cluster stands on {row.host} and listens there alone; this worker is on {here}. "
            f"Start it again when a worker of {row.host} is free, or take it with pg_dump there."
        )
