"""What reading a server of 10,000 tables, 25,000 indexes and 5,000 statements costs that server."""

import os
from collections.abc import Iterator
from pathlib import Path

from dbadmin.connections import Session, limit
from dbadmin.probes import PROBES, Probe
from tests.bench.big_catalog import make_statements, make_tables
from tests.bench.frame import Bench, Figure

TABLES = int(os.environ.get("BENCH_TABLES", "10000"))
STATEMENTS = int(os.environ.get("BENCH_STATEMENTS", "5000"))
#: What our role's statements have written, to temporary files and to the WAL.
WRITTEN = """
select coalesce(sum(temp_blks_written), 0)::int8 as temp_blocks,
    coalesce(sum(wal_bytes), 0)::int8 as wal_bytes
from pg_stat_statements(false) where userid = (select oid from pg_roles where rolname = current_user)
"""


def processor_ms(pid: int) -> float:
    """Processor time that a process has used."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def cost_ms(probe: Probe, session: Session, times: int = 3) -> float:
    """Processor time that one reading costs the server, the least of a few."""
    probe.read(session)
    taken = []
    for _ in range(times):
        before = processor_ms(session.connection.info.backend_pid)
        probe.read(session)
        taken.append(processor_ms(session.connection.info.backend_pid) - before)
    return min(taken)


def figures(bench: Bench) -> Iterator[Figure]:
    """Each minute's work, the dearest part of it, and what is written."""
    with bench.postgres.connect() as connection:
        connection.execute("create database big_catalog")
    with bench.postgres.connect("big_catalog") as connection:
        connection.execute("create extension pg_stat_statements")
        connection.execute("grant pg_read_all_data to dbadmin_monitor")
    dsn = bench.postgres.dsn_for("big_catalog")
    make_tables(dsn, TABLES)
    with bench.postgres.connect("big_catalog") as connection:
        connection.execute("select pg_stat_statements_reset()")
    make_statements(dsn, STATEMENTS, TABLES)
    with bench.postgres.connect("big_catalog", "dbadmin_monitor") as connection:
        limit(connection)
        session = Session(connection)
        yield from measured(session)


def measured(session: Session) -> Iterator[Figure]:
    """The figures, on a session of the monitoring role."""
    sampled = [probe for probe in PROBES.values() if probe.every and probe.source == "postgres"]
    costs = {probe.name: cost_ms(probe, session) for probe in sampled}
    before = session.row(WRITTEN)
    for probe in sampled:
        probe.read(session)
    after = session.row(WRITTEN)
    # A reading that is due less often counts with its share of a minute, one that is due more often twice.
    a_minute = sum(costs[probe.name] * 60 / (probe.every or 60) for probe in sampled)
    each_minute = sum(costs[probe.name] for probe in sampled if probe.every and probe.every <= 60)
    yield Figure("round_cpu_ms", a_minute, 110)
    yield Figure("round_of_the_minute_cpu_ms", each_minute, 60)
    yield Figure("statements_cpu_ms", costs["statements"], 10)
    yield Figure("tables_cpu_ms", costs["tables"], 150)
    yield Figure("temp_blocks", after.temp_blocks - before.temp_blocks, 0)
    yield Figure("wal_bytes", after.wal_bytes - before.wal_bytes, 0)
