"""Read all servers on their cadence and keep the history; any number of these processes share the work."""

import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from monitoring.sampler import Sampler


class Command(BaseCommand):
    """manage.py sampler"""

    help = "Read all servers on their cadence and keep the history."

    def handle(self, *args: Any, **options: Any) -> None:
        sampler = Sampler()

        def stop(number: int, frame: FrameType | None) -> None:
            sampler.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        sampler.run()
