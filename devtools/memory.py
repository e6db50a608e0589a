"""What a demo must find again at its next start: its ports, its passwords, and what is prepared already."""

import base64
import json
import secrets
import string
from pathlib import Path
from typing import Any

from devtools import ports
from devtools.processes import write_private

ROLES = ("viewer", "auditor", "operator", "admin")
PASSWORDS = (
    "postgres", "control", "dbadmin_monitor", "dbadmin_operate", "academy", "redis", "s3_key", "s3_secret",
    "secret_key", *ROLES,
)  # fmt: skip
SERVERS = ["control", "target", "replica", "pgbouncer", "redis", "s3"]


class Memory:
    """A file that only its owner reads."""

    def __init__(self, path: Path) -> None:
        """Read it; make up what is not in it yet."""
        self.path = path
        try:
            self.facts: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            self.facts = {}
        known: dict[str, str] = self.facts.setdefault("passwords", {})
        for name in PASSWORDS:
            known.setdefault(name, password(40 if name == "secret_key" else 16))
        self.facts.setdefault("sealing_key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    def choose_ports(self) -> None:
        """The ports of last time where they are free, others else."""
        before = self.facts.get("ports", {})
        self.facts["ports"] = {
            **ports.choose(SERVERS, before, ports.first_server_port()),
            **ports.choose(["web"], {}, ports.first_web_port()),
        }

    def save(self) -> None:
        """Write it at once and whole."""
        part = self.path.with_name(f"{self.path.name}.part")
        write_private(part, json.dumps(self.facts, indent=1))
        part.replace(self.path)

    def port(self, name: str) -> int:
        """The port of a server."""
        return int(self.facts["ports"][name])

    def password(self, name: str) -> str:
        """The password of a role, a person or a server."""
        return str(self.facts["passwords"][name])

    @property
    def url(self) -> str:
        """The address of the pages."""
        return f"http://{ports.HOST}:{self.port('web')}/"


def password(length: int) -> str:
    """Letters and digits that are not mistaken for each other, fit for addresses and settings files."""
    letters = "".join(sorted(set(string.ascii_letters + string.digits) - set("Il1O0")))
    return "".join(secrets.choice(letters) for _ in range(length))
