"""/metrics: the latest readings of all servers for Prometheus, from our own store, so many series a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dbadmin import readings
from dbadmin.api import door
from dbadmin.models import Server, ServerState
from dbadmin.permissions import servers_with
from dbadmin.probes import PROBES, Probe, Reading
from dbadmin.units import unit_of
from monitoring.alert_models import Alert
from monitoring.layouts import Key, bare, is_counter, lines_of, plan_for, scale_of

#: Series of one server, over all readings, and lines of one reading; the rest is counted, not told.
MOST_SERIES, MOST_LINES = 3000, 200
#: Statements that are told apart; the others are added up.
MOST_STATEMENTS = 25
#: Readings that hold texts or nothing to measure.
LEFT_OUT = {"settings", "statement_texts", "readiness", "sessions", "functions"}
#: Readings in the order in which they are told while there is room: the small and telling ones first.
FIRST = ("server_vitals", "databases", "replication_lag", "replication_slots", "wraparound", "backup_age")
ABOUT_STATEMENTS = "statements"


Family = CounterMetricFamily | GaugeMetricFamily


@dataclass
class Told:
    """The families, and how many series each server has by now."""

    families: dict[str, Family] = field(default_factory=dict)
    series: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    def add(self, server: str, family: Family, labels: list[str], value: float) -> None:
        """One sample, unless the server has enough."""
        if self.series.get(server, 0) >= MOST_SERIES:
            self.dropped[server] = self.dropped.get(server, 0) + 1
            return
        self.series[server] = self.series.get(server, 0) + 1
        family.add_metric(labels, value)

    def family(self, name: str, about: str, labels: list[str], counts: bool) -> Family:
        """The family of a name; made when it is first needed."""
        if name not in self.families:
            kind: type[Family] = CounterMetricFamily if counts else GaugeMetricFamily
            self.families[name] = kind(name, about, labels=labels)
        return self.families[name]


class Fleet(Collector):
    """Asks the store once for each scrape."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self.servers = {server.pk: server for server in servers}

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self.states()
        yield self.alerts()
        told = Told()
        names = [name for name, probe in PROBES.items() if probe.every is not None and name not in LEFT_OUT]
        found = readings.latest_of(self.servers.values(), names)
        for (_, database, _), reading in sorted(found.items(), key=lambda item: importance(item[1].probe)):
            if is_true_still(reading):
                tell(told, reading, database)
        yield from told.families.values()
        yield self.counted("dbadmin_metrics_series", "Series of the server in this answer.", told.series)
        yield self.counted(
            "dbadmin_metrics_dropped_series", "Series that found no room in this answer.", told.dropped
        )

    def states(self) -> Iterator[Metric]:
        """Does the server answer, and what does our reading cost it?"""
        up = GaugeMetricFamily("dbadmin_up", "1 while the server answers the sampler.", labels=["server"])
        asked = GaugeMetricFamily(
            "dbadmin_asked_timestamp_seconds", "When the sampler last asked the server.", labels=["server"]
        )
        cost = GaugeMetricFamily(
            "dbadmin_cost_ratio", "Time of our own statements, of one core.", labels=["server"]
        )
        for state in ServerState.objects.filter(server__in=self.servers).order_by("server_id"):
            name = self.servers[state.server_id].name
            if state.asked_at is not None:
                up.add_metric([name], 0.0 if state.trouble else 1.0)
                asked.add_metric([name], state.asked_at.timestamp())
            if state.cost_ratio is not None:
                cost.add_metric([name], state.cost_ratio)
        yield from (up, asked, cost)

    def alerts(self) -> Metric:
        """How many are open."""
        found = GaugeMetricFamily("dbadmin_alerts", "Open alerts.", labels=["server", "severity"])
        still = Alert.objects.filter(resolved_at=None, server__in=self.servers)
        counts: dict[tuple[int | None, str], int] = {
            (row["server_id"], row["severity"]): row["n"]
            for row in still.values("server_id", "severity").annotate(n=Count("id"))
        }
        for pk, server in self.servers.items():
            for severity in ("warning", "critical"):
                found.add_metric([server.name, severity], counts.get((pk, severity), 0))
        return found

    def counted(self, name: str, about: str, numbers: dict[str, int]) -> Metric:
        """One number for each server."""
        found = GaugeMetricFamily(name, about, labels=["server"])
        for server in self.servers.values():
            found.add_metric([server.name], numbers.get(server.name, 0))
        return found


def importance(probe: Probe) -> tuple[int, str]:
    """The order in which readings take their room; of a table's many lines last."""
    if probe.name in FIRST:
        return FIRST.index(probe.name), ""
    return (len(FIRST) + (probe.scope == "database"), probe.name)


def is_true_still(reading: Reading) -> bool:
    """Old or refused readings are left out: Prometheus then knows that nothing is known."""
    return reading.problem is None and reading.trouble is None and not reading.is_stale


def tell(told: Told, reading: Reading, database: str) -> None:
    """Every series of a reading, as history has them."""
    probe = reading.probe
    plan = plan_for(probe, tuple(column.name for column in reading.columns))
    if plan is None:
        return
    found = lines_of(reading, plan)
    lines = statements(found, plan.columns) if probe.name == ABOUT_STATEMENTS else capped(found)
    of_database = [] if probe.scope != "database" else ["database"]
    where = [reading.server_name, *([database] if of_database else [])]
    # A key column may be called database too; then it stands for itself.
    keys = [name if name not in {"server", *of_database} else f"row_{name}" for name in probe.key]
    for place, column in enumerate(plan.columns):
        counts, scale = is_counter(column), scale_of(column)
        keyed = place < len(plan.keyed)
        labels = ["server", *of_database, *(keys if keyed else [])]
        for key, values in lines:
            if bool(key) != (keyed and bool(probe.key)) or values[place] is None:
                continue
            family = told.family(name_of(probe, column), about(probe, column), labels, counts)
            told.add(reading.server_name, family, [*where, *map(text, key)], values[place] / scale)
    told.dropped[reading.server_name] = told.dropped.get(reading.server_name, 0) + max(
        0, len(found) - len(lines)
    ) * len(plan.keyed)


Lines = list[tuple[Key, list[Any]]]


def capped(found: dict[Key, Any]) -> Lines:
    """The first lines of a reading: probes put first what matters."""
    lines = [(key, look.values) for key, look in found.items()]
    return [line for line in lines if not line[0]] + [line for line in lines if line[0]][:MOST_LINES]


def statements(found: dict[Key, Any], columns: tuple[str, ...]) -> Lines:
    """The most expensive statements, and all others as one: a label for each would drown Prometheus."""
    place = columns.index("exec_seconds_total")
    lines = sorted(found.items(), key=lambda item: item[1].values[place] or 0, reverse=True)
    first = [(key, look.values) for key, look in lines[:MOST_STATEMENTS]]
    rest = [look.values for _, look in lines[MOST_STATEMENTS:]]
    if not rest:
        return first
    added = [
        sum(known) if (known := [value for value in values if value is not None]) else None
        for values in zip(*rest, strict=True)
    ]
    return [*first, (("other",) * len(lines[0][0]), added)]


def name_of(probe: Probe, column: str) -> str:
    """dbadmin_tables_total_bytes; of an aggregate its function too, unless it is a sum or there is but one row."""
    function, _, rest = column.partition("(")
    name = rest.removesuffix(")") if rest else column
    name = name.removesuffix("_total") if is_counter(column) else name
    name = name.removesuffix("_count") if name.endswith("_count") else name
    # A name that ends with _sum is a histogram's: Prometheus complains of it.
    suffix = f"_{function}" if rest and (function not in {"max", "sum"} or probe.key) else ""
    return f"dbadmin_{probe.name}_{name}{suffix}"


def about(probe: Probe, column: str) -> str:
    """The header's words."""
    name = bare(column)
    note = probe.notes.get(name, "")
    unit = unit_of(name).prometheus.removesuffix("_total")
    words = f"{probe.title}: {probe.column(name).label.lower()}"
    return f"{words}{f', {unit}' if unit else ''}{f'. {note}' if note else ''}"


def text(value: Any) -> str:
    """A label's value."""
    return "" if value is None else str(value)


@door("GET")
def metrics(request: HttpRequest) -> HttpResponse:
    """For Prometheus, with an API token: authorization: {credentials: dba_…}."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Fleet(servers_with(request.user, "monitoring.view").filter(enabled=True)))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)
