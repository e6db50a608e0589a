"""Show a repository of pgBackRest, Barman or WAL-G beside our own backups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django import forms
from django.urls import reverse

from backups.foreign.models import ForeignRepository
from backups.foreign.reading import look
from backups.foreign.sources import NAME
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work

Tool, Source = ForeignRepository.Tool, ForeignRepository.Source


class AddForeignRepositoryForm(forms.Form):
    """Whose it is, and how its JSON comes to the worker."""

    tool = forms.ChoiceField(choices=Tool.choices)
    name = forms.CharField(
        help_text="The stanza of pgBackRest (shop/2: in its second repository), the server of Barman; for WAL-G and"
        " for Barman in a bucket any name.",
    )  # fmt: skip
    source = forms.ChoiceField(
        choices=Source.choices,
        help_text="The tool is run by the worker's user with the worker's settings of the tool, and only lists.",
    )
    location = forms.CharField(
        required=False,
        label="File or address",
        help_text="A file below DBADMIN_REPOSITORIES, or https://…, that holds what the tool prints; several JSON"
        " documents may follow one another. Empty for the tool itself.",
    )  # fmt: skip

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not NAME.match(name):
            raise forms.ValidationError(
                "Use letters, digits, dots, - and _; begin with a letter, a digit or _."
            )
        if "/" in name and self.cleaned_data.get("tool") != Tool.PGBACKREST:
            raise forms.ValidationError(
                "Only pgBackRest has several repositories: leave out what follows the /."
            )
        return name

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if problem := wrong_location(str(found.get("source", "")), str(found.get("location", ""))):
            self.add_error("location", problem)
        return found


def wrong_location(source: str, location: str) -> str:
    """Why it cannot be; looks at the text alone."""
    if source == Source.PROGRAM:
        return "The tool on the worker needs none: leave it empty." if location else ""
    if not location:
        return "Where does the tool's output lie?"
    if source == Source.FILE:
        outside = location.startswith("/") or ".." in location.split("/") or "\0" in location
        return "Name it as seen from DBADMIN_REPOSITORIES: shop/info.json" if outside else ""
    try:
        parts = urlsplit(location)
        has_host = bool(parts.scheme == "https" and parts.hostname and (parts.port is None or parts.port))
    except ValueError:
        has_host = False
    if not has_host or not location.isascii() or any(each <= " " for each in location):
        return "This is no https address: https://backup.example.org/shop/info.json"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "An address with a password or with what follows a ? would be shown to all. Let a file hold the output."
    return ""


class AddForeignRepository(Operation):
    """Show a repository of pgBackRest, Barman or WAL-G beside our backups: read each hour, never changed."""

    title = "Show a repository of another tool"
    risk = Risk.BLOCKS
    only_ours = True
    Form = AddForeignRepositoryForm

    def waits(self) -> str:
        return (
            "Nobody waits. But from now on a worker asks this source each hour, with the rights of its user."
        )

    def target(self) -> str:
        return f"{Tool(self.params['tool']).label} {self.params['name']}"

    def plan(self) -> Sequence[Step]:
        if ForeignRepository.objects.filter(**self._key()).exists():
            raise Refused(f"{self.target()} is shown already.", field="name")
        from_where = (
            self.params.get("location") or f"what the worker's {Tool(self.params['tool']).label} prints"
        )
        return [
            Call(
                self.add,
                f"Show {self.target()} beside the backups of {self.server}, read each hour from {from_where}.",
                reverse="The operation “Show a repository no longer”.",
            ),
            Call(self.read, "Read it a first time."),
        ]

    def _key(self) -> dict[str, Any]:
        return {"server": self.server, "tool": self.params["tool"], "name": self.params["name"]}

    def add(self, work: Work) -> None:
        """The row by which the scheduler finds it."""
        told = {"source": self.params["source"], "location": self.params.get("location", "")}
        ForeignRepository.objects.get_or_create(**self._key(), defaults={**told, "made_by": work.run.user})

    def read(self, work: Work) -> None:
        """What it says now; trouble is kept with it and told."""
        repository = ForeignRepository.objects.get(**self._key())
        look(repository, work)
        if repository.trouble:
            work.say(f"{repository} is shown, but could not be read yet: {repository.trouble}")

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name]) + "#foreign"
