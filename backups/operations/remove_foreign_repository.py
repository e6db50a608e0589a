"""Show a repository of another tool no longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.urls import reverse

from backups.foreign.models import ForeignRepository
from backups.foreign.reading import repository_of
from backups.operations.read_foreign_repository import ReadForeignRepositoryForm
from dbadmin.models import Run
from dbadmin.operations import Operation, Risk
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class RemoveForeignRepository(Operation):
    """Show a repository of another tool no longer: its backups stay as they are, its alerts end."""

    title = "Show a repository no longer"
    risk = Risk.BLOCKS
    only_ours = True
    Form = ReadForeignRepositoryForm

    def waits(self) -> str:
        return "Nobody waits. But nobody is told any more when its backups grow old."

    def target(self) -> str:
        return f"repository {self.params['repository']}"

    def plan(self) -> Sequence[Step]:
        repository = repository_of(self.server, self.params)
        return [
            Call(
                lambda work: self.remove(work, repository),
                f"Forget {repository}, read from {repository.where}. Nothing in it is changed.",
                reverse="The operation “Show a repository of another tool”.",
            )
        ]

    def remove(self, work: Work, repository: ForeignRepository) -> None:
        ForeignRepository.objects.filter(pk=repository.pk).delete()
        work.say(f"{repository} is shown no longer; nothing in it was changed.")

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name])
