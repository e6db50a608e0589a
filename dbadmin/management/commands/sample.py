"""manage.py sample: fill the learning platform, let people use it, look after it, say what is there."""

import logging
import os
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from dbadmin.operations import Refused
from dbadmin.sample.care import take_care
from dbadmin.sample.load import LoadError, load, status
from dbadmin.sample.workload import work


class Command(BaseCommand):
    """Actions on a database that is not our own: it plays a server to be looked after."""

    help = (
        "The sample learning platform: load it, let people work with it, look after it, show what is loaded."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        environment = os.environ.get
        parser.add_argument("action", choices=["load", "work", "care", "status"])
        parser.add_argument(
            "--dsn", default=environment("SAMPLE_DSN", ""), help="the database; else SAMPLE_DSN"
        )
        parser.add_argument(
            "--scale",
            type=float,
            default=environment("DEMO_SCALE") or None,
            help="size of a load; else DEMO_SCALE, else 1",
        )
        parser.add_argument(
            "--pooler-dsn",
            default=environment("SAMPLE_POOLER_DSN", ""),
            help="a PgBouncer that takes part of the work",
        )
        parser.add_argument("--server", default="academy", help="care: its name in dbadmin")
        parser.add_argument("--user", default="admin", help="care: in whose name its work is done")
        parser.add_argument(
            "--rate", type=float, default=1.0, help="how much is asked; 1 is about 30 requests a second"
        )
        parser.add_argument(
            "--no-troubles", action="store_true", help="no long transactions and no blocked sessions"
        )

    def handle(self, *args: object, **options: object) -> None:
        if options["action"] == "care":
            self.care(options)
            return
        if not options["dsn"]:
            raise CommandError("Say which database: --dsn or the environment variable SAMPLE_DSN.")
        # What Ctrl-C leaves open the server rolls back; the driver's words about it help nobody.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        actions = {"load": self.load, "work": self.work, "status": self.status}
        try:
            actions[str(options["action"])](options)
        except LoadError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stderr.write("Stopped. The next load goes on where this one stopped.")
            raise SystemExit(130) from None

    def load(self, options: dict[str, object]) -> None:
        scale = options["scale"]
        done = load(str(options["dsn"]), scale if isinstance(scale, float) else None, self.say)
        self.say(f"The sample is loaded ({done} stages)." if done else "The sample was loaded already.")

    def work(self, options: dict[str, object]) -> None:
        rate = float(str(options["rate"]))
        if not 0 < rate <= 100:
            raise CommandError(f"The rate must lie above 0 and not above 100; it is {rate:g}.")
        work(str(options["dsn"]), str(options["pooler_dsn"]), rate, not options["no_troubles"], self.say)

    def care(self, options: dict[str, object]) -> None:
        try:
            take_care(str(options["server"]), str(options["user"]), self.say)
        except Refused as refusal:
            raise CommandError(str(refusal)) from refusal

    def status(self, options: dict[str, object]) -> None:
        loaded = status(str(options["dsn"]))
        for stage in loaded:
            self.say(f"{stage.title}: {stage.took_seconds:.1f} s")
        self.say(f"{len(loaded)} stages are loaded." if loaded else "Nothing is loaded.")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
