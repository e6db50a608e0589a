"""Ask for a second person on a server before anything is destroyed, or no longer: manage.py two_people shop on"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dbadmin.command_line import find_server
from dbadmin.events import record
from dbadmin.operations import Refused


class Command(BaseCommand):
    """manage.py two_people"""

    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        """Which server, and what."""
        parser.add_argument("server")
        parser.add_argument("wanted", choices=["on", "off"])

    def handle(self, *args: Any, **options: Any) -> None:
        """Change it and record that."""
        try:
            server = find_server(options["server"])
        except Refused as refusal:
            raise CommandError(str(refusal)) from refusal
        server.two_people = options["wanted"] == "on"
        server.save(update_fields=["two_people"])
        record(
            None,
            "server",
            f"Two people on {server}: switched {options['wanted']} at the command line.",
            server,
        )
        self.stdout.write(
            f"{server} asks for a second person before anything is destroyed."
            if server.asks_two
            else f"On {server} one person alone may do what destroys."
        )
