"""What it costs us to read a fleet, and to read a large stored reading back for a page."""

import datetime as dt
import time
from collections.abc import Iterator

from django.utils import timezone

from dbadmin import reading_store, readings
from dbadmin.connections import row_class
from dbadmin.models import Server
from dbadmin.probes import PROBES, Reading
from monitoring.rounds import Batch, Round
from monitoring.writer import Store
from tests.bench.bench_history import least_cpu
from tests.bench.frame import Bench, Figure
from tests.fixtures.servers import server_row

SERVERS, TABLES = 40, 10_000


def large_reading(server: Server) -> Reading:
    """Ten thousand tables, as the probe tells of them."""
    probe = PROBES["tables"]
    names = (
        "schema", "table", "kind", "total_bytes", "heap_bytes", "index_bytes", "live_rows", "dead_rows",
        "dead_ratio", "sequential_scans_total", "index_scans_total", "inserted_rows_total",
        "updated_rows_total", "deleted_rows_total", "last_vacuum_at", "last_analyze_at",
    )  # fmt: skip
    now, make = timezone.now(), row_class(names)._make
    rows = [
        make(
            (f"schema_{n % 20}", f"table_{n}", "table", n * 24_576, n * 8192, n * 16_384, n * 31, n % 977,
             (n % 977) / 1000, n * 3, n * 17, n * 40, n * 7, n * 2, now - dt.timedelta(seconds=n), now)
        )
        for n in range(TABLES)
    ]  # fmt: skip
    return Reading(probe, server.name, "postgres", now, 80.0, [probe.column(name) for name in names], rows)


def figures(bench: Bench) -> Iterator[Figure]:
    """A minute of a fleet, then large readings."""
    yield from fleet(bench)
    server = bench.server
    reading_store.store(server, large_reading(server))
    yield least_cpu("10000_tables_known", 2, lambda: readings.latest(server, "tables", "postgres"))

    def anew() -> None:
        reading_store.DECODED.clear()
        readings.latest(server, "tables", "postgres")

    yield least_cpu("10000_tables_first_time", 150, anew)
    yield least_cpu("10000_tables_stored", 400, lambda: reading_store.store(server, large_reading(server)))


def fleet(bench: Bench) -> Iterator[Figure]:
    """The share of a core that a hundred servers take of one sampler, by the work of one minute on some."""
    store, minute = Store(), [probe for probe in PROBES.values() if probe.every and probe.every <= 60]
    rounds = []
    for number in range(SERVERS):
        batches: list[Batch] = []
        one = Round(server_row(f"fleet-{number}", bench.postgres), batches.append)
        one.run()
        for batch in batches:
            store.write(batch)
        rounds.append(one)
    started, began = time.process_time(), time.perf_counter()
    for one in rounds:
        batch = Batch(one.server)
        places = {"database": one.databases, "instance": [""]}
        due = [(place, probe.name) for probe in minute for place in places[probe.scope]]
        one.read_all(one.open(), due, batch)
        store.write(batch)
    used, took = time.process_time() - started, time.perf_counter() - began
    yield Figure("hundred_servers_share_of_a_core", used / SERVERS * 100 / 60, 0.5)
    # One after the other; the sampler reads them side by side.
    yield Figure("hundred_servers_seconds", took / SERVERS * 100, 60)
    for one in rounds:
        one.close()
