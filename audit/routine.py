"""What must be done again and again for an audit log, and which of it no schedule does."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from dbadmin.models import Schedule, Server
from dbadmin.readings import main_database


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


def lacks(server: Server, database: str) -> list[Lack]:
    """Those that nothing runs."""
    main = main_database(server)
    run = {
        schedule.operation
        for schedule in Schedule.objects.filter(server=server, enabled=True)
        if (schedule.params.get("database") or main) == database
    }
    named = {"database": database} if database != main else {}
    return [Lack(one, address(one, server, named)) for one in ROUTINES if one.operation not in run]


def address(routine: Routine, server: Server, named: dict[str, str]) -> str:
    """The form of a schedule, filled in; named: the database where it is not the server's own."""
    query = {"server": server.name, "operation": routine.operation, "cron": routine.cron, **named}
    return f"{reverse('schedule_add')}?{urlencode(query)}"
