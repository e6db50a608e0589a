"""Drop the databases that restores put aside and whose time is over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from backups import subscriptions
from backups.models import KeptDatabase
from backups.operations.drop_kept_database import drop
from dbadmin.clocks import earlier_now
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step


class DropExpiredDatabases(Operation):
    """Drop every database that a restore replaced and that was kept for as long as was chosen."""

    title = "Drop expired replaced databases"
    risk = Risk.DESTROYS
    queue = "backups"

    def plan(self) -> Sequence[Step]:
        expired = list(KeptDatabase.present(self.server).filter(expires_at__lte=earlier_now()))
        if not expired:
            raise Refused(f"No replaced database of {self.server} has expired.")
        return [
            Call(partial(drop, kept=kept), f"{subscriptions.drop_statement(kept.name).as_string(None)};")
            for kept in expired
        ]
