"""How the servers beside PostgreSQL are started: Redis, an S3 server, PgBouncer."""

import os
import signal
from pathlib import Path

from devtools import ports
from devtools.account import Account
from devtools.cluster import Cluster
from devtools.servers import Programs
from devtools.supervisor import Service

# What stops together: the product first, then what it leans on, then the databases.
CONTROL, TARGET, REPLICA, STORES, POOLER, PRODUCT = range(6)


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """A settings file with passwords in it: nobody else reads it, and no list of processes shows it."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    if account:
        os.chown(path, account.uid, account.gid)


def redis(
    programs: Programs, port: int, password: str, directory: Path, log: Path, keeps: bool = False
) -> Service:
    """A Redis on loopback with a password."""
    lines = [f"bind {ports.HOST}", f"port {port}", f"requirepass {password}", f'dir "{directory}"', 'save ""']
    lines.append(f"appendonly {'yes' if keeps else 'no'}")
    write_private(directory / "redis.conf", "\n".join(lines) + "\n")
    assert programs.redis
    return Service(
        name="redis",
        # Debian's redis-check-rdb is the server when it is called redis-server.
        argv=["redis-server", str(directory / "redis.conf")],
        program=str(programs.redis),
        log=log,
        tier=STORES,
        is_ready=lambda: ports.answers(port),
        cwd=directory,
        may_restart=True,
    )


def s3(rclone: str, port: int, key: str, secret: str, data: Path, log: Path) -> Service:
    """An S3 server that keeps its objects as files; the directories at the top are the buckets."""
    return Service(
        name="s3",
        argv=[rclone, "serve", "s3", "--addr", f"{ports.HOST}:{port}", str(data)],
        log=log,
        tier=STORES,
        env={"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_CONFIG": "/dev/null"},
        is_ready=lambda: ports.answers(port),
        may_restart=True,
    )


def pooler(
    programs: Programs, port: int, target: Cluster, users: dict[str, str], directory: Path, log: Path
) -> Service:
    """A PgBouncer before the target; it knows these users' passwords and asks the target for all others."""
    account = target.account
    accounts = {target.superuser: target.password, **users}
    write_private(
        directory / "users.txt", "".join(f'"{name}" "{word}"\n' for name, word in accounts.items()), account
    )
    settings = {
        "listen_addr": ports.HOST,
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": directory / "users.txt",
        "auth_user": target.superuser,
        "auth_query": "SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1",
        "stats_users": ", ".join(users),
        "pool_mode": "transaction",
        "default_pool_size": 8,
        "max_client_conn": 200,
        "ignore_startup_parameters": "extra_float_digits",
    }
    lines = ["[databases]", f"* = host={ports.HOST} port={target.port}", "[pgbouncer]"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    write_private(directory / "pgbouncer.ini", "\n".join(lines) + "\n", account)
    return Service(
        name="pgbouncer",
        argv=[str(programs.pgbouncer), str(directory / "pgbouncer.ini")],
        log=log,
        tier=POOLER,
        is_ready=lambda: ports.answers(port),
        account=account,
        cwd=directory,
        may_restart=True,
    )


def postgres(cluster: Cluster, log: Path, tier: int) -> Service:
    """A cluster that was made before; it stops fast and clean, whoever is connected."""
    cluster.configure()
    return Service(
        name=cluster.data.name,
        argv=cluster.argv(),
        log=log,
        tier=tier,
        is_ready=cluster.is_ready,
        stop_signal=signal.SIGINT,
        stop_seconds=30,
        account=cluster.account,
        cwd=cluster.data.parent,
    )
