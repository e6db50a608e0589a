"""A recovered cluster on this host: its directory, its own settings, its start, its questions, its end."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from psycopg.conninfo import make_conninfo

from backups.logical import Tools
from dbadmin.failures import Told
from dbadmin.operations import Refused
from dbadmin.pools import choose_path

ROLE, LOCAL = "dbadmin_recovered", "127.0.0.1"
#: How directories of sockets are called.
SOCKETS = "dbadmin-recovered-"
#: What a standby may not have less of than its primary; and places for how far each subscription has come, without
#: which a subscriber does not start: PostgreSQL 18 counts them apart from slots.
AT_LEAST = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_replication_slots",
    "max_active_replication_origins",
)
OURS = {
    "listen_addresses": "",
    "hot_standby": "on",
    "archive_mode": "off",
    "shared_preload_libraries": "",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "fsync": "off",
    "full_page_writes": "off",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "log",
    "lc_messages": "C",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "autovacuum": "off",
    "ssl": "off",
    "primary_conninfo": "",
    "max_logical_replication_workers": "0",
}
Start = Callable[..., "subprocess.Popen[bytes]"]


class RecoveryFailed(Told):
    """The recovery did not come to where it should; a sentence says why."""


def recovered_folder() -> Path:
    """Where recovered clusters stand."""
    return Path(settings.DBADMIN_STATE) / "recovered"


def account() -> pwd.struct_passwd | None:
    """Whose name the cluster runs under: ours; for root another's, since PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    name = os.environ.get("DBADMIN_SCRATCH_USER", "")
    for each in (name, "postgres", "nobody"):
        try:
            if each:
                return pwd.getpwnam(each)
        except KeyError:
            continue
    raise Refused(
        "PostgreSQL does not run as root. Let the worker run as another user, or name one in DBADMIN_SCRATCH_USER."
    )


def popen_options() -> dict[str, Any]:
    """What makes a program run under that name."""
    who = account()
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if who else {}


def give(path: Path) -> None:
    """Give a file or a whole tree to the cluster's user."""
    who = account()
    if who is None:
        return
    os.chown(path, who.pw_uid, who.pw_gid)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(os.path.join(folder, name), who.pw_uid, who.pw_gid, follow_symlinks=False)  # noqa: PTH118


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind((LOCAL, 0))
        return int(listening.getsockname()[1])


@dataclass
class ScratchCluster:
    """One data directory with what belongs to it."""

    folder: Path
    tools: Tools
    superuser: str
    #: Until it is opened it names its socket alone: hours may pass, and others take what was free.
    port: int = 5432
    sockets: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def wal(self) -> Path:
        return self.folder / "wal"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def make(self) -> None:
        """The directories; nobody else looks in."""
        for path in (recovered_folder(), self.folder, self.data, self.wal):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        recovered_folder().chmod(0o711)

    def configure(self, source: Mapping[str, str], extra: Mapping[str, str]) -> None:
        """Settings of our own: those of the source name its files, its memory and its archive."""
        least = {name: source[name] for name in AT_LEAST if name in source}
        words = {**OURS, **least, "port": str(self.port), **extra}
        words["unix_socket_directories"] = str(self.socket_folder())
        words["hba_file"], words["ident_file"] = (
            str(self.folder / "hba.conf"),
            str(self.folder / "ident.conf"),
        )
        lines = ["{} = '{}'".format(name, value.replace("'", "''")) for name, value in words.items()]
        (self.folder / "server.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "ident.conf").write_text("")
        (self.folder / "hba.conf").write_text(
            f"local all all trust\nhost all {ROLE} {LOCAL}/32 scram-sha-256\n"
        )
        kept = self.data / "postgresql.auto.conf"
        if kept.exists() and not kept.with_suffix(".conf.source").exists():
            kept.rename(kept.with_suffix(".conf.source"))
        kept.write_text("# The settings of the source are in postgresql.auto.conf.source.\n")

    def socket_folder(self) -> Path:
        """A short path that only the cluster's user may enter: who is in is trusted."""
        if self.sockets is None:
            self.sockets = Path(tempfile.mkdtemp(prefix=SOCKETS))
            give(self.sockets)
        return self.sockets

    def start(self, popen: Start) -> None:
        """In the foreground, as a child of whoever starts it."""
        give(self.folder)
        with self.log.open("ab") as log:
            self.process = popen(
                [
                    self.tools.path("postgres"),
                    "-D",
                    str(self.data),
                    "-c",
                    f"config_file={self.folder / 'server.conf'}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                **popen_options(),
            )

    def dsn(self, database: str = "postgres") -> str:
        """By the socket, as the cluster's superuser."""
        return make_conninfo(
            host=str(self.sockets), port=self.port, user=self.superuser, dbname=database, connect_timeout=3
        )

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        connection = psycopg.connect(self.dsn(database), autocommit=True, application_name="dbadmin")
        choose_path(connection)
        return connection

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def complaint(self) -> str:
        """The last thing that the server's log calls fatal."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        said = [line.partition(": ")[2].strip() for line in lines if " FATAL: " in line or " PANIC: " in line]
        said = [line for line in said if "starting up" not in line and "not yet accepting" not in line]
        copying = [line for line in lines if line.startswith("cp: ")]  # why a segment did not come
        return " ".join([said[-1], *copying[-1:]]) if said else (lines[-1] if lines else "it said nothing")

    def stop(self) -> None:
        """Fast and whole, so that it can be started again."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)

    def remove_sockets(self) -> None:
        remove_sockets(self.folder)
        self.sockets = None

    def make_role(self) -> str:
        """The password of a role for whoever looks around; it reads only unless told otherwise."""
        password = secrets.token_urlsafe(18)
        with self.connect() as connection:
            connection.execute(f"drop role if exists {ROLE}")
            connection.execute(
                psycopg.sql.SQL("create role {} login superuser password {}").format(
                    psycopg.sql.Identifier(ROLE), psycopg.sql.Literal(password)
                )
            )
            connection.execute(f"alter role {ROLE} set default_transaction_read_only = on")
        return password

    def open(self, source: Mapping[str, str], password: str) -> str:
        """From its next start on it listens on this host, at a port that is free now; the way in of that role."""
        self.port = free_port()
        self.configure(source, {"listen_addresses": LOCAL})
        return make_conninfo(host=LOCAL, port=self.port, user=ROLE, password=password, dbname="postgres")


def wait_for(condition: Callable[[], bool], seconds: float, tick: Callable[[], None]) -> bool:
    """Look five times a second."""
    deadline = time.monotonic() + seconds
    while not condition():
        tick()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def remove_sockets(folder: Path) -> None:
    """Remove the directory that a cluster has its sockets in: it lies elsewhere, for its path must be short."""
    try:
        named = re.findall(
            r"^unix_socket_directories = '(.*)'$", (folder / "server.conf").read_text(), re.MULTILINE
        )
    except OSError:
        return
    for sockets in named:
        if Path(sockets).name.startswith(SOCKETS):
            shutil.rmtree(sockets, ignore_errors=True)


def restore_command(wal: Path) -> str:
    """Takes a segment from the directory in which all of them lie already. One that is not there is the end of the WAL;
    one that is there and cannot be copied, as on a full disk, ends the server instead of the WAL."""
    quoted = "'{}'".format(str(wal).replace("'", "'\\''"))
    return f"test -f {quoted}/%f || exit 1; cp {quoted}/%f %p || exit 200"
