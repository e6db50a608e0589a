"""What is usual comes from a week of our own history, and is not known before there is a day of it."""

import datetime as dt
from collections import namedtuple

import pytest
from django.utils import timezone

from dbadmin.models import Server
from dbadmin.probes import PROBES, Reading
from monitoring.alert_models import Alert, AlertRule
from monitoring.baselines import baseline
from monitoring.evaluator import Judge
from monitoring.keeper import Keeper
from monitoring.recorder import Known, Look, Moment, Recorder, Sample
from monitoring.rounds import Batch

pytestmark = pytest.mark.django_db
COLUMNS = ("blocks_hit_total", "blocks_read_total")


@pytest.fixture
def shop():
    return Server.objects.create(name="shop")


@pytest.fixture
def rule():
    AlertRule.objects.exclude(origin="default:cache_hit").delete()
    return AlertRule.objects.get()


def sample(at, length, **databases):
    lines = [Known((name,), Look((), (), [])) for name in databases]
    return Sample("cache_hits", "", at, length, False, COLUMNS, lines, [list(v) for v in databases.values()])


def keep(server, hours, **databases):
    """An hourly sample of each of the last hours."""
    now, keeper = timezone.now(), Keeper()
    for hour in range(1, hours + 1):
        keeper.keep(server, [sample(now - dt.timedelta(hours=hour), 3600.0, **databases)], [], [])


def judge(server, at_minutes, one, **databases):
    at = timezone.now() + dt.timedelta(minutes=at_minutes)
    probe, row = PROBES["cache_hits"], namedtuple("Row", ["database", *COLUMNS])
    names = [probe.column(name) for name in ("database", *COLUMNS)]
    reading = Reading(probe, "shop", "", at, 1.0, names, [row(name, 0, 0) for name in databases])
    one.look(Batch(server, readings=[reading], samples=[sample(at, 60.0, **databases)]))


def test_a_share_is_compared_with_its_own_mean_of_the_last_week(shop, rule):
    keep(shop, 48, app=(990_000, 10_000), archive=(600_000, 400_000))
    found = baseline(rule, shop, "")
    assert found == {("app",): pytest.approx(0.99), ("archive",): pytest.approx(0.6)}
    one = Judge()
    for minute in range(15):
        judge(shop, minute, one, app=(8_000, 2_000), archive=(6_000, 4_000))
    alert = Alert.objects.get()
    assert alert.row_name == "app"
    assert alert.text == "80 %, below 0.9 × baseline of 99 %"
    assert alert.evidence["baseline"] == pytest.approx(0.99)
    for minute in range(15, 40):
        judge(shop, minute, one, app=(9_900, 100), archive=(6_000, 4_000))
    assert Alert.objects.get().resolved_because.startswith("Back at ")


def test_with_less_than_a_day_of_history_nothing_is_usual_and_nothing_is_said(shop, rule):
    keep(shop, 12, app=(990_000, 10_000))
    assert baseline(rule, shop, "") == {}
    one = Judge()
    for minute in range(20):
        judge(shop, minute, one, app=(1_000, 9_000))
    assert not Alert.objects.exists()


def test_too_little_reading_says_nothing_about_the_cache(shop, rule):
    keep(shop, 48, app=(990_000, 10_000))
    one = Judge()
    for minute in range(20):
        judge(shop, minute, one, app=(10, 90))
    assert not Alert.objects.exists()


def test_a_value_of_each_row_is_compared_with_the_mean_of_that_row(shop):
    AlertRule.objects.all().delete()
    AlertRule.objects.create(
        name="Database grows",
        probe="database_sizes",
        column="size_bytes",
        against="baseline",
        warning=2.0,
        clear=1.5,
    )
    probe, row, recorder, keeper = (
        PROBES["database_sizes"],
        namedtuple("Row", "database size_bytes"),
        Recorder(),
        Keeper(),
    )
    names = [probe.column(name) for name in row._fields]
    now, gigabyte = timezone.now(), 10**9

    def sizes(at, **databases):
        return Reading(probe, "shop", "", at, 1.0, names, [row(*each) for each in databases.items()])

    for hour in range(40, 0, -1):
        at = now - dt.timedelta(hours=hour)
        reading = sizes(at, app=4 * gigabyte, archive=50 * gigabyte + hour)
        found, _ = recorder.record(reading, Moment(at, at.timestamp(), None, None))
        keeper.keep(shop, [found] if found else [], [], [])
    assert baseline(AlertRule.objects.get(), shop, "")[("app",)] == 4 * gigabyte
    one = Judge()
    one.look(Batch(shop, readings=[sizes(now, app=9 * gigabyte, archive=51 * gigabyte)]))
    alert = Alert.objects.get()
    assert (alert.row_name, alert.text) == ("app", "8.38 GiB, above 2 × baseline of 3.73 GiB")
    one.look(Batch(shop, readings=[sizes(now, app=5 * gigabyte, archive=51 * gigabyte)]))
    assert Alert.objects.get().resolved_because == "Back at 4.66 GiB."
