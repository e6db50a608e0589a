"""Do the runs of some queues, one at a time; start as many workers as you like, on any host."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from dbadmin.worker import serve


class Command(BaseCommand):
    """manage.py worker"""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queues", default=",".join(settings.QUEUES), help="names, separated by commas")
        parser.add_argument(
            "--name", default="", help="shown on pages; the host and the process id by default"
        )
        parser.add_argument(
            "--grace",
            type=float,
            default=10.0,
            help="seconds that a run may go on after the worker was told to stop; then it is cancelled",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Work until SIGTERM or Ctrl-C."""
        names = [name.strip() for name in options["queues"].split(",") if name.strip()]
        serve(names, options["name"], options["grace"])
