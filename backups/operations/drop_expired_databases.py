"""Drop the databases that restores put aside and whose time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.utils import timezone
from psycopg import sql

from backups.models import KeptDatabase
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Sql, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class DropExpiredDatabases(Operation):
    """Drop every database that a restore replaced and that was kept for as long as was chosen."""

    title = "Drop expired replaced databases"
    risk = Risk.DESTROYS
    queue = "backups"

    def plan(self) -> Sequence[Step]:
        expired = list(KeptDatabase.present(self.server).filter(expires_at__lte=timezone.now()))
        if not expired:
            raise Refused(f"No replaced database of {self.server} has expired.")
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        steps: list[Step] = [Sql(drop.format(sql.Identifier(kept.name))) for kept in expired]
        return [*steps, Call(lambda work: _note(work, expired), "Note that they are gone.")]


def _note(work: Work, expired: Sequence[KeptDatabase]) -> None:
    KeptDatabase.objects.filter(pk__in=[kept.pk for kept in expired]).update(dropped_at=timezone.now())
    work.log(f"Dropped {', '.join(kept.name for kept in expired)}.")
