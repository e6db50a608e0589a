"""Alerts open when something lasts, stay while nothing is known, and end when it is well."""

import datetime as dt
import time
from collections import namedtuple

import pytest
from django.utils import timezone

from dbadmin import periodic
from dbadmin.models import Server, ServerState, WorkerBeat
from dbadmin.probes import PROBES, Problem, Reading
from monitoring import duties
from monitoring.alert_lists import findings
from monitoring.alert_models import Alert, AlertRule
from monitoring.alert_pages import limit_words
from monitoring.alerts import end_orphans, narrowest
from monitoring.evaluator import Evaluator, Judge
from monitoring.judging import said
from monitoring.models import Mark
from monitoring.recorder import Known, Look, Sample
from monitoring.rounds import Batch
from monitoring.rules import keep_defaults
from monitoring.texts import Found, keep
from monitoring.writer import Writer
from tests.fixtures.runtime import until

pytestmark = pytest.mark.django_db
NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def shop():
    """A server that nobody connects to."""
    return Server.objects.create(name="shop", environment="production", tags=["blue"])


@pytest.fixture
def only():
    """only("server_vitals", …): no other rule than this one."""

    def make(probe, column, **columns):
        AlertRule.objects.all().delete()
        return AlertRule.objects.create(name="Rule", probe=probe, column=column, **columns)

    return make


def reading(probe, at, columns, *rows, database="", problem=None):
    """A reading as a round takes it."""
    made = PROBES[probe]
    row = namedtuple("Row", columns.split())
    found = [row(*values) for values in rows]
    described = [made.column(name) for name in columns.split()]
    return Reading(made, "shop", database, at, 1.0, described, found, problem)


def batch(server, *readings, samples=()):
    return Batch(server, readings=list(readings), samples=list(samples))


class Run:
    """Hands readings to a judge, a minute apart."""

    def __init__(self, server):
        self.server, self.judge, self.at = server, Judge(), NOW

    def vitals(self, ratio, minutes=1, problem=None):
        self.at += dt.timedelta(minutes=minutes)
        rows = [] if problem else [(ratio,)]
        one = reading("server_vitals", self.at, "connections_ratio", *rows, problem=problem)
        self.judge.look(batch(self.server, one))

    def views(self, *rows, problem=None, columns="schema view stale_seconds"):
        self.at += dt.timedelta(minutes=1)
        one = reading("materialized_views", self.at, columns, *rows, database="app", problem=problem)
        self.judge.look(batch(self.server, one))


def test_opens_only_after_its_time_and_ends_only_beyond_the_clear_value(shop, only):
    only("server_vitals", "connections_ratio", warning=0.9, clear=0.8, for_seconds=120)
    run = Run(shop)
    run.vitals(0.95)
    run.vitals(0.95)
    assert not Alert.objects.exists()
    run.vitals(0.96)
    alert = Alert.objects.get()
    assert (alert.severity, alert.text, alert.since) == (
        "warning",
        "96 %, above 90 %",
        NOW + dt.timedelta(minutes=1),
    )
    run.vitals(0.85)
    alert.refresh_from_db()
    assert alert.is_open
    assert alert.text == "85 %"
    run.vitals(0.79)
    alert.refresh_from_db()
    assert not alert.is_open
    assert alert.resolved_because == "Back at 79 %."
    assert [note.kind for note in alert.notes.all()] == ["opened", "resolved"]
    assert [mark.text for mark in Mark.objects.order_by("at")] == ["Rule", "Rule: over"]


def test_says_what_is_present_in_its_own_words(shop, only):
    rule = only("backup_age", "problem", comparison=AlertRule.Comparison.PRESENT, critical=1)
    judge, told = Judge(), "The store is gone."
    judge.look(batch(shop, reading("backup_age", NOW, "database problem", ("shop", told), ("other", None))))
    alert = Alert.objects.get(rule=rule)
    assert (alert.row_name, alert.text) == ("shop", told)
    assert [found.text for found in findings(shop, None)] == ["Rule: shop: The store is gone."]


def test_what_a_replica_has_from_its_primary_is_judged_there_alone(shop):
    replica = Server.objects.create(name="replica", primary=shop)
    none, rows = "database backups_count written_seconds", [("shop", 0, None)]
    for server in (shop, replica):
        judge = Judge()
        for minutes in (0, 31):
            at = NOW + dt.timedelta(minutes=minutes)
            vitals = reading("server_vitals", at, "connections_ratio", (0.95,))
            judge.look(batch(server, reading("backup_age", at, none, *rows), vitals))
    found = Alert.objects.order_by("server__name", "name").values_list("server__name", "name")
    connections = "Connections near the limit"
    assert list(found) == [("replica", connections), ("shop", connections), ("shop", "No backup")]
    Server.objects.filter(pk=shop.pk).update(primary=replica)
    end_orphans()
    because = "Its rule was removed, switched off, or holds elsewhere now."
    assert Alert.objects.get(name="No backup").resolved_because == because


def test_says_none_of_what_there_is_none_of(shop, only):
    only("backup_age", "backups_count", comparison=AlertRule.Comparison.BELOW, critical=1)
    Judge().look(batch(shop, reading("backup_age", NOW, "database backups_count", ("shop", 0))))
    assert Alert.objects.get().text == "none"
    assert [found.text for found in findings(shop, None)] == ["Rule: shop: none"]


def test_a_rule_that_asks_whether_there_is_one_says_no_limit_that_nobody_means(shop):
    at_any = AlertRule(column="missing", warning=-1.0, critical=0.0)
    assert (said(at_any, 0.0, None), said(at_any, 1.0, None)) == ("", "")
    counted = AlertRule(column="pending_count", warning=0.0)
    assert (said(counted, 1.0, None), said(counted, 3.0, None)) == ("", "3")
    assert limit_words(at_any) == "warning at any, critical at any"
    assert limit_words(counted) == "warning at any"
    assert limit_words(AlertRule(column="connections_ratio", warning=0.8)) == "warning above 80 %"


def test_a_short_peak_opens_nothing(shop, only):
    only("server_vitals", "connections_ratio", warning=0.9, for_seconds=120)
    run = Run(shop)
    for ratio in (0.95, 0.95, 0.5, 0.95, 0.95):
        run.vitals(ratio)
    assert not Alert.objects.exists()


def test_unknown_neither_opens_nor_ends(shop, only):
    only("server_vitals", "connections_ratio", warning=0.9)
    run = Run(shop)
    run.vitals(None)
    assert not Alert.objects.exists()
    run.vitals(0.95)
    run.vitals(None)
    run.vitals(0, problem=Problem("timeout", "No answer within 2 s."))
    assert Alert.objects.get().is_open


def test_a_matter_that_gets_worse_is_one_alert_whose_severity_rises(shop, only):
    only("server_vitals", "connections_ratio", warning=0.8, critical=0.9)
    run = Run(shop)
    run.vitals(0.85)
    Alert.objects.update(acknowledged_at=NOW, acknowledged_by="anna", told_severity="warning")
    run.vitals(0.95)
    run.vitals(0.85)
    alert = Alert.objects.get()
    assert alert.severity == "critical"
    assert alert.acknowledged_at is None, "who took a warning has not taken what it became"
    assert [note.kind for note in alert.notes.all()] == ["opened", "worse"]


def test_each_row_has_an_alert_and_a_row_that_is_gone_ends_it(shop, only):
    only("materialized_views", "stale_seconds", warning=14400)
    run = Run(shop)
    run.views(("public", "a", 20000.0), ("public", "b", 15000.0), ("public", "c", 10.0))
    found = Alert.objects.order_by("row_name")
    assert [(alert.row_name, alert.database) for alert in found] == [("public.a", "app"), ("public.b", "app")]
    assert found[0].evidence["row"] == {"schema": "public", "view": "a", "stale_seconds": 20000.0}
    run.views(("public", "a", None), ("public", "c", 10.0))
    ends = {alert.row_name: alert.resolved_because for alert in Alert.objects.all()}
    assert ends == {"public.a": "", "public.b": "It is no longer there."}


def test_rows_without_a_key_are_one_matter(shop, only):
    only("blocked_sessions", "wait_seconds", warning=30, critical=300)
    judge = Judge()
    judge.look(
        batch(
            shop,
            reading(
                "blocked_sessions", NOW, "pid database role application wait_seconds",
                (1, "app", "web", "psql", 40.0), (2, "app", "batch", "", 70.0), (3, "app", "web", "", 2.0),
            ),
        )
    )  # fmt: skip
    told = "1 min 10 s, above 30 s (the worst of 2): session 2 of batch in app"
    assert Alert.objects.get().text == told
    judge.look(batch(shop, reading("blocked_sessions", NOW, "pid wait_seconds")))
    assert Alert.objects.get().resolved_because == "No session waits for a lock."


def test_rows_without_a_key_and_without_a_number_that_tells_are_named(shop, only):
    only("invalid_indexes", "leftover_count", warning=0)
    columns = "schema table index leftover_count"
    rows = [("public", "users", "users_email", 1), ("public", "users", "in_work", 0), ("public", "a", "b", 1)]
    judge = Judge()

    def text(*rows):
        judge.look(batch(shop, reading("invalid_indexes", NOW, columns, *rows, database="app")))
        return Alert.objects.get().text

    assert text(*rows[:2]) == "public.users_email"
    assert [found.text for found in findings(shop, None)] == ["Rule: public.users_email"]
    assert text(*rows) == "public.users_email and 1 more"


def test_a_number_that_names_a_row_says_what_it_is(shop, only):
    only("backup_tools", "unfit_count", critical=0)
    judge = Judge()
    judge.look(
        batch(shop, reading("backup_tools", NOW, "server_version worker unfit_count", ("18", None, 1)))
    )
    assert Alert.objects.get().text == "server version 18"


def test_a_flood_opens_no_more_than_twenty(shop, only):
    only("materialized_views", "stale_seconds", warning=1, critical=100)
    rows = [("public", f"v{n}", 200.0 if n == 77 else 50.0) for n in range(99)]
    Run(shop).views(*rows)
    assert Alert.objects.count() == 20
    assert Alert.objects.filter(row_name="public.v77", severity="critical").exists()


def test_another_process_that_judges_the_same_opens_no_second_alert(shop, only):
    only("server_vitals", "connections_ratio", warning=0.9)
    for run in (Run(shop), Run(shop)):
        run.vitals(0.95)
    assert Alert.objects.count() == 1


def sample(at, *lines, length=60.0):
    columns = ("calls_total", "exec_seconds_total")
    known = [Known((10, 5, query, True), Look((), (), [])) for query, _, _ in lines]
    values = [[calls, round(seconds * 1_000_000)] for _, calls, seconds in lines]
    return Sample("statements", "", at, length, False, columns, known, values)


def statements(judge, server, minute, *lines, length=60.0):
    at = NOW + dt.timedelta(minutes=minute)
    made = reading("statements", at, "user_id database_id query_id toplevel calls_total exec_seconds_total")
    judge.look(batch(server, made, samples=[sample(at, *lines, length=length)]))


def test_a_slow_statement_is_seen_by_its_mean_over_the_rules_time(shop, only):
    mean = {"measure": "per", "other": "calls_total", "at_least": 5}
    only("statements", "exec_seconds_total", **mean, warning=1, for_seconds=180)
    judge = Judge()
    for minute in range(3):
        statements(judge, shop, minute, (111, 2, 9.0), (222, 100, 9.0), (333, 1, 50.0))
    alert = Alert.objects.get()
    assert (alert.row_name, alert.text) == ("statement 111", "4.5 s, above 1 s")
    assert alert.last_value == pytest.approx(4.5)
    keep(shop, Found({(5, 111): "select  slow\nfrom shop"}))
    statements(judge, shop, 3, (111, 2, 9.0))
    alert.refresh_from_db()
    assert alert.row_name == "select slow from shop", "its text was fetched meanwhile"
    for minute in range(4, 9):
        statements(judge, shop, minute, (111, 50, 1.0))
    alert.refresh_from_db()
    assert alert.resolved_because.startswith("Back at ")


def test_an_increase_that_could_not_be_compared_counts_for_nothing(shop, only):
    only("statements", "exec_seconds_total", measure="per", other="calls_total", warning=1, for_seconds=60)
    judge = Judge()
    statements(judge, shop, 0, (111, 2, 900.0), length=0.0)
    assert not Alert.objects.exists()


def test_an_alert_on_a_statement_that_nobody_runs_any_more_ends(shop, only):
    only("statements", "exec_seconds_total", measure="per", other="calls_total", warning=1, for_seconds=60)
    judge = Judge()
    statements(judge, shop, 0, (111, 2, 9.0))
    statements(judge, shop, 20)
    assert Alert.objects.get().is_open
    statements(judge, shop, 40)
    assert Alert.objects.get().resolved_because == "Too little was done for a while to speak of it."


def test_a_narrower_rule_stands_in_for_a_wider_one(shop, only):
    wide = only("server_vitals", "connections_ratio", warning=0.5)
    copy = {"name": "Rule", "probe": "server_vitals", "column": "connections_ratio"}
    tag = AlertRule.objects.create(**copy, warning=0.97, tag="blue")
    other = Server.objects.create(name="other")
    rules = list(AlertRule.objects.all())
    assert narrowest(rules, shop) == [tag]
    assert narrowest(rules, other) == [wide]
    tag.enabled = False
    assert narrowest([wide, tag], shop) == [], "switched off for blue servers"


def test_alerts_without_their_rule_end(shop, only):
    rule = only("server_vitals", "connections_ratio", warning=0.9)
    Run(shop).vitals(0.95)
    end_orphans()
    assert Alert.objects.get().is_open
    rule.enabled = False
    rule.save()
    end_orphans()
    because = "Its rule was removed, switched off, or holds elsewhere now."
    assert Alert.objects.get().resolved_because == because


def test_rules_are_there_from_the_start_and_what_people_changed_stays(shop):
    rules = {rule.origin: rule for rule in AlertRule.objects.all()}
    assert {"default:slow_statement", "header:server_vitals", "header:wraparound"} <= rules.keys()
    vitals = rules["header:server_vitals"]
    assert (vitals.column, vitals.warning, vitals.critical) == ("connections_ratio", 0.8, 0.9)
    waits = {
        name: rules[f"header:{name}"].for_seconds
        for name in ("archiver", "blocked_sessions", "sequences", "vacuum_state")
    }
    assert waits == {"archiver": 90, "blocked_sessions": 45, "sequences": 0, "vacuum_state": 600}
    AlertRule.objects.filter(pk=vitals.pk).update(warning=0.7, is_changed=True)
    AlertRule.objects.filter(origin="header:wraparound").update(warning=0.1, enabled=False)
    rules["default:slow_statement"].delete()
    AlertRule.objects.create(origin="header:gone", name="Gone", probe="gone", column="x")
    keep_defaults()
    again = {rule.origin: rule for rule in AlertRule.objects.all()}
    assert again["header:server_vitals"].warning == 0.7
    assert (again["header:wraparound"].warning, again["header:wraparound"].enabled) == (0.4, False)
    assert "default:slow_statement" in again
    assert "header:gone" not in again


def test_a_server_that_nobody_reads_and_one_that_does_not_answer_are_alerts(shop):
    duties.look_at_servers()
    assert not Alert.objects.exists(), "it was only just added"
    ago = timezone.now() - dt.timedelta(minutes=10)
    state = ServerState.objects.create(server=shop, asked_at=ago, reached_at=ago)
    duties.look_at_servers()
    duties.look_at_servers()
    alert = Alert.objects.get()
    assert alert.name == "Nobody reads the server"
    assert alert.severity == "critical"
    now = timezone.now()
    ServerState.objects.filter(pk=state.pk).update(
        asked_at=now, trouble={"kind": "unreachable", "message": "The server does not answer: refused"}
    )
    duties.look_at_servers()
    alert.refresh_from_db()
    assert alert.resolved_because == "It is well again."
    down = Alert.objects.get(resolved_at=None)
    assert (down.name, down.text) == ("Server does not answer", "The server does not answer: refused")
    ServerState.objects.filter(pk=state.pk).update(asked_at=now, reached_at=now, trouble=None)
    duties.look_at_servers()
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_the_sampler_sees_a_scheduler_that_fell_silent():
    duties.look_at_scheduler()
    WorkerBeat.objects.create(
        kind="scheduler", name="one", host="here", pid=1, seen_at=timezone.now() - dt.timedelta(minutes=5)
    )
    duties.look_at_scheduler()
    alert = Alert.objects.get()
    assert (alert.name, alert.server) == ("The scheduler is away", None)
    WorkerBeat.objects.update(seen_at=timezone.now())
    duties.look_at_scheduler()
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_periodic_work_goes_on_after_a_job_that_fails(monkeypatch):
    calls = []

    def fail():
        calls.append("fail")
        raise ValueError("broken")

    jobs = {
        "bad": periodic.Job("bad", 0.02, fail),
        "good": periodic.Job("good", 0.02, lambda: calls.append("good")),
    }
    monkeypatch.setattr(periodic, "JOBS", jobs)
    leads = [False]
    threads = periodic.Periodic(lambda: leads[0])
    threads.start()
    time.sleep(0.2)
    assert calls == [], "nobody leads"
    leads[0] = True
    until(lambda: calls.count("fail") > 1 and calls.count("good") > 1)
    threads.stop()


@pytest.mark.django_db(transaction=True)
def test_a_stored_round_is_judged_on_another_thread(only):
    shop = Server.objects.create(name="shop")
    only("server_vitals", "connections_ratio", warning=0.9)
    writer, evaluator = Writer(), Evaluator()
    writer.listeners.append(evaluator.put)
    writer.start()
    evaluator.start()
    writer.put(batch(shop, reading("server_vitals", timezone.now(), "connections_ratio", (0.95,))))
    writer.finish(20)
    evaluator.finish(20)
    assert Alert.objects.get().text == "95 %, above 90 %"
