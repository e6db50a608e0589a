"""What must be done again and again for an audit log, and which of it no schedule does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.urls import reverse

from dbadmin import schedules
from dbadmin.models import Schedule, Server
from dbadmin.operations import REGISTRY, Operation
from dbadmin.readings import main_database

if TYPE_CHECKING:
    from django import forms


@dataclass(frozen=True)
class Routine:
    """An operation that is due again and again; lack: what happens where nothing runs it."""

    operation: str
    cron: str
    lack: str


ROUTINES = (
    Routine(
        "seal_log",
        "*/5 * * * *",
        "Nothing is sealed, no counters are compared, and definitions of tables are looked at by nobody",
    ),
    Routine(
        "ensure_partitions",
        "@daily",
        "The partitions of the next months are not made: new rows go to the catch-all in the end",
    ),
    Routine(
        "index_log",
        "*/10 * * * *",
        "Searches by table, person and operation, those inside of rows, and what a person did read the log itself"
        " instead of what is prepared",
    ),
)


@dataclass(frozen=True)
class Lack:
    """A routine that no schedule of the database runs, and where one is made."""

    routine: Routine
    url: str
    given: dict[str, str]

    @property
    def when(self) -> str:
        """How often it is due, in words."""
        return schedules.explain(self.routine.cron)

    @property
    def operation(self) -> type[Operation]:
        """What is run."""
        return REGISTRY[self.routine.operation]

    def form(self, server: Server) -> forms.Form:
        """The operation's own form with what it proposes."""
        proposed: dict[str, Any] = {
            name: field.initial
            for name, field in self.operation.form(server).fields.items()
            if field.initial is not None
        }
        return self.operation.form(server, {**proposed, **self.given})


def lacks(server: Server, database: str) -> list[Lack]:
    """Those that nothing runs."""
    main = main_database(server)
    run = {
        schedule.operation
        for schedule in Schedule.objects.filter(server=server, enabled=True)
        if (schedule.params.get("database") or main) == database
    }
    named = {"database": database} if database != main else {}
    return [Lack(one, address(one, server, named), named) for one in ROUTINES if one.operation not in run]


def put_on_schedules(server: Server, some: list[Lack], user_id: int | None) -> list[Schedule]:
    """A schedule for each of them, as its form proposes it."""
    made = []
    for lack in some:
        form = lack.form(server)
        if not form.is_valid():
            raise ValueError(f"{lack.routine.operation}: {form.errors.as_text()}")
        made.append(
            Schedule.objects.create(
                server=server, operation=lack.routine.operation, cron=lack.routine.cron,
                params=form.cleaned_data, created_by_id=user_id,
            )
        )  # fmt: skip
    return made


def address(routine: Routine, server: Server, named: dict[str, str]) -> str:
    """The form of a schedule, filled in; named: the database where it is not the server's own."""
    query = {"server": server.name, "operation": routine.operation, "cron": routine.cron, **named}
    return f"{reverse('schedule_add')}?{urlencode(query)}"
