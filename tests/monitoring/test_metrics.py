"""/metrics is what Prometheus understands: capped, true, and for those with a token."""

import datetime as dt
import json
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from dbadmin import readings
from dbadmin.models import ApiToken, Grant, Server, ServerState
from dbadmin.probes import PROBES, Reading
from dbadmin.units import unit_of
from devtools import stock
from monitoring import metrics as page
from monitoring.alert_models import Alert
from tests.running import scratch

pytestmark = pytest.mark.django_db
COLUMNS = json.loads((Path(__file__).parent / "columns.json").read_text())
DASHBOARD = Path(__file__).parent.parent.parent / "docs" / "grafana-dashboard.json"


def keep(server, probe, columns, *rows, database="", age=0.0):
    made, names = PROBES[probe], columns.split()
    row = namedtuple("Row", names)
    at = timezone.now() - dt.timedelta(seconds=age)
    found = [row(*values) for values in rows]
    readings.store(
        server, Reading(made, server.name, database, at, 1.0, [made.column(n) for n in names], found)
    )


@pytest.fixture
def shop():
    server = Server.objects.create(name="shop")
    now = timezone.now()
    ServerState.objects.create(server=server, asked_at=now, reached_at=now, cost_ratio=0.002)
    keep(server, "server_vitals", "connections_count connections_ratio commits_total", (12, 0.12, 4711))
    keep(
        server,
        "cache_hits",
        "database hit_ratio blocks_hit_total",
        ("app", 0.99, 5000),
        ('we"ird\\', None, 7),
    )
    keep(
        server,
        "tables",
        "schema table total_bytes updated_rows_total",
        ("public", "users", 8192, 3),
        database="app",
    )
    keep(server, "blocked_sessions", "pid wait_seconds", (1, 40.0), (2, 70.0))
    return server


@pytest.fixture
def scrape(user_as):
    """scrape(): the answer to an administrator's token; scrape(accept=…, user=…)."""

    def ask(accept="", user=None):
        text = ApiToken.make(user or user_as("admin"), "prometheus", "read").text
        return Client().get("/metrics", headers={"Authorization": f"Bearer {text}", "Accept": accept})

    return ask


def samples(answer, parse=prometheus):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(answer.content.decode())
        for sample in family.samples
    }


def test_every_number_has_its_unit_its_kind_and_its_labels(shop, scrape):
    found = samples(scrape())
    server = ("server", "shop")
    assert found["dbadmin_up", (server,)] == 1
    assert found["dbadmin_server_vitals_connections", (server,)] == 12
    assert found["dbadmin_server_vitals_connections_ratio", (server,)] == 0.12
    assert found["dbadmin_server_vitals_commits_total", (server,)] == 4711
    assert found["dbadmin_cache_hits_hit_ratio", (("database", "app"), server)] == 0.99
    assert found["dbadmin_cache_hits_blocks_hit_total", (("database", 'we"ird\\'), server)] == 7
    where = (("database", "app"), ("schema", "public"), server, ("table", "users"))
    assert found["dbadmin_tables_total_bytes", where] == 8192
    assert found["dbadmin_tables_updated_rows_total", where] == 3
    assert found["dbadmin_blocked_sessions_rows", (server,)] == 2
    assert found["dbadmin_blocked_sessions_wait_seconds", (server,)] == 70
    assert found["dbadmin_cost_ratio", (server,)] == 0.002


def test_unknown_is_absent_and_so_is_what_is_old_or_refused(shop, scrape):
    assert ("dbadmin_cache_hits_hit_ratio", (("database", 'we"ird\\'), ("server", "shop"))) not in samples(
        scrape()
    )
    keep(shop, "server_vitals", "connections_count connections_ratio", (99, 0.99), age=600)
    assert "dbadmin_server_vitals" not in scrape().content.decode()


def test_both_formats_are_spoken(shop, scrape):
    answer = scrape("application/openmetrics-text; version=1.0.0")
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    assert answer.content.decode().endswith("# EOF\n")
    assert samples(answer, openmetrics).keys() >= {("dbadmin_up", (("server", "shop"),))}
    assert scrape()["Content-Type"].startswith("text/plain")


def judged(text):
    """What promtool says of a scrape, and its status."""
    program = stock.promtool(scratch().places, scratch().say)
    if program is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, timeout=120)
    return (done.stdout + done.stderr).decode(), done.returncode


def test_promtool_has_nothing_to_complain_about(shop, scrape):
    """Of a number of each kind and unit that any reading has, and of names that no label should break."""
    for name in sorted(COLUMNS):
        columns = COLUMNS[name]
        if PROBES[name].every is not None and columns:
            keep(shop, name, " ".join(columns), [example(column) for column in columns], database="ap\np")
    text = scrape().content
    names = {family.name for family in prometheus(text.decode())}
    assert all(name.startswith("dbadmin_") for name in names)
    assert len(names) > 100
    assert judged(text) == ("", 0)


def test_promtool_would_complain(shop, scrape):
    """It is asked in earnest: a counter without its ending is found."""
    said, status = judged(b"# HELP shop_sold Sold.\n# TYPE shop_sold counter\nshop_sold 1\n")
    assert (said.strip(), status) == ('shop_sold counter metrics should have "_total" suffix', 3)


def example(column):
    """A value as a column of this name holds it."""
    if column.endswith(("_at", "_on")):
        return timezone.now()
    return 3 if unit_of(column).numeric else f'{column} "\\ ä'


def test_series_are_capped_and_the_rest_is_counted(shop, scrape, monkeypatch):
    monkeypatch.setattr(page, "MOST_SERIES", 40)
    rows = [("public", f"t{n}", 8192, n) for n in range(500)]
    keep(shop, "tables", "schema table total_bytes updated_rows_total", *rows, database="app")
    found = samples(scrape())
    server = (("server", "shop"),)
    assert found["dbadmin_metrics_series", server] == 40
    assert found["dbadmin_metrics_dropped_series", server] >= 960
    assert found["dbadmin_server_vitals_connections", server] == 12, "what tells most comes first"


def test_statements_are_a_few_and_the_others_together_without_their_text(shop, scrape):
    rows = [(10, 5, n, True, 1, float(n)) for n in range(1, 101)]
    names = "user_id database_id query_id toplevel calls_total exec_seconds_total"
    keep(shop, "statements", names, *rows)
    name = "dbadmin_statements_exec_seconds_total"
    found = {dict(key[1])["query_id"]: value for key, value in samples(scrape()).items() if key[0] == name}
    assert len(found) == 26
    assert found["100"] == 100
    assert found["other"] == sum(range(1, 76))


def test_open_alerts_are_counted(shop, scrape):
    Alert.objects.create(name="x", server=shop, severity="critical", since=timezone.now())
    found = samples(scrape())
    assert found["dbadmin_alerts", (("server", "shop"), ("severity", "critical"))] == 1
    assert found["dbadmin_alerts", (("server", "shop"), ("severity", "warning"))] == 0


def test_a_token_sees_its_persons_servers_only_and_nobody_sees_anything_without(shop, scrape, user_as):
    other = Server.objects.create(name="other")
    user = user_as("nobody", "half")
    Grant.objects.create(user=user, role="viewer", server=other)
    assert 'server="shop"' not in scrape(user=user).content.decode()
    assert 'server="other"' in scrape(user=user).content.decode()
    assert Client().get("/metrics").status_code == 401
    assert Client().get("/metrics", headers={"Authorization": "Bearer dba_wrong"}).status_code == 401


def expressions():
    board = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_asks_for_metrics_that_there_are():
    known = {"dbadmin_up", "dbadmin_alerts", "dbadmin_cost_ratio"}
    for probe in PROBES.values():
        columns = COLUMNS.get(probe.name) or getattr(getattr(probe, "module", None), "COLUMNS", ())
        plan = page.plan_for(probe, tuple(columns)) if columns and probe.every else None
        for column in plan.columns if plan else ():
            known.add(page.name_of(probe, column) + ("_total" if page.is_counter(column) else ""))
    assert len(expressions()) > 10
    for expression in expressions():
        words = expression.replace("(", " ").replace("{", " ").replace(")", " ").split()
        assert {word for word in words if word.startswith("dbadmin_")} <= known, expression
