"""Turn due schedules into runs, send again what Redis forgot, find runs whose worker died; one leads."""

import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from dbadmin.scheduler import Scheduler


class Command(BaseCommand):
    """manage.py scheduler"""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--name", default="", help="shown on pages; the host and the process id by default"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Lead or stand by until SIGTERM or Ctrl-C."""
        scheduler = Scheduler(options["name"])
        signal.signal(signal.SIGTERM, scheduler.stop)
        signal.signal(signal.SIGINT, scheduler.stop)
        scheduler.run()
