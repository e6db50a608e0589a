"""Take a logical backup of a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import policies, preflight, taking
from backups.forms import DatabaseField, StoreField, databases, names
from backups.logical import Selection
from backups.pipeline import LEVEL
from backups.policies import Orders
from backups.taking import Taking
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class TakeBackupForm(forms.Form):
    """What to back up, and where to."""

    database = DatabaseField()
    store = StoreField(required=False)
    schemas = forms.CharField(
        required=False, help_text="Only these schemas, separated by commas. Empty: everything."
    )
    tables = forms.CharField(
        required=False, help_text="Only these tables, as schema.table. Empty: everything."
    )
    compression = forms.IntegerField(
        min_value=1, max_value=19, required=False,
        help_text="Level of zstd: 1 costs least, 3 makes it a sixth smaller, 19 is smallest and slow. Empty: as "
        "the policy says, else 1.",
    )  # fmt: skip

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["store"].offer()  # type: ignore[attr-defined]
        if server is not None:
            self.fields["database"].offer(databases(server))  # type: ignore[attr-defined]


class TakeBackup(Operation):
    """Write a database as one consistent snapshot, compressed and encrypted, to a store, and read it back."""

    title = "Take a backup"
    risk = Risk.LOADS
    queue = "backups"
    Form = TakeBackupForm

    def target(self) -> str:
        return str(self.params["database"])

    def plan(self) -> Sequence[Step]:
        database, selection = self.target(), self.selection()
        store = policies.store_for(self.server, database, str(self.params.get("store") or ""))
        tools = preflight.tools_for(self.server)
        preflight.database_of(self.server, database)
        tables = [f"{schema}.{table}" for schema, table in selection.tables]
        preflight.check_selection(self.server, database, selection)
        preflight.check_rights(self.server, database, selection.schemas, tables)
        preflight.check_store(store, self.server, database)
        orders = policies.orders(self.server, database)
        level = int(self.params.get("compression") or orders.level or LEVEL)
        job = Taking(self.server, database, store, tools, selection, level, orders.recipients)
        return self.steps(job, orders)

    def selection(self) -> Selection:
        tables = [_split(name) for name in names(str(self.params.get("tables") or ""))]
        return Selection(names(str(self.params.get("schemas") or "")), tables)

    def steps(self, job: Taking, orders: Orders) -> list[Step]:
        what = "" if job.selection.everything else f" ({job.selection})"
        return [
            Call(
                job.write_globals, f"Write roles and settings of {self.server} with pg_dumpall {job.tools}."
            ),
            Call(
                job.dump,
                f"Dump database {job.database}{what} with pg_dump {job.tools} in one snapshot, compress with"
                f" zstd level {job.level}, {orders.sealing}, send to {job.store} ({job.store.where}).",
            ),
            Call(
                job.publish,
                "Write the manifest: sizes, hashes, rows and digest of every table.",
                reverse="The operation “Delete a backup”.",
            ),
            Call(job.read_back, "Read every stored byte back and compare it with the manifest."),
            *_copies(job, orders),
        ]

    def clean_up(self, work: Work) -> None:
        taking.clean_up(work)

    def result_url(self, run: Run) -> str:
        backup = run.result.get("backup")
        return reverse("backup", args=[self.server.name, backup]) if backup else ""


def _copies(job: Taking, orders: Orders) -> list[Step]:
    """None where the policy wants none."""
    targets = [store for store in orders.copies if store.pk != job.store.pk]
    if not targets:
        return []
    names = " and ".join(f"{store} ({store.where})" for store in targets)
    says = f"Copy it to {names}, as the policy {orders.policy} says, and compare every byte there."
    return [Call(lambda work: job.copy(work, targets), says)]


def _split(name: str) -> tuple[str, str]:
    schema, _, table = name.partition(".")
    return (schema, table) if table else ("public", schema)
