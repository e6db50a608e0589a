"""Look after a server: test its DSN, keep it sealed, list what is missing."""

from __future__ import annotations

import os
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dbadmin import readiness
from dbadmin.events import record
from dbadmin.models import Server


class Command(BaseCommand):
    """manage.py add_server shop "postgresql://dbadmin@host/shop" --environment production."""

    help = "Add a server, or change a known one. A DSN may be env:VARIABLE, to keep it off the command line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name and DSN, then what is optional."""
        parser.add_argument("name")
        parser.add_argument("dsn")
        parser.add_argument("--operate-dsn", default="")
        parser.add_argument("--pgbouncer-dsn", default="")
        parser.add_argument("--redis-url", default="")
        parser.add_argument(
            "--environment", choices=Server.Environment.values, default=Server.Environment.PRODUCTION
        )
        parser.add_argument("--tag", action="append", default=[])
        parser.add_argument(
            "--primary", default="", help="For a replica: the name of the server that it follows."
        )
        parser.add_argument("--queue", default="")
        parser.add_argument(
            "--unchecked", action="store_true", help="Keep it even if it cannot be reached now."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Test, keep, tell."""
        dsn = resolved(options["dsn"])
        server = Server.objects.filter(name=options["name"]).first() or Server(name=options["name"])
        self.fill(server, options, dsn)
        try:
            server.clean_fields()
        except ValidationError as error:
            field, messages = next(iter(error.message_dict.items()))
            raise CommandError(f"{field}: {messages[0]}") from None
        try:
            checks = readiness.check_dsn(dsn)
        except readiness.Unreachable as error:
            if not options["unchecked"]:
                raise CommandError(f"{options['name']} is not added. {error}") from None
            checks = []
        server.save()
        record(None, "server", f"Added server {server} by command.", server)
        self.stdout.write(f"{server}: {server.safe_dsn()}")
        for check in checks:
            if check.state != "ok":
                self.stdout.write(f"  {check.state}: {check.title}. {check.message} {check.remedy}".rstrip())

    def fill(self, server: Server, options: dict[str, Any], dsn: str) -> None:
        """Put everything in its place, secrets sealed."""
        server.environment, server.tags, server.queue = (
            options["environment"],
            options["tag"],
            options["queue"],
        )
        if options["primary"]:
            server.primary = Server.objects.filter(name=options["primary"]).first()
            if server.primary is None:
                raise CommandError(f"There is no server {options['primary']}.")
        server.seal_dsn("monitor_dsn", dsn)
        for purpose in ("operate_dsn", "pgbouncer_dsn", "redis_url"):
            if options[purpose]:
                server.seal_dsn(purpose, resolved(options[purpose]))


def resolved(text: str) -> str:
    """The value itself, or that of the variable that env: names."""
    if not text.startswith("env:"):
        return text
    try:
        return os.environ[text.removeprefix("env:")]
    except KeyError:
        raise CommandError(f"The environment has no {text.removeprefix('env:')}.") from None
