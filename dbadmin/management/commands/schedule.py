"""Schedules: manage.py schedule add refresh_view shop view=totals --cron @hourly --user admin"""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management.base import BaseCommand, CommandError

from dbadmin import schedules
from dbadmin.command_line import find_operation, find_server, find_user
from dbadmin.models import Schedule
from dbadmin.operations import Refused
from dbadmin.permissions import require


class Command(BaseCommand):
    """manage.py schedule"""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        what.add_parser("list", help="all schedules and when each is next due")
        add = what.add_parser("add", help="a new one")
        add.add_argument("name", help="of the operation")
        add.add_argument("server")
        add.add_argument("parameters", nargs="*", metavar="key=value")
        add.add_argument("--cron", required=True, help="five fields, or @daily and the like")
        add.add_argument("--zone", default="UTC", help="time zone, such as Europe/Berlin")
        add.add_argument("--user", required=True, help="whose rights its runs have")
        add.add_argument("--title", default="")
        for word in ("remove", "enable", "disable"):
            what.add_parser(word).add_argument("id", type=int)
        following = what.add_parser("next", help="the next due moments")
        following.add_argument("id", type=int)
        following.add_argument("--count", type=int, default=5)

    def handle(self, *args: Any, **options: Any) -> None:
        """Hand over to the word's own method."""
        try:
            getattr(self, options["what"])(options)
        except (Refused, PermissionDenied) as refusal:
            raise CommandError(str(refusal)) from refusal
        except ValidationError as invalid:
            raise CommandError(" ".join(invalid.messages)) from invalid

    def list(self, options: dict[str, Any]) -> None:
        """One line each."""
        for schedule in Schedule.objects.select_related("server"):
            due = f"next {schedule.due_at:%Y-%m-%d %H:%M} UTC" if schedule.due_at else "off"
            words = " ".join(f"{key}={value}" for key, value in schedule.params.items())
            self.stdout.write(
                f"{schedule.pk:>4}  {schedule.server}  {schedule.operation}  {words}"
                f"  {schedule.cron!r} {schedule.time_zone}  {due}"
            )

    def add(self, options: dict[str, Any]) -> None:
        """Check everything now, not in the night when it is due."""
        server, user = find_server(options["server"]), find_user(options["user"])
        operation = find_operation(options["name"], server, options["parameters"])
        require(user, operation.required(), server)
        schedule = Schedule(
            name=options["title"],
            server=server,
            operation=operation.name,
            params=dict(operation.params),
            cron=options["cron"],
            time_zone=options["zone"],
            created_by=user,
        )
        schedule.full_clean(exclude=["created_by"])
        schedule.save()
        self.stdout.write(f"Schedule {schedule.pk}: {schedules.explain(schedule.cron)}.")
        self.next({"id": schedule.pk, "count": 3})

    def remove(self, options: dict[str, Any]) -> None:
        """Its runs stay in the record."""
        self.found(options).delete()

    def enable(self, options: dict[str, Any]) -> None:
        """Due again from now on."""
        self.switch(options, enabled=True)

    def disable(self, options: dict[str, Any]) -> None:
        """Never due until it is enabled."""
        self.switch(options, enabled=False)

    def switch(self, options: dict[str, Any], enabled: bool) -> None:
        """On or off."""
        schedule = self.found(options)
        schedule.enabled = enabled
        schedule.save()

    def next(self, options: dict[str, Any]) -> None:
        """The next due moments in the schedule's own zone."""
        schedule = self.found(options)
        for moment in schedules.next_runs(schedule.cron, schedule.time_zone, options["count"]):
            self.stdout.write(f"{moment:%a %Y-%m-%d %H:%M %Z}")

    def found(self, options: dict[str, Any]) -> Schedule:
        """The schedule of this id."""
        schedule = Schedule.objects.filter(pk=options["id"]).first()
        if schedule is None:
            raise Refused(f"There is no schedule {options['id']}.")
        return schedule
