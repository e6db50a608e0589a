"""manage.py sample: fill the learning platform, let people use it, say what is there."""

import os
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from dbadmin.sample.load import LoadError, load, status


class Command(BaseCommand):
    help = "The sample learning platform: load it, let it work, show what is loaded."
    # The sample is a server to be looked after, not the control database.
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["load", "status"])
        parser.add_argument("--dsn", default=os.environ.get("SAMPLE_DSN", ""), help="else SAMPLE_DSN")
        parser.add_argument("--scale", type=float, default=float(os.environ.get("DEMO_SCALE", "1")), help="else DEMO_SCALE, else 1")

    def handle(self, *args: object, **options: object) -> None:
        dsn = str(options["dsn"])
        if not dsn:
            raise CommandError("Say which database: --dsn or the environment variable SAMPLE_DSN.")
        try:
            if options["action"] == "load":
                self.load(dsn, float(str(options["scale"])))
            else:
                self.status(dsn)
        except LoadError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self.stderr.write("Stopped. The next load goes on where this one stopped.")
            raise SystemExit(130) from None

    def load(self, dsn: str, scale: float) -> None:
        done = load(dsn, scale, self.stdout.write)
        self.stdout.write(f"The sample is loaded ({done} stages)." if done else "The sample was loaded already.")

    def status(self, dsn: str) -> None:
        loaded = status(dsn)
        for stage in loaded:
            self.stdout.write(f"{stage.title}: {stage.took_seconds:.1f} s")
        self.stdout.write(f"{len(loaded)} stages are loaded." if loaded else "Nothing is loaded.")
