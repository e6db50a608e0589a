"""Bring a database of a recovered cluster back: as a backup, which every restore can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import logical, policies, preflight, taking
from backups.forms import DatabaseField, StoreField
from backups.logical import NoTools
from backups.of_recovered import RecoveredField, chosen, must_be_here, offered_databases
from backups.physical.models import RecoveredCluster
from backups.pipeline import LEVEL
from backups.taking import Taking
from dbadmin.identifiers import fitting
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class DumpRecoveredClusterForm(forms.Form):
    """Which recovered cluster, which of its databases, and where the backup goes."""

    cluster = RecoveredField()
    database = DatabaseField()
    store = StoreField(required=False)

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["cluster"].offer(server)  # type: ignore[attr-defined]
        self.fields["store"].offer()  # type: ignore[attr-defined]
        self.fields["database"].offer(offered_databases(server))  # type: ignore[attr-defined]


class DumpRecoveredCluster(Operation):
    """Write a database of a recovered cluster as a backup, to be restored beside or in place of the live one."""

    title = "Back up a recovered database"
    risk = Risk.LOADS
    queue = "backups"
    Form = DumpRecoveredClusterForm

    def target(self) -> str:
        return f"{self.params['database']} of recovered cluster {self.params['cluster']}"

    def plan(self) -> Sequence[Step]:
        database = str(self.params["database"])
        row = chosen(self.server, self.params["cluster"], database)
        store = policies.store_for(self.server, database, str(self.params.get("store") or ""))
        preflight.check_store(store, self.server, database)
        orders = policies.orders(self.server, database)
        job = TakingRecovered(
            self.server, database, store, self.tools(row), level=orders.level or LEVEL,
            recipients=orders.recipients, dsn=row.dsn, name=name_of(database, row), cluster=row,
        )  # fmt: skip
        return [
            Call(job.write_globals, f"Write the roles of {row} with pg_dumpall {job.tools}, on the host {row.host}."),
            Call(
                job.dump,
                f"Dump its database {database} with pg_dump {job.tools}, {orders.sealing}, send to {store} "
                f"({store.where}).",
            ),
            Call(
                job.publish, f"Write the manifest of the backup of {job.name}.",
                reverse="The operation “Delete a backup”.",
            ),
            Call(job.read_back, "Read every stored byte back and compare it with the manifest."),
        ]  # fmt: skip

    def tools(self, row: RecoveredCluster) -> logical.Tools:
        """Client programs of its version."""
        version = row.base.server_version if row.base else "0"
        try:
            return logical.choose(int(version.partition(".")[0]))
        except NoTools as reason:
            raise Refused(str(reason)) from reason

    def clean_up(self, work: Work) -> None:
        taking.clean_up(work)

    def result_url(self, run: Run) -> str:
        backup = run.result.get("backup")
        return reverse("backup", args=[self.server.name, backup]) if backup else ""


@dataclass
class TakingRecovered(Taking):
    """Of a cluster that only its own host can reach."""

    cluster: RecoveredCluster | None = None

    def write_globals(self, work: Work) -> None:
        if self.cluster is not None:
            must_be_here(self.cluster)
        super().write_globals(work)


def name_of(database: str, row: RecoveredCluster) -> str:
    """How the backup is called: it is not the live database's, and no retention takes it for that."""
    moment = row.target_at or row.reached_at or row.made_at
    return fitting(database, f"@{moment:%Y-%m-%dT%H:%M:%SZ}")
