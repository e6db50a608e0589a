"""A private PostgreSQL cluster: made once, started as a child, reachable on 127.0.0.1 with a password."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from devtools import commands, ports
from devtools.account import Account
from devtools.failure import Failure
from devtools.places import remove
from devtools.servers import Programs

ALWAYS = {
    "listen_addresses": ports.HOST,
    "unix_socket_directories": "",  # a socket's path has a length limit, a checkout's has not
    "jit": "off",  # its libraries are large and not unpacked
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %u@%d ",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
}


@dataclass
class Cluster:
    """One data directory with its port."""

    programs: Programs
    data: Path
    port: int
    password: str
    account: Account
    log: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    superuser: str = "postgres"

    def exists(self) -> bool:
        """Whether it was made already."""
        return (self.data / "PG_VERSION").exists()

    def create(self) -> None:
        """initdb beside, then rename: an interrupted run leaves no half of a cluster."""
        if self.exists():
            return
        part = self.data.with_name(f"{self.data.name}.part")
        remove(part)
        secret = self.data.with_name(f"{self.data.name}.password")
        self.write(secret, self.password)
        argv = [self.programs.pg("initdb"), "-D", str(part), "-U", self.superuser, "--auth=scram-sha-256"]
        try:
            commands.run(
                [*argv, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", f"--pwfile={secret}"],
                log=self.log,
                says="The database cluster could not be made.",
                account=self.account,
                cwd=self.data.parent,
                env={"LC_ALL": "C.UTF-8"},
            )
        finally:
            secret.unlink()
        with (part / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude = 'dbadmin.conf'\n")
        part.rename(self.data)

    def copy_of(self, primary: "Cluster", slot: str) -> None:
        """Make it a streaming replica of the primary, by a base backup beside and a rename."""
        part = self.data.with_name(f"{self.data.name}.part")
        remove(part)
        argv = [self.programs.pg("pg_basebackup"), "-R", "-X", "stream", "-c", "fast", "-S", slot]
        commands.run(
            [*argv, "-D", part, "--no-sync", "-d", f"{primary.conninfo()} application_name={self.data.name}"],
            log=self.log,
            says="The replica could not be made.",
            account=self.account,
            cwd=self.data.parent,
            env={"PGPASSWORD": primary.password},
        )
        part.rename(self.data)

    def write(self, path: Path, text: str) -> None:
        """A file of the servers' user that nobody else reads."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        os.chown(path, self.account.uid, self.account.gid)
        path.write_text(text)

    def configure(self) -> None:
        """Write the settings; they are ours at every start."""
        words = {**ALWAYS, **self.settings, "port": str(self.port)}
        lines = [f"{name} = '{value}'" for name, value in words.items()]
        self.write(self.data / "dbadmin.conf", "\n".join(lines) + "\n")

    def argv(self) -> list[str]:
        """The words that start it in the foreground."""
        return [self.programs.pg("postgres"), "-D", str(self.data)]

    def conninfo(self, database: str = "postgres") -> str:
        """Where it is, without the password."""
        return f"host={ports.HOST} port={self.port} user={self.superuser} dbname={database}"

    def dsn(self, database: str = "postgres", user: str = "", password: str = "") -> str:
        """Where it is, with the password."""
        user, password = user or self.superuser, password or self.password
        who = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{who}@{ports.HOST}:{self.port}/{quote(database, safe='')}"

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        argv = [self.programs.pg("pg_isready"), "-q", "-h", ports.HOST, "-p", str(self.port)]
        return subprocess.run(argv, timeout=10).returncode == 0

    def sql(self, text: str, database: str = "postgres") -> str:
        """Run statements as the superuser and return what they print."""
        argv = [self.programs.pg("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        done = subprocess.run(
            [*argv, "-d", self.conninfo(database)],
            input=text,
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "10"},
        )
        if done.returncode != 0:
            raise Failure(
                "A statement failed while the servers were prepared.", done.stderr.splitlines()[-6:]
            )
        return done.stdout.strip()

    def stop_leftover(self) -> None:
        """End a server that outlived a killed run on the same data."""
        pid = leftover(self.data)
        for signal_number, seconds in ((signal.SIGINT, 20), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)):
            if not pid:
                return
            os.kill(pid, signal_number)
            until = time.monotonic() + seconds
            while pid and time.monotonic() < until:
                time.sleep(0.1)
                pid = leftover(self.data)


def leftover(data: Path) -> int:
    """The process number of a running server of this data directory, or 0."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, 0)
    except (OSError, ValueError, IndexError):
        return 0
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:  # no /proc here
        words = commands.answer(["ps", "-ww", "-o", "args=", "-p", str(pid)])
    return pid if "postgres" in words and str(data) in words else 0
