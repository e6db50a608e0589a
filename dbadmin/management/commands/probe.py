"""Read a probe of a server in the terminal."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dbadmin import exports
from dbadmin.connections import session
from dbadmin.models import Server
from dbadmin.probes import PROBES, Probe, Reading
from dbadmin.reference import probes_page


class Command(BaseCommand):
    """manage.py probe table_columns shop --database shop --set schema=public --set table=orders."""

    help = "Read a probe of a server now; without arguments, list the probes."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which, where, how shown."""
        parser.add_argument("name", nargs="?", default="")
        parser.add_argument("server", nargs="?", default="")
        parser.add_argument("--database", default=None)
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", help="of a probe about one thing"
        )
        parser.add_argument("--format", choices=("text", "csv", "json"), default="text")
        parser.add_argument("--docs", action="store_true", help="print the reference of all probes")

    def handle(self, *args: Any, **options: Any) -> None:
        """List, describe, or read."""
        if options["docs"]:
            self.stdout.write(probes_page(), ending="")
            return
        if not options["server"]:
            for each in PROBES.values():
                self.stdout.write(f"{each.name:28} {each.title}")
            return
        probe, server = PROBES.get(options["name"]), Server.objects.filter(name=options["server"]).first()
        if probe is None or server is None:
            missing = f"probe {options['name']}" if probe is None else f"server {options['server']}"
            raise CommandError(f"There is no {missing}.")
        role = "pgbouncer" if probe.source == "pgbouncer" else "monitor"
        with session(server, role, options["database"], probe.timeout + 1) as open_session:  # type: ignore[arg-type]
            self.show(probe.read(open_session, **told(probe, options["set"])), options["format"])

    def show(self, reading: Reading, kind: str) -> None:
        """The answer, or why there is none."""
        if kind == "json":
            self.stdout.write(json.dumps(exports.as_dict(reading), indent=2, default=str))
            return
        if reading.problem:
            raise CommandError(f"{reading.problem.message} {reading.problem.remedy}".strip())
        if kind == "csv":
            self.stdout.write(exports.as_csv(reading), ending="")
            return
        for row in reading.rows:
            pairs = zip(reading.columns, row, strict=True)
            self.stdout.write(
                "  ".join(f"{column.name}={column.unit.text(value)}" for column, value in pairs)
            )
        self.stdout.write(
            f"{len(reading.rows)} rows in {reading.took_ms:.0f} ms" if reading.rows else probe_empty(reading)
        )


def told(probe: Probe, pairs: list[str]) -> dict[str, str]:
    """What a probe about one thing is told: schema=public, table=orders."""
    found = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
    if unknown := found.keys() - set(probe.params):
        raise CommandError(f"{probe.name} is not told {', '.join(sorted(unknown))}.")
    return found


def probe_empty(reading: Reading) -> str:
    """What the probe says of nothing."""
    return reading.probe.empty
