"""Preview and run an operation: manage.py operate refresh_view shop schema=public view=totals --wait"""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError

from dbadmin import runs
from dbadmin.command_line import find_operation, find_server, find_user, require_consent
from dbadmin.models import Run
from dbadmin.operations import Operation, Refused, plan_texts
from dbadmin.plans import steps_of


class Command(BaseCommand):
    """manage.py operate"""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="of the operation")
        parser.add_argument("server")
        parser.add_argument("parameters", nargs="*", metavar="key=value")
        parser.add_argument("--dry-run", action="store_true", help="only show the plan")
        parser.add_argument(
            "--yes-i-typed", default="", metavar="TARGET", help="consent to what blocks or destroys"
        )
        parser.add_argument(
            "--wait", action="store_true", help="follow the log to the end; exit 1 unless it succeeds"
        )
        parser.add_argument("--json", action="store_true", dest="as_json")
        parser.add_argument("--user", default="", help="act as this person, with no more rights")
        parser.add_argument(
            "--reason", default="", help="needed where the server asks for a second person, who reads it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Plan, show, ask, start, follow."""
        self.as_json = options["as_json"]
        try:
            user, server = find_user(options["user"]), find_server(options["server"])
            operation = find_operation(options["name"], server, options["parameters"])
            if options["dry_run"]:
                self.show(operation)
                return
            require_consent(operation, options["yes_i_typed"])
            run = runs.start(operation, user, Run.Door.COMMAND, options["reason"])
        except (Refused, PermissionDenied) as refusal:
            raise CommandError(str(refusal)) from refusal
        if not self.as_json:
            self.say(f"Run {run.pk}: {run}", *run.plan, runs.waits_for(run))
        if options["wait"]:
            self.follow(run)
        if self.as_json:
            self.stdout.write(json.dumps(described(run), indent=2))
        if options["wait"] and run.status != Run.Status.SUCCEEDED:
            raise CommandError(f"{run.status}: {run.message}")

    def say(self, *lines: str) -> None:
        """Lines that are not empty."""
        for line in filter(None, lines):
            self.stdout.write(line)

    def show(self, operation: Operation) -> None:
        """The plan, as the page would preview it."""
        plan = plan_texts(steps_of(operation))
        risk = operation.risk_now().value
        if self.as_json:
            shown = {"target": operation.target(), "risk": risk, "waits": operation.waits(), "plan": plan}
            self.stdout.write(json.dumps(shown, indent=2))
        else:
            self.say(f"-- {operation.title}: {operation.target()} ({risk})", operation.waits(), *plan)

    def follow(self, run: Run) -> None:
        """Print the log as it grows; Ctrl-C leaves the run to its worker."""
        last = 0
        try:
            while True:
                run.refresh_from_db()
                for line in run.lines.filter(pk__gt=last):
                    last = line.pk
                    if not self.as_json:
                        self.say(line.text)
                if not run.is_open:
                    break
                time.sleep(0.3)
        except KeyboardInterrupt as stop:
            raise CommandError(f"Run {run.pk} goes on without you; its page follows it.") from stop
        if not self.as_json and run.status == Run.Status.SUCCEEDED:
            self.say(run.message)


def described(run: Run) -> dict[str, Any]:
    """A run for programs."""
    names = ("id", "status", "operation", "target", "params", "plan", "message", "result")
    return {name: getattr(run, name) for name in names} | {"server": run.server_name}
