"""Receive the WAL of every server with point-in-time recovery on; further processes stand by."""

import signal
from typing import Any

from django.core.management.base import BaseCommand

from backups.physical.receiver import Receiver


class Command(BaseCommand):
    """manage.py wal_receiver"""

    help = "Receive the WAL of every server with point-in-time recovery on, and send it to its store."

    def handle(self, *args: Any, **options: Any) -> None:
        receiver = Receiver()
        signal.signal(signal.SIGTERM, receiver.stop)
        signal.signal(signal.SIGINT, receiver.stop)
        receiver.run()
