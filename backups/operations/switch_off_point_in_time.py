"""Stop keeping the WAL of a server; what is stored stays recoverable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.urls import reverse
from psycopg import sql

from backups.physical import heartbeat, preflight
from backups.physical.models import PointInTime
from dbadmin.models import Run
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Sql, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class SwitchOffPointInTime(Operation):
    """Receive no more WAL of a server and give its slot back; moments up to now stay recoverable until deleted."""

    title = "Switch off point-in-time recovery"
    risk = Risk.BLOCKS
    only_ours = True

    def waits(self) -> str:
        return "Nobody waits. But what is committed from now on can no longer be recovered to a moment."

    def plan(self) -> Sequence[Step]:
        point = preflight.point_of(self.server)
        steps: list[Step] = [Call(self.record, f"Stop receiving WAL of {self.server}.")]
        steps.append(
            Call(lambda work: self.drop_slot(work, point), f"Drop the slot {point.slot}, when it is free.")
        )
        if point.heartbeat:
            drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(heartbeat.SCHEMA))
            steps.append(Sql(drop, database=point.heartbeat_database, says="The heartbeat's row."))
        return steps

    def record(self, work: Work) -> None:
        PointInTime.objects.filter(server=self.server).update(enabled=False, problem="")

    def drop_slot(self, work: Work, point: PointInTime) -> None:
        """The receiver lets go within seconds; one that does not is ended by us."""
        for attempt in range(30):
            with work.connect() as connection:
                row = connection.execute(
                    "select active_pid from pg_catalog.pg_replication_slots where slot_name = %s",
                    [point.slot],
                ).fetchone()
                if row is None:
                    work.log(f"The slot {point.slot} is gone already.")
                    return
                if row[0] is None:
                    connection.execute("select pg_catalog.pg_drop_replication_slot(%s)", [point.slot])
                    work.log(f"Dropped the slot {point.slot}; the server keeps no WAL for us any more.")
                    return
                if attempt == 20:
                    connection.execute("select pg_catalog.pg_terminate_backend(%s)", [row[0]])
            work.pause(1)
        work.say(f"Somebody else still uses the slot {point.slot}. Drop it on the page of replication.")

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])
