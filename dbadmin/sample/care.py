"""What the people who look after the sample have set up in dbadmin: tables that are watched, and nightly work."""

from __future__ import annotations

from dbadmin import runs
from dbadmin.command_line import find_operation, find_server, find_user
from dbadmin.models import Run, Schedule
from dbadmin.operations import Refused
from dbadmin.sample.lines import Say

#: What an auditor would ask about; clicks, pings and watched seconds would only fill the log.
WATCHED = "categories, courses, enrollments, lessons, quiz_attempts, quizzes, reviews, users"
SCHEDULES = (
    ("ensure_partitions", "17 2 * * *"),
    ("seal_log", "*/5 * * * *"),
    ("index_log", "3-59/10 * * * *"),
    ("verify_seals", "40 3 * * *"),
)


def take_care(server_name: str, user_name: str, say: Say = print) -> None:
    """Set up what is not there yet; the workers do it as soon as they run."""
    server, user = find_server(server_name), find_user(user_name)
    for name, cron in SCHEDULES:
        if not Schedule.objects.filter(server=server, operation=name).exists():
            operation = find_operation(name, server, [])
            Schedule.objects.create(
                server=server, operation=name, params=dict(operation.params), cron=cron, created_by=user
            )
    try:
        words = ["schema=public", f"only={WATCHED}"]
        run = runs.start(find_operation("watch_schema", server, words), user, Run.Door.COMMAND)
    except Refused as refusal:
        say(str(refusal))
    else:
        say(f"Run {run.pk} watches {WATCHED}.")
