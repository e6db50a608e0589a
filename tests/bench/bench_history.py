"""What a day of 5,000 statements takes on disk, and how fast charts and tops of it are read."""

import datetime as dt
import os
import random
import time
from collections.abc import Callable, Iterator

from django.db import connection

from dbadmin.models import Server
from monitoring import hours
from monitoring.blocks import KEPT, find_source
from monitoring.keeper import Keeper
from monitoring.layouts import Look
from monitoring.recorder import Known, Sample
from monitoring.series import series
from monitoring.windows import top
from tests.bench import other_series
from tests.bench.frame import Bench, Figure

HOURS = int(os.environ.get("BENCH_HOURS", "24"))
STATEMENTS, CHANGING = 5000, 500
COLUMNS = (
    "calls_total",
    "exec_seconds_total",
    "rows_total",
    "hit_blocks_total",
    "read_blocks_total",
    "dirtied_blocks_total",
    "written_blocks_total",
    "temp_written_blocks_total",
    "read_seconds_total",
    "wal_bytes_total",
)


class Workload:
    """Statements as busy systems have them: a few run always, most now and then, each with a habit of its own."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)
        keys = ((10, 5, number * 7919, True) for number in range(STATEMENTS))
        self.lines = [Known(key, Look((), (), [])) for key in keys]
        self.weights = [1 / (rank + 20) ** 0.9 for rank in range(STATEMENTS)]
        self.habits = [self.habit() for _ in self.lines]

    def habit(self) -> tuple[float, float, float, float, float]:
        """Calls a minute, microseconds a call, rows a call, blocks a call, WAL a call."""
        draw = self.random
        writes = draw.random() < 0.25
        return (
            draw.lognormvariate(2.0, 1.5),
            draw.lognormvariate(6.5, 1.5),
            draw.choice([0, 1, 1, 1, 10, 50]),
            draw.lognormvariate(2.5, 1.2),
            draw.lognormvariate(5.5, 0.7) if writes else 0.0,
        )

    def minute(self, at: dt.datetime) -> Sample:
        """The statements that ran in one minute."""
        sample = Sample("statements", "", at, 60.0, False, COLUMNS)
        for place in sorted(set(self.random.choices(range(STATEMENTS), self.weights, k=int(CHANGING * 1.3)))):
            sample.add(self.lines[place], self.values(self.habits[place]))
        return sample

    def values(self, habit: tuple[float, float, float, float, float]) -> list[int | None]:
        """Increases of one statement in one minute."""
        draw = self.random
        rate, each, rows, blocks, wal = habit
        calls = 1 + int(draw.expovariate(1 / rate))
        missed = int(calls * blocks * draw.random() * 0.02) if draw.random() < 0.3 else 0
        spilled = int(draw.expovariate(1 / 200)) if draw.random() < 0.01 else 0
        return [
            calls,
            int(calls * each * draw.lognormvariate(0, 0.2)),
            int(calls * rows),
            int(calls * blocks * draw.lognormvariate(0, 0.05)),
            missed,
            int(calls * 0.3) if wal else 0,
            0,
            spilled,
            int(missed * 80 * draw.lognormvariate(0, 0.3)),
            int(calls * wal * draw.lognormvariate(0, 0.05)),
        ]


def disk_bytes(table: str) -> int:
    """All partitions of a table with their indexes, and of their long values."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = %s::regclass",
            [table],
        )
        return int(cursor.fetchone()[0] or 0)


def fill(server: Server, start: dt.datetime) -> Iterator[Figure]:
    """A day, minute by minute, each hour closed when it is over."""
    keeper, workload = Keeper(), Workload()
    samples = in_last_hour = 0
    packing = 0.0
    before, totals_before = disk_bytes("monitoring_hour"), disk_bytes("monitoring_total")
    for hour in range(HOURS):
        begin = start + dt.timedelta(hours=hour)
        open_bytes, in_last_hour = disk_bytes("monitoring_minute"), 0
        for minute in range(60):
            sample = workload.minute(begin + dt.timedelta(minutes=minute, seconds=5))
            in_last_hour += len(sample.lines)
            keeper.keep(server, [sample], [], [])
        if hour == 0:
            during = (disk_bytes("monitoring_minute") - open_bytes) / in_last_hour
            yield Figure("bytes_a_sample_in_the_open_hour", during, 30)
        samples += in_last_hour
        started = time.process_time()
        hours.close(find_source(server.pk, "statements").pk, begin)
        packing += time.process_time() - started
    yield Figure("bytes_a_sample_after_the_hour", (disk_bytes("monitoring_hour") - before) / samples, 8)
    totals = (disk_bytes("monitoring_total") - totals_before) / HOURS * 24 / 1e6
    yield Figure("totals_mb_a_day", totals, 4)
    yield Figure("packing_cpu_seconds_a_day", packing * 24 / HOURS, 30)


def figures(bench: Bench) -> Iterator[Figure]:
    """Sizes, then speeds of what pages ask for."""
    server = bench.server
    today = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - dt.timedelta(days=1)
    yield from other_series.figures(server, start)
    yield from fill(server, start)
    end = start + dt.timedelta(hours=HOURS)
    with connection.cursor() as cursor:
        cursor.execute("vacuum analyze monitoring_hour, monitoring_total, monitoring_line")
    line = top(server, start, end, "exec_seconds_total", 1)[0]
    yield least_cpu(
        "statement_day", 5, lambda: series(server, "statements", "calls_total", line.key, start, end)
    )
    last = end - dt.timedelta(hours=1)
    yield least_cpu("top_of_an_hour", 5, lambda: top(server, last, end, "exec_seconds_total"))
    yield least_cpu("top_of_a_day", 50, lambda: top(server, start, end, "exec_seconds_total"))
    KEPT.clear()
    odd = dt.timedelta(minutes=17)
    yield least_cpu(
        "top_of_an_uneven_day", 100, lambda: top(server, start + odd, end - odd, "exec_seconds_total")
    )


def least_cpu(name: str, bar: float, action: Callable[[], object]) -> Figure:
    """Processor time of our own process, the least of several: what else the machine does matters little."""
    action()
    taken = []
    for _ in range(20):
        started = time.thread_time()
        action()
        taken.append(time.thread_time() - started)
    return Figure(f"{name}_cpu_ms", min(taken) * 1000, bar)
