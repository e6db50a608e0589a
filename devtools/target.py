"""The demo's PostgreSQL to look after: a primary with the sample, a streaming replica, PgBouncer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from devtools import processes
from devtools.cluster import Cluster
from devtools.memory import Memory
from devtools.places import remove
from devtools.supervisor import Supervisor

DATABASE = "academy"
SLOT = "academy_replica"

TARGET_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "track_commit_timestamp": "on",
    "wal_level": "replica",
    "max_slot_wal_keep_size": "1GB",
    "max_wal_size": "512MB",
    "shared_buffers": "128MB",
    "log_lock_waits": "on",
    "hot_standby_feedback": "on",
    # The disk of a demo holds nothing that cannot be made again.
    "synchronous_commit": "off",
}
# For the time of the first load: a crash would only mean to load again.
LOADING = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}

# The roles of a server that is looked after; docs/servers.md tells how to make them with fewer rights.
ROLES_SQL = """
select format('create role %I login', name)
from unnest(array['dbadmin_monitor', 'dbadmin_operate', 'academy']) name
where not exists (select from pg_catalog.pg_roles where rolname = name) \\gexec
alter role dbadmin_monitor password '{dbadmin_monitor}';
alter role dbadmin_operate superuser password '{dbadmin_operate}';
alter role academy password '{academy}';
grant pg_monitor, pg_read_all_data to dbadmin_monitor;
select 'create database academy owner academy'
where not exists (select from pg_catalog.pg_database where datname = 'academy') \\gexec
"""
SLOT_SQL = """
select pg_catalog.pg_create_physical_replication_slot('{slot}', true)
where not exists (select from pg_catalog.pg_replication_slots where slot_name = '{slot}');
"""
STATUS_SQL = "select wal_status from pg_catalog.pg_replication_slots where slot_name = '{slot}'"
# Those of the replica and of a WAL receiver; no standby of this primary runs while it is loaded.
DROP_SLOTS_SQL = "select pg_catalog.pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots"


class Target:
    """The servers that the product looks after."""

    def __init__(self, primary: Cluster, replica: Cluster, memory: Memory, supervisor: Supervisor) -> None:
        """Nothing runs yet."""
        self.primary, self.replica, self.memory, self.supervisor = primary, replica, memory, supervisor

    def stop_leftovers(self) -> None:
        """End what outlived a killed demo."""
        self.replica.stop_leftover()
        self.primary.stop_leftover()

    def is_loaded(self, mark: str) -> bool:
        """Whether the sample was loaded, to its end."""
        done = self.primary.data / "sample-loaded"
        return done.exists() and done.read_text() == mark

    def load(self, fill: Callable[[], None], mark: str) -> None:
        """Fill the database while no replica follows and nothing is flushed, then stop the server."""
        # A replica cannot follow a primary that wrote the least of its log.
        remove(self.replica.data)
        data = self.primary.data
        if (data / "postmaster.pid").exists() and not (data / "sample-loaded").exists():
            remove(data)  # the machine went down while nothing was flushed
        self.primary.create()
        fast = replace(self.primary, settings={**self.primary.settings, **LOADING})
        if any((self.primary.data / "pg_replslot").iterdir()):
            self.start_primary()
            self.primary.sql(DROP_SLOTS_SQL)
            self.supervisor.stop_one(self.primary.data.name)
        self.supervisor.start(processes.postgres(fast, self.primary.log, processes.TARGET))
        self.primary.sql(ROLES_SQL.format(**self.memory.facts["passwords"]))
        fill()
        self.supervisor.stop_one(self.primary.data.name)
        (self.primary.data / "sample-loaded").write_text(mark)

    def start_primary(self) -> None:
        """Start the primary as it is meant to run."""
        self.supervisor.start(processes.postgres(self.primary, self.primary.log, processes.TARGET))

    def start(self, directory: Path, log: Path) -> None:
        """Start the primary, its replica, and the pooler whose files lie in the directory."""
        self.start_primary()
        self.primary.sql(ROLES_SQL.format(**self.memory.facts["passwords"]) + SLOT_SQL.format(slot=SLOT))
        self.start_replica()
        programs = self.primary.programs
        if programs.pgbouncer:
            users = {"dbadmin_monitor": self.memory.password("dbadmin_monitor")}
            port = self.memory.port("pgbouncer")
            self.supervisor.start(processes.pooler(programs, port, self.primary, users, directory, log))

    def start_replica(self) -> None:
        """A streaming copy of the primary; one that cannot follow any more is made again."""
        if "lost" in self.primary.sql(STATUS_SQL.format(slot=SLOT)):
            remove(self.replica.data)
            self.primary.sql(f"select pg_drop_replication_slot('{SLOT}');" + SLOT_SQL.format(slot=SLOT))
        if not self.replica.exists():
            self.replica.copy_of(self.primary, SLOT)
        # The primary's port may be another one than last time.
        name = f"{DATABASE}-replica"
        conninfo = f"{self.primary.conninfo()} password={self.primary.password} application_name={name}"
        lines = [f"primary_conninfo = '{conninfo}'", f"primary_slot_name = '{SLOT}'"]
        self.replica.write(self.replica.data / "postgresql.auto.conf", "\n".join(lines) + "\n")
        self.supervisor.start(processes.postgres(self.replica, self.replica.log, processes.REPLICA))
