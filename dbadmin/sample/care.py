"""What the people who look after the sample set up: watched tables, received WAL, and nightly work."""

from __future__ import annotations

from typing import Any

from dbadmin import runs
from dbadmin.command_line import find_operation, find_server, find_user
from dbadmin.models import Run, Schedule, Server
from dbadmin.operations import Refused
from dbadmin.sample.lines import Say

#: What an auditor would ask about; clicks, pings and watched seconds would only fill the log.
WATCHED = "categories, courses, enrollments, lessons, quiz_attempts, quizzes, reviews, users"
SCHEDULES = (
    ("ensure_partitions", "17 2 * * *"),
    ("seal_log", "*/5 * * * *"),
    ("index_log", "3-59/10 * * * *"),
    ("verify_seals", "40 3 * * *"),
    ("prune_point_in_time", "10 4 * * *"),
    ("drill_recovery", "25 4 * * *"),
)
POINT_IN_TIME = ["store=local", "keep_days=2", "database=academy"]


def take_care(server_name: str, user_name: str, say: Say = print) -> None:
    """Set up what is not there yet; the workers do it as soon as they run."""
    server, user = find_server(server_name), find_user(user_name)
    for name, cron in SCHEDULES:
        if not Schedule.objects.filter(server=server, operation=name).exists():
            operation = find_operation(name, server, [])
            Schedule.objects.create(
                server=server, operation=name, params=dict(operation.params), cron=cron, created_by=user
            )
    start(server, user, "watch_schema", ["schema=public", f"only={WATCHED}"], say)
    # Once: whoever has switched it off meanwhile had a reason.
    if not Run.objects.filter(server=server, operation="switch_on_point_in_time").exists():
        start(server, user, "switch_on_point_in_time", POINT_IN_TIME, say)


def start(server: Server, user: Any, name: str, words: list[str], say: Say) -> None:
    """Queue one operation; a refusal is said, since what it asks for may be there already."""
    try:
        run = runs.start(find_operation(name, server, words), user, Run.Door.COMMAND)
    except Refused as refusal:
        say(str(refusal))
    else:
        say(f"Run {run.pk}: {run}.")
