"""Prove that a server can be recovered: to a chance moment, compared, and removed again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils import timezone

from backups.models import Drill
from backups.physical import recovering
from backups.physical.chains import Window, recoverable
from backups.physical.orphans import remove_folder
from backups.physical.recovering import Recovering, plan_recovery
from backups.physical.targets import Target
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step
from dbadmin.units import duration

if TYPE_CHECKING:
    from dbadmin.runner import Work


class DrillRecovery(Operation):
    """Recover to a chance moment on a worker's host, compare what is in it, measure how long it took, and remove it."""

    title = "Drill a recovery"
    risk = Risk.LOADS
    changes_nothing = True
    queue = "backups"

    def plan(self) -> Sequence[Step]:
        plan_recovery(self.server, Target("latest"))
        return [
            Call(
                self.drill,
                f"Choose a chance moment in the windows of {self.server}, recover to it in a scratch directory, compare"
                " the position and the heartbeat with what was written then, measure, and remove it.",
            )
        ]

    def drill(self, work: Work) -> None:
        """Whatever comes out is kept: a failed drill is the news."""
        found = recoverable(self.server)
        if not found.windows or found.latest is None:
            raise Refused(f"No moment of {self.server} can be recovered now.")
        moment = chance(found.windows)
        lost = max(0.0, (timezone.now() - found.latest).total_seconds())
        row = Drill(server=self.server, run=work.run, moment=moment, rpo_seconds=lost)
        work.log(f"The moment is {moment:%Y-%m-%d %H:%M:%S.%f} UTC.")
        try:
            job = plan_recovery(self.server, Target("time", moment))
            row.base = job.base
            self.recover(work, job)
            row.rto_seconds = work.run.result["rto_seconds"]
            row.replayed_bytes = work.run.result["replayed_bytes"]
            row.says = " ".join(job.says)
        except Exception as reason:
            row.problem = str(reason)
            raise
        finally:
            row.save()
        work.say(
            f"Recovered to {moment:%Y-%m-%d %H:%M:%S} UTC in {duration(row.rto_seconds or 0)}. {row.says}"
        )

    def recover(self, work: Work, job: Recovering) -> None:
        try:
            job.fetch(work)
            job.fetch_wal(work)
            job.replay(work)
            job.prove(work)
        finally:
            if hasattr(job, "cluster"):
                job.cluster.stop()
                remove_folder(job.cluster.folder)
            job.base.release(work)

    def clean_up(self, work: Work) -> None:
        recovering.clean_up(work)

    def result_url(self, run: Run) -> str:
        return reverse("recovery", args=[self.server.name])


def chance(windows: Sequence[Window]) -> datetime:
    """A moment in one of the windows, each second as likely as any other."""
    lengths = [(window.end - window.start).total_seconds() for window in windows]
    dice = random.SystemRandom()
    window = dice.choices(windows, [max(length, 0.001) for length in lengths])[0]
    return window.start + timedelta(seconds=dice.uniform(0, (window.end - window.start).total_seconds()))
