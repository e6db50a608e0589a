"""What a demo consists of: three database clusters, the servers beside them, and the product's processes."""

import hashlib
import json
import os
from pathlib import Path

from devtools import commands, processes, venv
from devtools.cluster import Cluster
from devtools.memory import ROLES, Memory
from devtools.places import Places, remove
from devtools.ports import HOST, answers_http
from devtools.processes import PRODUCT
from devtools.say import Say
from devtools.servers import Programs
from devtools.supervisor import Service, Supervisor

DATABASE = "academy"
SLOT = "academy_replica"
BUCKET = "dbadmin-demo"

TARGET_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "track_commit_timestamp": "on",
    "wal_level": "replica",
    "max_slot_wal_keep_size": "1GB",
    "max_wal_size": "1GB",
    "shared_buffers": "128MB",
    "log_lock_waits": "on",
    "hot_standby_feedback": "on",
    # A restart must not take long, and the disk of a demo holds nothing that cannot be made again.
    "synchronous_commit": "off",
}
CONTROL_SETTINGS = {"shared_buffers": "64MB"}

# The roles of a server that is looked after; docs/servers.md tells how to make them with fewer rights.
ROLES_SQL = """
select format('create role %I login', name)
from unnest(array['dbadmin_monitor', 'dbadmin_operate', 'academy']) name
where not exists (select from pg_catalog.pg_roles where rolname = name) \\gexec
alter role dbadmin_monitor password '{dbadmin_monitor}';
alter role dbadmin_operate superuser password '{dbadmin_operate}';
alter role academy password '{academy}';
grant pg_monitor to dbadmin_monitor;
select 'create database academy owner academy'
where not exists (select from pg_catalog.pg_database where datname = 'academy') \\gexec
select pg_catalog.pg_create_physical_replication_slot('{slot}', true)
where not exists (select from pg_catalog.pg_replication_slots where slot_name = '{slot}');
"""
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
        for name in ("redis", f"s3/{BUCKET}", "state"):
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

    def start_servers(self) -> None:
        """The databases, Redis, S3, and the pooler."""
        for cluster in (self.control, self.target):
            cluster.stop_leftover()
            cluster.create()
        self.supervisor.start(
            processes.postgres(self.control, self.log("control"), processes.CONTROL),
            processes.postgres(self.target, self.log("target"), processes.TARGET),
            processes.redis(
                self.programs,
                self.memory.port("redis"),
                self.memory.password("redis"),
                self.own / "redis",
                self.log("redis"),
                keeps=True,
            ),
            self.s3(),
        )
        words = self.memory.facts["passwords"]
        self.control.sql(CONTROL_SQL.format(**words))
        self.target.sql(ROLES_SQL.format(**words, slot=SLOT))
        self.start_replica()
        if self.programs.pgbouncer:
            self.supervisor.start(self.pooler())

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

    def pooler(self) -> Service:
        """PgBouncer before the target."""
        monitor = {"dbadmin_monitor": self.memory.password("dbadmin_monitor")}
        directory = self.places.server_directory("demo", "pgbouncer")
        port = self.memory.port("pgbouncer")
        return processes.pooler(self.programs, port, self.target, monitor, directory, self.log("pgbouncer"))

    def start_replica(self) -> None:
        """A streaming copy of the target; one that cannot follow any more is made again."""
        self.replica.stop_leftover()
        if "lost" in self.target.sql("select wal_status from pg_catalog.pg_replication_slots"):
            remove(self.replica.data)
            self.target.sql(f"select pg_drop_replication_slot('{SLOT}')")
            self.target.sql(f"select pg_create_physical_replication_slot('{SLOT}', true)")
        if not self.replica.exists():
            self.replica.copy_of(self.target, SLOT)
        # The target's port may be another one than last time.
        conninfo = (
            f"{self.target.conninfo()} password={self.target.password} application_name={DATABASE}-replica"
        )
        lines = [f"primary_conninfo = '{conninfo}'", f"primary_slot_name = '{SLOT}'"]
        self.replica.write(self.replica.data / "postgresql.auto.conf", "\n".join(lines) + "\n")
        self.supervisor.start(processes.postgres(self.replica, self.log("replica"), processes.REPLICA))

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
            "DBADMIN_DEMO": "1",
            "SAMPLE_DSN": self.sample_dsn(),
            "SAMPLE_POOLER_DSN": pooled,
            "DEMO_S3_KEY": memory.password("s3_key"),
            "DEMO_S3_SECRET": memory.password("s3_secret"),
            **{f"DEMO_PASSWORD_{role.upper()}": memory.password(role) for role in ROLES},
        }

    def preparations(self) -> list[list[str]]:
        """The product's own commands that make an empty control database useful."""
        operate = self.target.dsn(DATABASE, "dbadmin_operate", self.memory.password("dbadmin_operate"))
        words = ["add_server", DATABASE, self.monitor_dsn("target"), "--operate-dsn", operate]
        words += ["--environment", "production", "--redis-url", self.environment()["REDIS_URL"]]
        if self.programs.pgbouncer:
            words += ["--pgbouncer-dsn", self.monitor_dsn("pgbouncer", "pgbouncer")]
        replica = [
            "add_server",
            f"{DATABASE}-replica",
            self.monitor_dsn("replica"),
            "--environment",
            "production",
        ]
        people = [
            ["add_user", role, "--role", role, "--password-from-env", f"DEMO_PASSWORD_{role.upper()}"]
            for role in ROLES
        ]
        return [
            ["migrate", "--verbosity", "0"],
            ["createcachetable"],
            words,
            [*replica, "--primary", DATABASE],
            *people,
        ]

    def prepare(self) -> None:
        """Do the preparations when they, or the migrations, differ from those that were done."""
        todo = self.preparations()
        migrations = sorted(path for path in self.places.checkout.glob("*/migrations/*.py"))
        evidence = json.dumps(todo).encode() + b"".join(path.read_bytes() for path in migrations)
        mark = hashlib.sha256(evidence).hexdigest()
        done = self.control.data / "dbadmin-prepared"
        if done.exists() and done.read_text() == mark:
            return
        commands.run(
            [self.places.python, "-m", "devtools.together"],
            log=self.log("prepare"),
            says="The control database could not be prepared.",
            say=self.say,
            env=self.environment(),
            cwd=self.places.checkout,
            stdin=json.dumps(todo),
        )
        done.write_text(mark)

    def load_sample(self) -> None:
        """Fill the sample's database; what is there already stays."""
        commands.run(
            self.manage("sample", "load"),
            log=self.log("sample"),
            says="The sample could not be loaded.",
            say=self.say,
            env=self.environment(),
            cwd=self.places.checkout,
        )

    def manage(self, *words: str) -> list[str]:
        """The words that run a management command."""
        return [str(self.places.python), str(self.places.checkout / "manage.py"), *words]

    def start_product(self) -> None:
        """Web, workers, scheduler, sampler, and the people who use the sample."""
        port = self.memory.port("web")
        web = [str(self.places.python), "-m", "gunicorn", "dbadmin.wsgi", "-b", f"{HOST}:{port}", "-w", "2"]
        web += ["-k", "gthread", "--threads", "8", "--no-control-socket", "--access-logfile", "-"]
        parts = {
            "web": web,
            "worker-1": self.manage("worker"),
            "worker-2": self.manage("worker"),
            "scheduler": self.manage("scheduler"),
            "sampler": self.manage("sampler"),
            "workload": self.manage("sample", "work"),
        }
        services = [self.product(name, argv) for name, argv in parts.items()]
        services[0].env = {**services[0].env, "DBADMIN_POOL": "1"}
        services[0].is_ready = lambda: answers_http(f"{self.memory.url}accounts/login/")
        self.supervisor.start(*services)

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
