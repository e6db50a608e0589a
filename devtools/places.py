"""Where everything lies: all below .local and .venv of the checkout, so that removing them uninstalls it."""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from devtools.account import Account
from devtools.failure import Failure

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Places:
    """The directories of one checkout."""

    checkout: Path
    local: Path
    state: Path  # what the servers must be able to reach
    account: Account

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.checkout / ".venv"

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.venv / "bin" / "python"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.local / "log"

    @property
    def packages(self) -> Path:
        """Programs unpacked for this checkout alone."""
        return self.state / "root"

    def server_directory(self, *names: str) -> Path:
        """A directory that belongs to the servers' user, made when it is missing."""
        path = self.state.joinpath(*names)
        for part in (self.state, *(self.state.joinpath(*names[: n + 1]) for n in range(len(names)))):
            if not part.exists():
                part.mkdir(mode=0o700)
                os.chown(part, self.account.uid, self.account.gid)
        return path


def places_for(checkout: Path, account: Account) -> Places:
    """Make .local, and a place outside when the servers' user cannot come in."""
    local = checkout / ".local"
    try:
        local.mkdir(exist_ok=True)
        (local / "log").mkdir(exist_ok=True)
    except OSError as error:
        raise Failure(f"This checkout is not writable for you: {error}") from error
    local.chmod(0o755)
    if account.uid == os.geteuid() or account.can("-x", local):
        return Places(checkout, local, local, account)
    return Places(checkout, local, outside(checkout, local, account), account)


def outside_path(checkout: Path) -> Path:
    """Where the servers' files go when the checkout is out of their user's reach."""
    mark = hashlib.sha256(str(checkout).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"dbadmin-{mark}"  # noqa: S108 - owner and mode are checked before use


def outside(checkout: Path, local: Path, account: Account) -> Path:
    """A directory below /var/tmp that belongs to the servers' user alone."""
    path = outside_path(checkout)
    if not path.exists():
        path.mkdir(mode=0o700)
        os.chown(path, account.uid, account.gid)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
        raise Failure(
            f"{path} belongs to someone else. Remove it, or move the checkout out of {checkout.parent}."
        )
    link = local / "state"
    if not link.is_symlink():
        link.symlink_to(path)
    return path


def remove(path: Path) -> None:
    """Remove a directory or a link, if it is there."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
