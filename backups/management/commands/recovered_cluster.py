"""Serve a recovered cluster until its time is over; started by the recovery itself."""

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from backups.physical.keeping import Keeper


class Command(BaseCommand):
    """manage.py recovered_cluster 7"""

    help = "Serve a recovered cluster until its time is over; started by the recovery itself."
    #: The worker whose run starts it has made them: here they would only cost its memory for hours.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        keeper = Keeper(options["number"])
        signal.signal(signal.SIGTERM, keeper.stop)
        signal.signal(signal.SIGINT, keeper.stop)
        keeper.run()
