"""Forecasts say when, how sure they are, and when they cannot say."""

import datetime as dt
import random
import re
from collections import namedtuple
from dataclasses import replace

import pytest
from django.utils import timezone

from dbadmin import readings
from dbadmin.connections import Session
from dbadmin.probes import PROBES, Reading
from monitoring import forecast
from monitoring.alert_models import Alert
from monitoring.evaluator import Judge
from monitoring.keeper import Keeper
from monitoring.outlook import disk_of, prospects
from monitoring.recorder import Moment, Recorder
from monitoring.rounds import Batch

HOUR, DAY = 3600.0, 86400.0


def line(days, start, per_day, noise=0.0, seed=1, step=HOUR):
    chance = random.Random(seed)
    count = int(days * DAY / step)
    return [(n * step, start + per_day * n * step / DAY + chance.gauss(0, noise)) for n in range(count)]


def test_a_straight_line_meets_its_limit_when_it_does():
    found = forecast.when(line(10, 100, 10), limit=300)
    assert found.meets == pytest.approx(10 * DAY, rel=0.02)
    assert found.earliest <= found.meets <= found.latest


def test_outliers_hardly_move_it():
    points = line(10, 100, 10)
    for place in range(0, len(points), 12):
        points[place] = (points[place][0], 5000.0)
    assert forecast.when(points, limit=300).meets == pytest.approx(10 * DAY, rel=0.1)


@pytest.mark.parametrize("seed", range(12))
def test_the_true_moment_lies_between_the_bounds(seed):
    found = forecast.when(line(14, 100, 10, noise=15, seed=seed), limit=500)
    truth = (500 - 240) / 10 * DAY
    assert found.earliest * 0.9 < truth < found.latest * 1.1


def test_noise_without_a_direction_promises_nothing():
    found = forecast.when(line(14, 100, 0, noise=10), limit=200)
    assert found.meets is None
    assert found.says.startswith("Not sure: in about ")


def test_values_that_resemble_their_neighbours_make_it_less_sure():
    chance, value, walk = random.Random(3), 0.0, []
    for n in range(300):
        value += chance.gauss(0, 1)
        walk.append((n * HOUR, value))
    alone = forecast.fit([(at, chance.gauss(0, 1) + at * 1e-6) for at, _ in walk])
    together = forecast.fit(walk)
    assert together.high - together.low > alone.high - alone.low


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([], "Too little history: none so far, a forecast takes 1 d."),
        ([(0.0, 1.0)], "Too little history: none so far, a forecast takes 1 d."),
        (line(0.5, 1, 1), "Too little history: 11 h so far, a forecast takes 1 d."),
        (line(5, 1, 1)[::24], "Too few readings: 5 so far, a forecast takes 8."),
    ],
)
def test_too_little_history_is_said(points, says):
    found = forecast.when(points, limit=100)
    assert found.meets is None
    assert found.says == says


def test_a_saw_tooth_is_followed_from_its_last_turn():
    rising = line(10, 0, 10)
    points = rising + [(at + 10 * DAY, value) for at, value in line(3, 5, 10)]
    kept = forecast.since_last_turn(points, rises=True)
    assert kept[0][0] == 10 * DAY
    assert forecast.when(kept, limit=135).meets == pytest.approx(10 * DAY, rel=0.02)


def test_a_line_that_falls_meets_a_limit_below_it():
    found = forecast.when(line(4, 1000, -100), limit=0, rises=False)
    assert found.meets == pytest.approx(6 * DAY, rel=0.02)
    assert forecast.when(line(4, 1000, 100), limit=0, rises=False).meets is None


def test_what_is_there_already_is_said_and_what_is_years_away_is_not_dated():
    assert forecast.when(line(4, 100, 10), limit=90).says == "It is there already."
    assert forecast.when(line(4, 100, 0.001), limit=1e9).says == "Not in sight."


@pytest.mark.parametrize(
    ("points", "limit", "rises", "says"),
    [
        (line(14, 100, 0), 200, True, "Not in sight."),
        (line(14, 100, -3), 200, True, "Not in sight."),
        (line(14, 100, 3), 0, False, "Not in sight."),
        (line(14, 100, 10, noise=1), 250, True, "In about 25 hours."),
        (line(14, 100, 10, noise=15), 360, True, "In about 11 days; 95 % sure: between 11 and 12 days."),
        (line(14, 100, -2, noise=1), 50, False, "In about 11 days."),
        (line(14, 100, 1, noise=20), 700, True, "In about 14 months; 95 % sure: between 10 and 22 months."),
        (line(14, 100, 0.5, noise=3), 1100, True, "In about 5 years; 95 % sure: not before 4 years."),
        (
            line(14, 100, 0, noise=10),
            200,
            True,
            "Not sure: in about 16 months as it looks, or never; at the earliest in 7 months.",
        ),
    ],
)
def test_a_forecast_is_a_sentence(points, limit, rises, says):
    assert forecast.when(points, limit, rises=rises).says == says


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (20, "a minute"),
        (100, "2 minutes"),
        (2 * HOUR, "2 hours"),
        (47 * HOUR, "47 hours"),
        (59 * DAY, "59 days"),
        (300 * DAY, "10 months"),
        (1000 * DAY, "3 years"),
    ],
)
def test_a_time_to_come_is_as_exact_as_it_can_be(seconds, words):
    assert forecast.roughly(seconds) == words


def test_without_a_limit_only_the_growth_is_known():
    found = forecast.when(line(4, 100, 10), limit=None)
    assert found.says == "No limit is known."
    assert found.fit.slope * DAY == pytest.approx(10)


@pytest.mark.parametrize(
    ("tags", "size"),
    [(["disk=500GB"], 5e11), (["blue", "Disk: 1TiB"], 2**40), (["disk=much"], None), ([], None)],
)
def test_a_tag_tells_the_size_of_the_disk(server, tags, size):
    server.tags = tags
    assert disk_of(server) == size


def keep_history(server, probe, names, rows_at, hours, every=1):
    """Hourly readings of the past, as the sampler would have kept them; the last is the latest."""
    recorder, keeper, made = Recorder(), Keeper(), PROBES[probe]
    row = namedtuple("Row", names)
    now = timezone.now().replace(microsecond=0)
    for hour in range(hours, -1, -every):
        at = now - dt.timedelta(hours=hour)
        columns = [made.column(name) for name in names]
        reading = Reading(
            made, server.name, "", at, 1.0, columns, [row(*values) for values in rows_at(hours - hour)]
        )
        sample, _ = recorder.record(reading, Moment(at, at.timestamp(), None, None))
        keeper.keep(server, [sample] if sample else [], [], [])
    readings.store(server, reading)


def test_a_full_disk_and_the_end_of_transaction_numbers_are_foreseen_from_our_own_history(server):
    server.tags = ["disk=200GB"]
    server.save()
    gigabyte = 10**9
    keep_history(
        server, "database_sizes", ["database", "size_bytes"],
        lambda hour: [("shop", 100 * gigabyte + hour * gigabyte // 4), ("still", 5 * gigabyte)], hours=72,
    )  # fmt: skip
    keep_history(
        server,
        "wraparound",
        ["database", "used_ratio"],
        lambda hour: [("shop", 0.5 + hour * 0.001)],
        hours=72,
    )
    found = {(each.what, each.name): each for each in prospects(server)}
    size = found["Database size", "shop"]
    assert size.growth == pytest.approx(6 * gigabyte, rel=0.05)
    assert size.outcome.meets == pytest.approx((200 - 118) / 6 * DAY, rel=0.1)
    assert found["Database size", "still"].outcome.says == "Not in sight."
    wrap = found["Wraparound", "shop"]
    assert wrap.outcome.meets == pytest.approx((1 - 0.572) / 0.024 * DAY, rel=0.1)


def test_what_is_left_of_a_slot_is_said_as_such(server):
    mebibyte = 2**20
    keep_history(
        server, "replication_slots", ["slot", "safe_bytes"],
        lambda hour: [("reader", (900 - 10 * hour) * mebibyte)], hours=5,
    )  # fmt: skip
    (slot,) = prospects(server)
    assert (slot.what, slot.name, slot.stands, slot.ends) == (
        "Replication slot", "reader", "850 MiB left", "nothing left",
    )  # fmt: skip


SEEDS = range(40)


def test_the_bounds_hold_the_true_slope_as_often_as_they_say():
    for noise in (1.0, 20.0):
        found = [forecast.fit(line(14, 100, 10, noise, seed)) for seed in SEEDS]
        held = sum(each.low * DAY <= 10 <= each.high * DAY for each in found)
        assert held >= 36, f"{held} of 40 where 38 are promised"
        slopes = sorted(each.slope * DAY for each in found)
        assert slopes[20] == pytest.approx(10, rel=0.05)


def test_more_noise_makes_the_bounds_wider_and_more_history_narrower():
    def width(days, noise):
        found = [forecast.fit(line(days, 100, 10, noise, seed)) for seed in SEEDS]
        return sum(each.high - each.low for each in found)

    assert width(14, 5) < width(14, 10) < width(14, 20)
    assert width(28, 10) < width(14, 10) < width(7, 10)


@pytest.mark.parametrize(("scale", "moved"), [(1.0, 0.0), (1000.0, 0.0), (1.0, 1e6), (2.5, -300.0)])
def test_the_moment_does_not_depend_on_the_unit_nor_on_where_zero_is(scale, moved):
    points = line(14, 100, 10, noise=15)
    other = [(at, value * scale + moved) for at, value in points]
    one, two = forecast.when(points, 500), forecast.when(other, 500 * scale + moved)
    assert two.says == one.says
    assert two.meets == pytest.approx(one.meets)
    assert (two.earliest, two.latest) == pytest.approx((one.earliest, one.latest))


def test_the_reading_of_forecasts_puts_the_nearest_first(server, target):
    keep_history(
        server, "wraparound", ["database", "used_ratio"],
        lambda hour: [("calm", 0.1), ("shop", 0.5 + hour * 0.004)], hours=72,
    )  # fmt: skip
    session = Session(target.connection, server)
    reading = PROBES["forecasts"].read(session)
    assert reading.problem is None
    assert [row.object for row in reading.rows] == ["shop", "calm"]
    first = reading.rows[0]
    assert (first.what, first.limit, first.growth) == ("Wraparound", "100 %", "+9.6 %/d")
    assert PROBES["forecasts"].state_of(first) == "warning"
    assert first.says.startswith("In ")
    judge = Judge()
    judge.look(Batch(server, readings=[reading]))
    alert = Alert.objects.get()
    assert (str(alert), alert.severity) == ("A limit comes near: Wraparound of shop", "warning")
    assert re.fullmatch(r"2 d( \d+ h)?, below 7 d", alert.text)
    assert alert.evidence["row"]["says"] == first.says
    assert alert.rule.advice == "See what grows and make room before the earliest date."
    calm = reading.rows[1]
    assert (calm.says, calm.full_seconds, calm.due_seconds) == ("Not in sight.", None, forecast.HORIZON)

    def so(due, says=first.says):
        row = first._replace(due_seconds=due, says=says)
        judge.look(Batch(server, readings=[replace(reading, rows=[row, calm])]))
        alert.refresh_from_db()
        return alert.resolved_because

    assert so(None) == "", "where nothing is known nothing ends"
    assert so(forecast.HORIZON, "Not in sight.") == "Not in sight."
