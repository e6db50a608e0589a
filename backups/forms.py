"""Fields and choices that the operations and pages of backups share."""

from __future__ import annotations

from typing import Any

import psycopg
from django import forms

from backups.models import Backup, Policy, Store
from dbadmin.addresses import whole
from dbadmin.identifiers import LONGEST, fitting
from dbadmin.models import Server

TAKEN = "select datname from pg_catalog.pg_database"
DATABASES = "select datname from pg_catalog.pg_database where datallowconn and not datistemplate order by 1"


def databases(server: Server) -> list[str]:
    """The databases of a server; none while it does not answer, then the name is typed."""
    try:
        return [row.datname for row in server.rows(DATABASES)]
    except psycopg.Error:
        return []


def free_name(server: Server, name: str) -> str:
    """The name, or when a database has it, with _restored (and a number) behind it; as it is while nobody answers."""
    try:
        taken = {row.datname for row in server.rows(TAKEN)}
    except psycopg.Error:
        return name
    for number in range(1000):
        ending = ("_restored" if number == 1 else f"_restored_{number}") if number else ""
        tried = fitting(name, ending)
        if tried not in taken:
            return tried
    return name


def short_enough(name: str) -> None:
    """PostgreSQL would cut a longer name without a word."""
    if (used := len(name.encode())) > LONGEST:
        raise forms.ValidationError(f"A name has at most {LONGEST} bytes; this one has {used}.")


class DatabaseField(forms.CharField):
    """A database by name, with those that are there offered."""

    def offer(self, names: list[str]) -> None:
        if names:
            self.widget = forms.Select(choices=[(name, name) for name in names])
            self.widget.is_required = self.required


class StoreField(forms.ChoiceField):
    """A store by name; without one the policy of the database decides."""

    def offer(self) -> None:
        names = list(Store.objects.filter(enabled=True).values_list("name", flat=True))
        self.choices = [("", "As the policy says"), *((name, name) for name in names)]
        if names and self.initial is None and not Policy.objects.exclude(store=None).exists():
            self.initial = names[0]


class BackupField(forms.TypedChoiceField):
    """One backup of the catalogue."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(coerce=int, empty_value=None, **kwargs)

    def offer(self, server: Server | None, named: object = None) -> None:
        """The server's own, and the one that was named, which may be another server's: whoever names it knows it."""
        found = Backup.objects.present().select_related("store")
        own = [
            (str(backup.pk), f"{backup} in {backup.store}") for backup in found.filter(server=server)[:500]
        ]
        pk = str(named or "")
        if whole(pk) and pk not in dict(own):
            own += [(pk, f"{backup} in {backup.store}") for backup in found.filter(pk=pk)]
        self.choices = own


def names(text: str) -> list[str]:
    """Names separated by commas or lines."""
    return [name.strip() for line in text.splitlines() for name in line.split(",") if name.strip()]
