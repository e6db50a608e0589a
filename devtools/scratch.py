"""Servers that live as long as one process: for tests and measurements; nothing of them is kept."""

import atexit
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from devtools import ports, servers
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
        cluster.configure()
        service = Service(
            name=cluster.data.name,
            argv=cluster.argv(),
            log=cluster.log,
            tier=1,
            is_ready=cluster.is_ready,
            stop_signal=signal.SIGQUIT,
            account=cluster.account,
            cwd=cluster.data.parent,
        )
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
        self.begin(
            redis_service(self.programs, port, password, self.directory, self.directory / "redis.log", [])
        )
        return f"redis://:{password}@{ports.HOST}:{port}/0"

    def s3(self, rclone: str, name: str = "s3") -> dict[str, str]:
        """Start an S3 server with one bucket; returns endpoint, keys and bucket."""
        key, secret, port = secrets.token_hex(8), secrets.token_hex(16), ports.any_free(1)[0]
        data = self.directory / f"{name}-{port}"
        (data / S3_BUCKET).mkdir(parents=True)
        self.begin(s3_service(rclone, port, key, secret, data, self.directory / f"{name}.log"))
        return {"endpoint": f"http://{ports.HOST}:{port}", "key": key, "secret": secret, "bucket": S3_BUCKET}


def redis_service(
    programs: Programs, port: int, password: str, directory: Path, log: Path, more: list[str]
) -> Service:
    """A Redis on loopback with a password, kept out of the list of processes by a settings file."""
    settings = directory / "redis.conf"
    settings.unlink(missing_ok=True)
    settings.touch(mode=0o600)
    lines = [
        f"bind {ports.HOST}",
        f"port {port}",
        f"requirepass {password}",
        'save ""',
        f'dir "{directory}"',
        *more,
    ]
    settings.write_text("\n".join(lines) + "\n")
    assert programs.redis
    return Service(
        name="redis",
        # Debian's redis-check-rdb is the server when it is called redis-server.
        argv=["redis-server", str(settings)],
        program=str(programs.redis),
        log=log,
        tier=2,
        is_ready=lambda: ports.answers(port),
        cwd=directory,
    )


def s3_service(rclone: str, port: int, key: str, secret: str, data: Path, log: Path) -> Service:
    """An S3 server that keeps its objects as files; the first directories are the buckets."""
    argv = [rclone, "serve", "s3", "--addr", f"{ports.HOST}:{port}", "--no-checksum", str(data)]
    return Service(
        name="s3",
        argv=argv,
        log=log,
        tier=2,
        env={"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_CONFIG": "/dev/null"},
        is_ready=lambda: ports.answers(port),
        stop_signal=signal.SIGTERM,
    )


def is_alive(pid: int) -> bool:
    """Whether a process of this number exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
