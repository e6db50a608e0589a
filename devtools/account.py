"""Whose name the servers run under: PostgreSQL refuses to run as root."""

import os
import pwd
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.failure import Failure


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: str

    def popen_options(self) -> dict[str, Any]:
        """What makes a child process run as this user; nothing when we are this user."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can(self, what: str, path: Path) -> bool:
        """Whether this user may read (-r), write (-w) or pass through (-x) the path."""
        return subprocess.run(["test", what, str(path)], cwd="/", **self.popen_options()).returncode == 0


def account_of(uid: int) -> Account | None:
    """The user with this number, when the machine knows it by name."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def account_named(name: str) -> Account | None:
    """The user of this name, if there is one."""
    try:
        return account_of(pwd.getpwnam(name).pw_uid)
    except KeyError:
        return None


def become_owner(checkout: Path) -> Account | None:
    """When root runs a checkout that belongs to someone, go on as that someone; tell who it is."""
    if os.geteuid() != 0:
        return None
    owner = account_of(checkout.stat().st_uid)
    if owner is None or owner.uid == 0 or not owner.can("-w", checkout):
        return None
    os.initgroups(owner.name, owner.gid)
    os.setgid(owner.gid)
    os.setuid(owner.uid)
    os.environ.update(HOME=owner.home, USER=owner.name, LOGNAME=owner.name)
    return owner


def server_account(environ: Mapping[str, str] = os.environ) -> Account:
    """Us; and for root the person behind sudo, else postgres, else nobody."""
    if os.geteuid() != 0:
        # A container may run under a number without a name; the servers then say so themselves.
        return account_of(os.geteuid()) or Account(str(os.geteuid()), os.geteuid(), os.getegid(), "/")
    behind_sudo = account_of(int(environ.get("SUDO_UID", "0") or 0))
    for account in (behind_sudo, account_named("postgres"), account_named("nobody")):
        if account and account.uid != 0:
            return account
    raise Failure(
        "PostgreSQL refuses to run as root, and this machine has no other user. Make one: useradd dev"
    )
