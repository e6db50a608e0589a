"""Restore a backup, over the original or under a new name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import in_place, preflight, restoring, subscriptions, swap
from backups.before_restore import SERVERS, Wanted
from backups.forms import BackupField, free_name, short_enough
from backups.models import Backup
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work

OVER, NEW = "over", "new"


class RestoreBackupForm(forms.Form):
    """Which backup, and where it goes."""

    backup = BackupField()
    into = forms.ChoiceField(
        choices=[
            (NEW, "A new database beside the others"),
            (OVER, "In place of the database, which is kept aside"),
        ],
        initial=NEW,
    )
    database = forms.CharField(
        required=False,
        validators=[short_enough],
        help_text="The new name, or the database to be replaced. Empty: as backed up; a new one gets _restored behind"
        " its name when that is taken.",
    )
    keep_hours = forms.IntegerField(
        initial=72, min_value=1, max_value=24 * 90, required=False,
        help_text="For how many hours the replaced database is kept, so that the restore can be undone.",
    )  # fmt: skip
    jobs = forms.IntegerField(
        initial=2,
        min_value=2,
        max_value=32,
        required=False,
        help_text="How many tables are loaded at a time.",
    )
    sorting = forms.ChoiceField(
        choices=[("", "As it was backed up"), (SERVERS, "As other databases of this server do")],
        required=False,
        label="How text sorts",
    )
    tablespaces = forms.ChoiceField(
        choices=[("", "As it was backed up"), (SERVERS, "All where the database lies")],
        required=False,
        label="Where tables lie",
        help_text="For backups with tablespaces.",
    )

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server = server
        named = self.data.get("backup") or self.initial.get("backup")
        self.fields["backup"].offer(server, named)  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if found.get("into") == NEW and found.get("backup") and not found.get("database") and self.server:
            name = Backup.objects.filter(pk=found["backup"]).values_list("database", flat=True).first()
            found["database"] = free_name(self.server, name or "")
        return found

    def clean_keep_hours(self) -> int:
        return self.cleaned_data.get("keep_hours") or 72

    def clean_jobs(self) -> int:
        return self.cleaned_data.get("jobs") or Wanted.jobs


class RestoreBackup(Operation):
    """Restore a backup beside everything else, compare it row for row, and only then put it in place."""

    title = "Restore a backup"
    risk = Risk.DESTROYS
    queue = "backups"
    Form = RestoreBackupForm

    def risk_now(self) -> Risk:
        return Risk.DESTROYS if self.destroys(self.params) else Risk.LOADS

    @classmethod
    def destroys(cls, params: Mapping[str, Any]) -> bool:
        return bool(params.get("into", NEW) != NEW)

    def also_required(self) -> list[tuple[str, Server | None]]:
        return restoring.rights_on(self.server, self.params["backup"])

    def target(self) -> str:
        name = str(self.params.get("database") or "")
        return name or Backup.objects.filter(pk=self.params["backup"]).values_list("database", flat=True)[0]

    def waits(self) -> str:
        if not self.destroys(self.params):
            return ""
        return f"Everyone in {self.target()} is disconnected once, and can connect again within a second."

    def plan(self) -> Sequence[Step]:
        backup, name = restoring.chosen_backup(self.params["backup"]), self.target()
        over = name if self.params.get("into") != NEW else ""
        there = self.server.row(
            "select datistemplate, datallowconn from pg_catalog.pg_database where datname = %s", [name]
        )
        if there and not over:
            raise Refused(
                f"{self.server} has a database {name} already. Choose another name.", field="database"
            )
        if over and not there:
            raise Refused(
                f"{self.server} has no database {name} to replace. Restore to a new name.", field="into"
            )
        if over and there.datistemplate:
            raise Refused(
                f"{name} is a template that new databases are made from. Restore to a new name.", field="into"
            )
        if over and not backup_is_whole(backup):
            raise Refused(
                f"The backup holds only a part of {name}; in its place the rest would be gone. "
                "Restore to a new name.",
                field="into",
            )
        job = restoring.plan_restore(self.server, backup, self._wanted(name, over), operation=self)
        last = self._swap(job, name, there.datallowconn) if over else self._named(job, name)
        return [*job.steps(), last]

    def _wanted(self, name: str, over: str) -> Wanted:
        params = self.params
        return Wanted(
            name, over, jobs=int(params.get("jobs") or Wanted.jobs), sorting=str(params.get("sorting") or ""),
            tablespaces=str(params.get("tablespaces") or ""), params=params,
        )  # fmt: skip

    def _named(self, job: restoring.Restoring, name: str) -> Step:
        return Call(
            lambda work: in_place.give_name(job, work, name, self._keep_hours),
            f"{self._slots(job)}Name the proven database {name}. Only then its limit of connections holds.",
            f"DROP DATABASE {preflight.quoted(name)};",
        )

    def _slots(self, job: restoring.Restoring) -> str:
        return subscriptions.texts(job.manifest.contents.names_of(subscriptions.KIND))

    @property
    def _keep_hours(self) -> float:
        return float(self.params.get("keep_hours") or 72)

    def _swap(self, job: restoring.Restoring, name: str, was_open: bool) -> Step:
        hours = self._keep_hours
        aside, incoming = swap.beside(name, "before_…"), swap.beside(name, "restore_…")
        kept = f"{aside} is kept for {hours:.0f} hours"
        texts = swap.texts(name, aside, incoming, was_open)
        says = f"{self._slots(job)}-- Give it the limit of connections, and swap; {kept}\n{texts}"
        return Call(
            lambda work: in_place.put(job, work, hours), says, reverse="The operation “Undo a restore”."
        )

    def clean_up(self, work: Work) -> None:
        in_place.clean_up(work)

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        kept = run.result.get("kept")
        return ("undo_restore", {"kept": kept}) if kept else ("", {})

    def takes_back(self, steps: Sequence[Step]) -> bool:
        return self.destroys(self.params)

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name])


def backup_is_whole(backup: Backup) -> bool:
    return not backup.selection.get("schemas") and not backup.selection.get("tables")
