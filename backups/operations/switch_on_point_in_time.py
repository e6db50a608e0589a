"""Begin to keep the WAL of a server, so that it can be recovered to any moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse
from psycopg import sql

from backups.forms import DatabaseField, StoreField, databases
from backups.keeping_form import KeepingForm, keeping, must_be_able, rhythm
from backups.models import BackupKey
from backups.physical import heartbeat, preflight
from backups.physical.models import PointInTime
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Sql, Step, Transaction

if TYPE_CHECKING:
    from dbadmin.runner import Work


class SwitchOnPointInTimeForm(KeepingForm):
    """Where the WAL goes, how often a new base is taken, and for how long all of it is kept."""

    store = StoreField()
    ship_seconds = forms.IntegerField(
        label="Send WAL every (seconds)", initial=10, min_value=1, max_value=600,
        help_text="The most that is lost when the server and the receiver's disk are lost together.",
    )  # fmt: skip
    heartbeat = forms.BooleanField(
        required=False, initial=True,
        help_text="Write one row that often, so that a recovery can be proven by it.",
    )  # fmt: skip
    database = DatabaseField(required=False, help_text="Where the row of the heartbeat is kept.")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, server=server, **kwargs)
        self.fields["store"].offer()  # type: ignore[attr-defined]
        if server is not None:
            self.fields["database"].offer(databases(server))  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if found.get("heartbeat") and not found.get("database"):
            self.add_error("database", "Choose the database in which the heartbeat is written.")
        return found


class SwitchOnPointInTime(Operation):
    """Receive the WAL of a server without a gap and take base backups, so that every moment can be recovered."""

    title = "Switch on point-in-time recovery"
    risk = Risk.BLOCKS
    only_ours = True
    Form = SwitchOnPointInTimeForm

    def waits(self) -> str:
        return (
            "Nobody waits. But from now on the server keeps WAL on its disk until it was received: "
            "a receiver must be at work (manage.py wal_receiver)."
        )

    def plan(self) -> Sequence[Step]:
        if PointInTime.objects.filter(server=self.server, enabled=True).exists():
            raise Refused(f"Point-in-time recovery of {self.server} is on already.")
        store = preflight.check_store(str(self.params["store"]))
        slot = preflight.slot_name(self.server)
        preflight.receiving_tools(self.server)
        source = preflight.check_source(self.server, slot)
        must_be_able(self.server, self.params)
        preflight.must_be_ours(
            store, PointInTime(server=self.server, system_id=source.system.system_id).folder
        )
        make = sql.SQL("SELECT pg_catalog.pg_create_physical_replication_slot({}, true)").format(
            sql.Literal(slot)
        )
        drop = f"SELECT pg_catalog.pg_drop_replication_slot('{slot}');"
        steps: list[Step] = []
        if not self.server.value(
            "select 1 from pg_catalog.pg_replication_slots where slot_name = %s", [slot]
        ):
            says = f"{source.advice} A promoted replica gets the slot anew when it takes over."
            steps.append(Sql(make, reverse=drop, says=says))
        if self.params.get("heartbeat"):
            database = str(self.params["database"])
            steps.append(
                Transaction(
                    [Sql(statement) for statement in heartbeat.STATEMENTS],
                    database=database,
                    reverse=f"DROP SCHEMA {heartbeat.SCHEMA} CASCADE;",
                    says=f"One row, written every {self.params['ship_seconds']} s.",
                )
            )
        keys = ", ".join(BackupKey.objects.filter(retired_at=None).values_list("name", flat=True))
        sealed = f"encrypted for {keys}" if keys else "not encrypted (no backup key has been made)"
        system_id, segment_bytes = source.system.system_id, source.segment_bytes
        return [
            *steps,
            Call(
                lambda work: self.record(work, slot, system_id, segment_bytes),
                f"Let the receiver stream WAL of cluster {system_id} with slot {slot}, {sealed}, to the store"
                f" {self.params['store']}; take a base backup now and {rhythm(self.params)}.",
                reverse="The operation “Switch off point-in-time recovery”.",
            ),
        ]

    def record(self, work: Work, slot: str, system_id: str, segment_bytes: int) -> None:
        """The row that the receiver looks for."""
        store = preflight.check_store(str(self.params["store"]))
        PointInTime.objects.update_or_create(
            server=self.server,
            defaults={
                "enabled": True, "store": store, "slot": slot, "system_id": system_id,
                "segment_bytes": segment_bytes, "ship_seconds": self.params["ship_seconds"],
                **keeping(self.params),
                "heartbeat": bool(self.params.get("heartbeat")),
                "heartbeat_database": self.params.get("database") or "", "made_by": work.run.user,
                "problem": "", "seen_at": None, "covered_at": None, "covered_lsn": None, "spooled_lsn": None,
            },
        )  # fmt: skip
        work.log("The receiver begins within a few seconds, if one is running: manage.py wal_receiver.")

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])
