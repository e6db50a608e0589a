"""Read a repository of another tool now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups.foreign.contents import Unreadable
from backups.foreign.models import ForeignRepository
from backups.foreign.reading import RepositoryField, look, repository_of
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class ReadForeignRepositoryForm(forms.Form):
    """Which."""

    repository = RepositoryField()

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["repository"].offer(server)  # type: ignore[attr-defined]


class ReadForeignRepository(Operation):
    """Read what a repository of another tool holds; it is read each hour anyway, and never changed."""

    title = "Read a repository of another tool"
    risk = Risk.HARMLESS
    Form = ReadForeignRepositoryForm

    def target(self) -> str:
        return f"repository {self.params['repository']}"

    def plan(self) -> Sequence[Step]:
        repository = repository_of(self.server, self.params)
        return [Call(lambda work: self.read(work, repository), f"Read {repository} from {repository.where}.")]

    def read(self, work: Work, repository: ForeignRepository) -> None:
        """A run that read nothing did not succeed; what was known is kept with its age."""
        look(repository, work)
        if repository.trouble:
            raise Unreadable(repository.trouble)

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name]) + "#foreign"
