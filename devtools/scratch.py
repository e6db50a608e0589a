"""Servers that live as long as one process: for tests and measurements; nothing of them is kept."""

import atexit
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from devtools import ports, processes, servers
from devtools.account import server_account
from devtools.cluster import Cluster
from devtools.places import CHECKOUT, Places, places_for, remove
from devtools.say import Say
from devtools.servers import Programs
from devtools.supervisor import Running, Service, Supervisor

# Nothing must survive a crash, so nothing is flushed.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "max_connections": "200",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "track_commit_timestamp": "on",
    "wal_level": "replica",
    "max_prepared_transactions": "5",
}
S3_BUCKET = "dbadmin-test"


class Scratch:
    """Starts servers below one directory; all end with this process, and the directory goes."""

    def __init__(self, checkout: Path = CHECKOUT) -> None:
        """Make the directory; those of dead processes are removed."""
        self.places: Places = places_for(checkout, server_account())
        self.say = Say()
        self.supervisor = Supervisor(self.say)
        base = self.places.server_directory("scratch")
        for old in base.iterdir():
            if old.name.isdigit() and not is_alive(int(old.name)):
                remove(old)
        self.directory = self.places.server_directory("scratch", str(os.getpid()))
        self.programs = servers.find(self.places, self.say)
        atexit.register(self.close, os.getpid())

    def close(self, pid: int) -> None:
        """Stop all and remove the directory; a forked child leaves that to its parent."""
        if os.getpid() == pid:
            self.supervisor.stop()
            shutil.rmtree(self.directory, ignore_errors=True)

    def cluster(
        self,
        name: str,
        programs: Programs | None = None,
        settings: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> Cluster:
        """Make and start a PostgreSQL of this name, with a password that only we know."""
        made = Cluster(
            programs=programs or self.programs,
            data=self.directory / name,
            port=port or ports.any_free(1)[0],
            password=secrets.token_urlsafe(16),
            account=self.places.account,
            log=self.directory / f"{name}.log",
            settings={**FAST, **(settings or {})},
        )
        made.create()
        self.start(made)
        return made

    def start(self, cluster: Cluster) -> Running:
        """Start a cluster that was made before, and wait until it takes connections."""
        service = processes.postgres(cluster, cluster.log, processes.TARGET)
        service.stop_signal = signal.SIGQUIT  # nothing of it is kept
        return self.begin(service)

    def begin(self, service: Service) -> Running:
        """Start a service and wait until it answers."""
        self.supervisor.start(service)
        return self.supervisor.running[-1]

    def stop(self, running: Running) -> None:
        """Stop one of the services."""
        running.ask_to_stop()
        running.end()
        self.supervisor.running.remove(running)

    def redis(self) -> str:
        """Start a Redis that keeps nothing; returns its address."""
        port, password = ports.any_free(1)[0], secrets.token_urlsafe(16)
        log = self.directory / "redis.log"
        self.begin(processes.redis(self.programs, port, password, self.directory, log))
        return f"redis://:{password}@{ports.HOST}:{port}/0"

    def s3(self, rclone: str, name: str = "s3") -> dict[str, str]:
        """Start an S3 server with one bucket; returns endpoint, keys and bucket."""
        key, secret, port = secrets.token_hex(8), secrets.token_hex(16), ports.any_free(1)[0]
        data = self.directory / f"{name}-{port}"
        (data / S3_BUCKET).mkdir(parents=True)
        self.begin(processes.s3(rclone, port, key, secret, data, self.directory / f"{name}.log"))
        return {"endpoint": f"http://{ports.HOST}:{port}", "key": key, "secret": secret, "bucket": S3_BUCKET}


def is_alive(pid: int) -> bool:
    """Whether a process of this number exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
