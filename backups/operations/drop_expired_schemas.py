"""Drop the schemas of tables that were brought back and whose time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import psycopg

from backups import side_schemas
from backups.models import SideSchema
from dbadmin.clocks import earlier_now
from dbadmin.failures import sentence
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Sql, Step, Transaction

if TYPE_CHECKING:
    from dbadmin.runner import Work


class DropExpiredSchemas(Operation):
    """Drop every schema of tables that were brought back and kept for as long as was chosen; not what others use."""

    title = "Drop expired tables brought back"
    risk = Risk.DESTROYS
    queue = "backups"

    def plan(self) -> Sequence[Step]:
        expired = list(SideSchema.present(self.server).filter(expires_at__lte=earlier_now()))
        if not expired:
            raise Refused(f"No tables brought back on {self.server} have expired.")
        steps = [self._step(side, side_schemas.look(self.server, side)) for side in expired]
        return sorted(steps, key=lambda step: isinstance(step, Stays))

    def _step(self, side: SideSchema, found: side_schemas.Inside) -> Step:
        if found.is_gone:
            return Call(
                lambda work: side_schemas.note_gone(work, [side]), f"Note that {side} is gone already."
            )
        if found.others:
            return Stays(lambda work: _tell(work, side, found), f"-- {side} stays: {found.says()}.")
        drops = [Sql(statement, settings=side_schemas.PATIENCE) for statement in found.statements]
        transaction = Transaction(drops, side.database)
        return Call(lambda work: _drop(work, side, transaction), str(transaction))


class Stays(Call):
    """A step that only tells why something is left."""


def _tell(work: Work, side: SideSchema, found: side_schemas.Inside) -> None:
    work.log(f"{side} stays: {found.says()}.")


def _drop(work: Work, side: SideSchema, transaction: Transaction) -> None:
    """One that cannot be dropped now keeps no other from it; RESTRICT holds what somebody hung on it meanwhile."""
    try:
        transaction.run(work)
    except psycopg.Error as error:
        if not isinstance(
            error, (psycopg.errors.LockNotAvailable, psycopg.errors.DependentObjectsStillExist)
        ):
            raise
        work.log(f"{side} stays: {sentence(error, work.server)}")
        return
    side_schemas.note_gone(work, [side])
