"""Stop a recovered cluster before its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse
from django.utils import timezone

from backups.of_recovered import RecoveredField
from backups.physical import orphans
from backups.physical.models import RecoveredCluster
from backups.physical.scratch_cluster import RecoveryFailed, wait_for
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work

#: Seconds that its keeper may take.
PATIENCE = 90.0


class StopRecoveredClusterForm(forms.Form):
    """Which, and whether its files stay."""

    cluster = RecoveredField()
    hand_over = forms.BooleanField(
        required=False,
        help_text="Leave its data directory on the worker's host, stopped and whole, for use elsewhere.",
    )

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["cluster"].offer(server)  # type: ignore[attr-defined]


class StopRecoveredCluster(Operation):
    """Stop a recovered cluster and remove it, or hand its directory over; source and backups stay as they are."""

    title = "Stop a recovered cluster"
    risk = Risk.LOADS
    Form = StopRecoveredClusterForm

    def target(self) -> str:
        return f"recovered cluster {self.params['cluster']}"

    def plan(self) -> Sequence[Step]:
        row = RecoveredCluster.objects.filter(
            pk=self.params["cluster"], server=self.server, ended_at=None
        ).first()
        if row is None:
            raise Refused("This recovered cluster has ended already.", field="cluster")
        what = (
            f"leave its files in {row.directory}/data" if self.params.get("hand_over") else "remove its files"
        )
        return [Call(lambda work: self.stop(work, row), f"Stop {row} on {row.host} and {what}.")]

    def stop(self, work: Work, row: RecoveredCluster) -> None:
        """Its keeper does it, whichever host it is on."""
        hand_over = bool(self.params.get("hand_over"))
        RecoveredCluster.objects.filter(pk=row.pk).update(
            stop_requested_at=timezone.now(), handed_over=hand_over
        )

        def ended() -> bool:
            row.refresh_from_db()
            if row.ended_at is None and orphans.is_orphaned(row):
                orphans.bury(row)
            return row.ended_at is not None

        if not wait_for(ended, PATIENCE, work.stop_if_cancelled):
            raise RecoveryFailed(
                f"Its keeper on {row.host} does not answer. When that host was restarted, the cluster is gone with it;"
                " the next recovery or drill there removes the files."
            )
        where = f" Its files are in {row.directory}/data on {row.host}." if hand_over else ""
        if hand_over and row.ended_why == orphans.GONE:
            where += " It was not shut down: PostgreSQL recovers it when it is started."
        work.say(f"{row} is stopped.{where}")

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])
