"""What the series beside statements take on disk: tables, indexes, waits and the vital signs of a big, busy server."""

import datetime as dt
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import connection

from dbadmin.connections import row_class
from dbadmin.models import Server
from dbadmin.probes import PROBES, Reading
from monitoring import hours
from monitoring.blocks import find_source
from monitoring.epochs import Evidence
from monitoring.keeper import Keeper
from monitoring.layouts import Look
from monitoring.recorder import Known, Moment, Recorder, Sample
from monitoring.waits import COLUMN
from tests.bench.frame import Figure

SPAN = 4
#: Probe -> lines, and which part of them moves between two looks.
SIZES = {
    "tables": (10_000, 0.05),
    "indexes": (25_000, 0.05),
    "server_vitals": (1, 1.0),
}
WAITS, WAITING = 400, 40
#: As statements take, whose lines have ten numbers; a table has thirteen, eight of them kept whole each hour, and the
#: vital signs are a line alone.
OPEN, CLOSED = {"tables": 39, "server_vitals": 200}, {"tables": 12, "server_vitals": 30}
STORED = """
select coalesce(sum(pg_column_size(kept.*)), 0) from {} kept where source_id = %s and {} >= %s and {} < %s
"""


class Busy:
    """The rows of a probe: a few lines move always, most now and then, each in some of its columns."""

    def __init__(self, probe: str, lines: int, part: float) -> None:
        self.probe, self.random = PROBES[probe], random.Random(11)
        self.names = (*self.probe.key, *(name for name in self.probe.series if name != "rows"))
        self.make = row_class(self.names)._make
        self.moving = max(1, round(lines * part))
        self.weights = [1 / (rank + 20) ** 0.9 for rank in range(lines)]
        self.rows: list[list[Any]] = [self.first(number) for number in range(lines)]

    def first(self, number: int) -> list[Any]:
        """A line as it is when we come to know it: few are large, and most hold nothing that is dead."""
        values = [self.begun(name) for name in self.names[len(self.probe.key) :]]
        return [f"{name}_{number}" for name in self.probe.key] + values

    def begun(self, name: str) -> int:
        """A first value."""
        if name.endswith("_bytes"):
            return 8192 * int(self.random.lognormvariate(3, 2))
        if name == "dead_rows":
            return int(self.random.expovariate(1 / 50)) if self.random.random() < 0.3 else 0
        return int(self.random.lognormvariate(5, 2))

    def move(self) -> int:
        """Some lines change: counters grow, gauges go up and down; returns how many."""
        chosen = set(self.random.choices(range(len(self.rows)), self.weights, k=round(self.moving * 1.3)))
        for number in chosen:
            row = self.rows[number]
            for place in range(len(self.probe.key), len(self.names)):
                if self.random.random() < 0.6:
                    row[place] = self.moved(self.names[place], row[place])
        return len(chosen)

    def moved(self, name: str, value: int) -> int:
        """The next value: of a counter, of a size in pages, of another gauge."""
        if name.endswith("_total"):
            return value + 1 + int(self.random.expovariate(1 / 300))
        if name.endswith("_bytes"):
            return value + 8192 if self.random.random() < 0.1 else value
        return max(0, value + round(self.random.gauss(0, 5)))

    def reading(self, at: dt.datetime) -> Reading:
        """What a look at them gives."""
        columns = [self.probe.column(name) for name in self.names]
        return Reading(self.probe, "bench", "", at, 1.0, columns, [self.make(row) for row in self.rows])


def figures(server: Server, start: dt.datetime) -> Iterator[Figure]:
    """Some hours of each, every hour closed when it is over."""
    for probe, (lines, part) in SIZES.items():
        yield from of_samples(server, probe, start, looks(Busy(probe, lines, part), start))
    yield from of_samples(server, "waits_by_statement", start, waits(start))


def looks(busy: Busy, start: dt.datetime) -> Iterator[Sample]:
    """What the recorder makes of a look at each interval."""
    every, recorder = max(60, round(busy.probe.every or 60)), Recorder()
    always = Evidence(start, start, 150018, "1", False, (), (), 0, None)
    for tick in range(SPAN * 3600 // every):
        busy.move()
        at = start + dt.timedelta(seconds=tick * every + 5)
        sample, _ = recorder.record(busy.reading(at), Moment(at, float(tick * every), always, always))
        if sample:
            yield sample


def waits(start: dt.datetime) -> Iterator[Sample]:
    """Who waited for what in each minute."""
    draw = random.Random(13)
    lines = [Known(("LWLock", f"wait_{n % 9}", "shop", n * 7919), Look((), (), [])) for n in range(WAITS)]
    for minute in range(SPAN * 60):
        sample = Sample(
            "waits_by_statement", "", start + dt.timedelta(minutes=minute, seconds=5), 60.0, False, (COLUMN,)
        )
        for number in sorted({int(draw.paretovariate(0.6)) % WAITS for _ in range(WAITING)}):
            sample.add(lines[number], [1_000_000 * (1 + int(draw.expovariate(0.5)))])
        yield sample


def of_samples(server: Server, probe: str, start: dt.datetime, samples: Iterable[Sample]) -> Iterator[Figure]:
    """Bytes for each line that a tick keeps, while its hour is open and after it."""
    keeper, kept = Keeper(), Counter[dt.datetime]()
    for sample in samples:
        kept[sample.taken_at.replace(minute=0, second=0)] += len(sample.lines)
        keeper.keep(server, [sample], [], [])
    source = find_source(server.pk, probe).pk
    during = stored("monitoring_minute", "taken_at", source, start) / sum(kept.values())
    yield Figure(f"{probe}_bytes_a_sample_in_the_open_hour", during, OPEN.get(probe, 30))
    for hour in kept:
        hours.close(source, hour)
    after = stored("monitoring_hour", "starts_at", source, start) / sum(kept.values())
    yield Figure(f"{probe}_bytes_a_sample_after_the_hour", after, CLOSED.get(probe, 8))


def stored(table: str, column: str, source: int, start: dt.datetime) -> int:
    """Bytes of the rows of a source, long values as they are compressed."""
    with connection.cursor() as cursor:
        cursor.execute(
            STORED.format(table, column, column), [source, start, start + dt.timedelta(hours=SPAN)]
        )
        return int(cursor.fetchone()[0])
