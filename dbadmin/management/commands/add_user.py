"""Make an account with a role, or give one more role to an account."""

from __future__ import annotations

import getpass
import os
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dbadmin.events import record
from dbadmin.models import Grant, Role, Server


class Command(BaseCommand):
    """manage.py add_user anna --role admin."""

    help = "Make an account with a role. The password comes from a variable or is asked for, never from the line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name, role, where."""
        parser.add_argument("name")
        parser.add_argument("--role", choices=Role.values, required=True)
        parser.add_argument("--server", default="", help="Only on this server.")
        parser.add_argument("--environment", choices=Server.Environment.values, default="")
        parser.add_argument("--tag", default="")
        parser.add_argument("--email", default="")
        parser.add_argument("--password-from-env", metavar="VARIABLE", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        """The account, its password, its grant."""
        server = Server.objects.filter(name=options["server"]).first()
        if options["server"] and server is None:
            raise CommandError(f"There is no server {options['server']}.")
        manager: Any = get_user_model().objects
        user, new = manager.get_or_create(username=options["name"], defaults={"email": options["email"]})
        if new or options["password_from_env"]:
            user.set_password(password(options["password_from_env"]))
            user.save()
        grant, _ = Grant.objects.get_or_create(
            user=user,
            role=options["role"],
            server=server,
            environment=options["environment"],
            tag=options["tag"],
        )
        record(None, "grant", f"Gave {user.username} {grant} by command.", server)
        self.stdout.write(f"{user.username}: {grant}")


def password(variable: str) -> str:
    """From a variable, or typed twice."""
    if variable:
        if not os.environ.get(variable):
            raise CommandError(f"The environment has no {variable}.")
        return os.environ[variable]
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise CommandError("The two passwords differ.")
    return first
