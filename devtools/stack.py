"""What a demo consists of: three database clusters, the servers beside them, and the product's processes."""

import contextlib
import hashlib
import json
import os
import shlex
import signal
import time
from pathlib import Path

from devtools import commands, processes, venv
from devtools.cluster import Cluster
from devtools.memory import ROLES, Memory
from devtools.places import Places
from devtools.ports import HOST, answers_http
from devtools.processes import PRODUCT
from devtools.say import Say
from devtools.servers import Programs
from devtools.supervisor import Service, Supervisor
from devtools.target import DATABASE, TARGET_SETTINGS, Target

BUCKET = "dbadmin-demo"
GUNICORN = (
    "--workers 2 --worker-class gthread --threads 8 --keep-alive 30 --preload"
    " --graceful-timeout 5 --no-control-socket --access-logfile -"
)
S3_VARIABLES = {"AWS_ACCESS_KEY_ID": "s3_key", "AWS_SECRET_ACCESS_KEY": "s3_secret"}

CONTROL_SETTINGS = {"shared_buffers": "64MB"}

CONTROL_SQL = """
select 'create role dbadmin login'
where not exists (select from pg_catalog.pg_roles where rolname = 'dbadmin') \\gexec
alter role dbadmin password '{control}';
select 'create database dbadmin owner dbadmin'
where not exists (select from pg_catalog.pg_database where datname = 'dbadmin') \\gexec
"""


class Stack:
    """The processes of one checkout's demo, and where their data is."""

    def __init__(self, places: Places, say: Say, programs: Programs, supervisor: Supervisor) -> None:
        """Read what the last demo left, and choose ports."""
        self.places, self.say, self.programs, self.supervisor = places, say, programs, supervisor
        # Data of one major version is of no use to another: each has its own.
        self.data = places.server_directory("demo", f"postgresql-{programs.major}")
        self.own = places.local / "demo-files"
        for name in ("redis", f"s3/{BUCKET}", "state", "static"):
            (self.own / name).mkdir(parents=True, exist_ok=True)
        self.memory = Memory(places.local / "demo.json")
        self.memory.choose_ports()
        self.memory.save()
        self.control = self.cluster("control", CONTROL_SETTINGS)
        self.target = self.cluster("target", TARGET_SETTINGS)
        self.replica = self.cluster("replica", TARGET_SETTINGS)

    def cluster(self, name: str, settings: dict[str, str]) -> Cluster:
        """One of the three clusters."""
        return Cluster(
            programs=self.programs,
            data=self.data / name,
            port=self.memory.port(name),
            password=self.memory.password("postgres"),
            account=self.places.account,
            log=self.log(name),
            settings=settings,
        )

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.places.logs / f"{name}.log"

    def start_own_servers(self) -> None:
        """What the product itself needs: its database, Redis, an S3 store."""
        self.control.stop_leftover()
        self.control.create()
        port, word = self.memory.port("redis"), self.memory.password("redis")
        redis = processes.redis(self.programs, port, word, self.own / "redis", self.log("redis"), keeps=True)
        self.supervisor.start(
            processes.postgres(self.control, self.log("control"), processes.CONTROL), redis, self.s3()
        )
        self.control.sql(CONTROL_SQL.format(control=self.memory.password("control")))

    def start_target(self) -> None:
        """What it looks after: the sample's database, a replica of it, a pooler before it."""
        target = Target(self.target, self.replica, self.memory, self.supervisor)
        target.stop_leftovers()
        mark = self.sample_mark()
        if not target.is_loaded(mark):
            self.say.step("sample", "loading the learning platform (only the first time)")
            target.load(self.load_sample, mark)
        target.start(self.places.server_directory("demo", "pgbouncer"), self.log("pgbouncer"))

    def sample_mark(self) -> str:
        """Changes when the sample is to be loaded anew."""
        return self.mark(os.environ.get("DEMO_SCALE", ""), "dbadmin/sample/*")

    def load_sample(self) -> None:
        """Fill the sample's database."""
        commands.run(
            self.manage("sample", "load"),
            log=self.log("sample"),
            says="The sample could not be loaded.",
            say=self.say,
            env=self.environment(),
            cwd=self.places.checkout,
        )

    def s3(self) -> Service:
        """A store for backups that is not a directory."""
        return processes.s3(
            str(self.places.venv / "bin" / "rclone"),
            self.memory.port("s3"),
            self.memory.password("s3_key"),
            self.memory.password("s3_secret"),
            self.own / "s3",
            self.log("s3"),
        )

    def sample_dsn(self) -> str:
        """The sample's database, as a superuser."""
        return self.target.dsn(DATABASE)

    def monitor_dsn(self, port: str, database: str = DATABASE) -> str:
        """A server, as the role that only reads."""
        user = f"dbadmin_monitor:{self.memory.password('dbadmin_monitor')}"
        return f"postgresql://{user}@{HOST}:{self.memory.port(port)}/{database}"

    def environment(self) -> dict[str, str]:
        """What the product's processes read."""
        memory, around = self.memory, venv.variables(self.places)
        control = self.control.dsn("dbadmin", user="dbadmin", password=memory.password("control"))
        pooled = (
            f"postgresql://{HOST}:{memory.port('pgbouncer')}/{DATABASE}" if self.programs.pgbouncer else ""
        )
        return {
            **around,
            "PATH": os.pathsep.join([*self.programs.paths(), around["PATH"]]),
            "DJANGO_SETTINGS_MODULE": "dbadmin.settings",
            "DATABASE_URL": control,
            "REDIS_URL": f"redis://:{memory.password('redis')}@{HOST}:{memory.port('redis')}/0",
            "SECRET_KEY": memory.password("secret_key"),
            "DBADMIN_KEYS": f"demo={memory.facts['sealing_key']}",
            "DBADMIN_STATE": str(self.own / "state"),
            "STATIC_ROOT": str(self.own / "static"),
            "DBADMIN_DEMO": "1",
            "SAMPLE_DSN": self.sample_dsn(),
            "SAMPLE_POOLER_DSN": pooled,
        }

    def preparations(self) -> list[list[str]]:
        """The product's own commands that make an empty control database useful."""
        return [
            ["migrate", "--verbosity", "0"],
            ["createcachetable"],
            *self.servers(),
            *self.stores(),
            *people(),
            ["sample", "care"],
        ]

    def servers(self) -> list[list[str]]:
        """The servers to look after: the sample's primary and its replica."""
        operate = self.target.dsn(DATABASE, "dbadmin_operate", self.memory.password("dbadmin_operate"))
        primary = ["add_server", DATABASE, self.monitor_dsn("target"), "--operate-dsn", operate]
        primary += ["--environment", "production", "--redis-url", self.environment()["REDIS_URL"]]
        if self.programs.pgbouncer:
            primary += ["--pgbouncer-dsn", self.monitor_dsn("pgbouncer", "pgbouncer")]
        replica = ["add_server", f"{DATABASE}-replica", self.monitor_dsn("replica"), "--primary", DATABASE]
        return [primary, [*replica, "--environment", "production"]]

    def stores(self) -> list[list[str]]:
        """Where backups go: a directory, and S3."""
        endpoint = f"http://{HOST}:{self.memory.port('s3')}"
        bucket = ["--bucket", BUCKET, "--endpoint", endpoint, "--key", "demo"]
        return [
            ["add_store", "local", "--directory", "backups", "--key", "demo"],
            ["add_store", "s3", *bucket],
        ]

    def secrets(self) -> dict[str, str]:
        """What only the preparations read."""
        people = {f"DEMO_PASSWORD_{role.upper()}": self.memory.password(role) for role in ROLES}
        keys = {name: self.memory.password(word) for name, word in S3_VARIABLES.items()}
        return {**people, **keys}

    def prepare(self) -> None:
        """Do the preparations when they, or the migrations, differ from those that were done."""
        todo = self.preparations()
        done, mark = (
            self.control.data / "prepared",
            self.mark(json.dumps(todo) + self.sample_mark(), "*/migrations/*.py"),
        )
        if done.exists() and done.read_text() == mark:
            return
        commands.run(
            [self.places.python, "-m", "devtools.together"],
            log=self.log("prepare"),
            says="The control database could not be prepared.",
            say=self.say,
            env={**self.environment(), **self.secrets()},
            cwd=self.places.checkout,
            stdin=json.dumps(todo),
        )
        done.write_text(mark)

    def mark(self, words: str, pattern: str) -> str:
        """Changes when the words change or one of the files."""
        files = sorted(path for path in self.places.checkout.glob(pattern) if path.is_file())
        return hashlib.sha256(words.encode() + b"".join(path.read_bytes() for path in files)).hexdigest()

    def manage(self, *words: str) -> list[str]:
        """The words that run a management command."""
        return [str(self.places.python), str(self.places.checkout / "manage.py"), *words]

    def start_product(self) -> None:
        """Web, workers, scheduler, sampler, and the people who use the sample."""
        port = self.memory.port("web")
        web = [str(self.places.python), "-m", "gunicorn", "dbadmin.wsgi", "-b", f"{HOST}:{port}"]
        parts = {
            "worker-1": self.manage("worker", "--grace", "3"),
            "worker-2": self.manage("worker", "--grace", "3"),
            "scheduler": self.manage("scheduler"),
            "sampler": self.manage("sampler"),
            "wal-receiver": self.manage("wal_receiver"),
            "workload": self.manage("sample", "work"),
        }
        pages = self.product("web", [*web, *shlex.split(GUNICORN)])
        pages.env = {**pages.env, "DBADMIN_POOL": "1"}
        pages.is_ready = lambda: answers_http(f"{self.memory.url}accounts/login/")
        # The pages first: they are what somebody waits for.
        self.supervisor.start(pages)
        self.supervisor.start(*(self.product(name, argv) for name, argv in parts.items()))

    def stop_recovered(self) -> None:
        """End the clusters that point-in-time recoveries left standing: they outlive workers, not the demo."""
        stop_keepers(self.own / "state" / "recovered")

    def product(self, name: str, argv: list[str]) -> Service:
        """One of the product's processes; it is started again when it ends."""
        return Service(
            name=name,
            argv=argv,
            log=self.log(name),
            tier=PRODUCT,
            env=self.environment(),
            may_restart=True,
            cwd=self.places.checkout,
        )


def stop_keepers(folder: Path, seconds: float = 20) -> None:
    """Ask the keeper of each recovered cluster to end it, and wait; each wrote its pid beside the cluster."""
    told = set()
    for path in folder.glob("*/keeper.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text())
            if is_keeper(pid):
                os.kill(pid, signal.SIGTERM)
                told.add(pid)
    until = time.monotonic() + seconds
    while any(is_keeper(pid) for pid in told) and time.monotonic() < until:
        time.sleep(0.1)


def is_keeper(pid: int) -> bool:
    """Whether this process looks after a recovered cluster; a pid may belong to another one by now."""
    return "recovered_cluster" in commands.answer(["ps", "-ww", "-o", "args=", "-p", str(pid)])


def people() -> list[list[str]]:
    """One person of each role; their passwords come by variables."""
    return [
        ["add_user", role, "--role", role, "--password-from-env", f"DEMO_PASSWORD_{role.upper()}"]
        for role in ROLES
    ]
