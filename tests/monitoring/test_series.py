"""What is kept is exactly what happened: against brute force, before and after hours and days are packed."""

import datetime as dt
import random
from collections import defaultdict

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from dbadmin.connections import row_class
from dbadmin.models import Server
from dbadmin.probes import PROBES, Probe, Reading
from monitoring import hours, partitions
from monitoring.blocks import find_source
from monitoring.chart import History, points
from monitoring.epochs import Evidence
from monitoring.keeper import Keeper
from monitoring.layouts import Look
from monitoring.models import Gap, Hour
from monitoring.packing import Block, pack, pack_numbers, unpack, unpack_numbers, unpack_part
from monitoring.recorder import Known, Moment, Recorder, Sample
from monitoring.series import Past, Series, bucketed, line_of, series
from monitoring.windows import top, window

pytestmark = pytest.mark.django_db

YESTERDAY = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=1)
NAMES = ("name", "calls_total", "busy_seconds_total", "size_bytes")
numbers = st.lists(st.none() | st.integers(-(2**62), 2**62) | st.integers(-3, 300), min_size=1, max_size=200)


@given(numbers, st.booleans())
def test_numbers_come_back_as_they_were(values, differences):
    packed = pack_numbers(values, differences)
    assert list(unpack_numbers(packed, len(values))) == values
    assert (
        list(unpack_part(packed, len(values), len(values) // 3, len(values) // 2))
        == (values[len(values) // 3 : len(values) // 2])
    )


def test_a_block_comes_back_as_it_was():
    block = Block([5, 60_005], [0, 60_000], [1, 0], [3, 9], [2, 1], [0, 1, 1], [[7, None, 2], [0, 0, 0]])
    found = unpack(pack(block, [True, False]))
    assert [list(found.ticks), list(found.lengths), list(found.full)] == [[5, 60_005], [0, 60_000], [1, 0]]
    assert list(found.spans()) == [(3, 0, 2), (9, 2, 3)]
    assert [list(found.column(0)), list(found.column(1))] == [[7, None, 2], [0, 0, 0]]
    assert (found.where(9), found.where(4)) == ((2, 3), (0, 0))


class World:
    """A server whose counters are known, and a sampler's looks at it."""

    def __init__(self, server, probe, seed, begin=YESTERDAY):
        self.server, self.probe, self.random = server, probe, random.Random(seed)
        self.recorder, self.keeper = Recorder(), Keeper()
        self.wall, self.steady = begin + dt.timedelta(seconds=3.25), 1000.0
        self.start, self.reset_at = begin - dt.timedelta(days=9), None
        self.rows = {f"line {number}": [0, 0.0, 8192 * number] for number in range(6)}
        #: (end of the tick, line) -> increases that may be known; None when they may not.
        self.truth = {}
        self.sizes, self.lengths = defaultdict(dict), {}
        self.seen, self.last = set(), None

    def evidence(self):
        """The server's epoch now."""
        shared = (("pg_stat_bgwriter", self.reset_at),)
        return Evidence(self.wall, self.start, 150018, "7", False, shared, (("shop", None),), 0, None)

    def look(self):
        """One reading, recorded and kept."""
        make = row_class(NAMES)._make
        columns = [self.probe.column(name) for name in NAMES]
        rows = [make((name, *values)) for name, values in self.rows.items()]
        reading = Reading(self.probe, self.server.name, "", self.wall, 1.0, columns, rows)
        moment = Moment(self.wall, self.steady, self.evidence(), self.evidence())
        sample, holes = self.recorder.record(reading, moment)
        self.keeper.keep(self.server, [sample] if sample else [], holes, [])
        return holes

    def step(self):
        """Time passes, work is done, something may happen, and the sampler looks."""
        draw = self.random
        happens = draw.choices(["", "missed", "restart", "line reset", "drop", "add"], [40, 1, 1, 2, 1, 1])[0]
        seconds = draw.choice([58.5, 60.0, 61.75]) if happens != "missed" else 400.0
        before = {name: list(values) for name, values in self.rows.items()}
        self.wall += dt.timedelta(seconds=seconds)
        self.steady += seconds
        for values in self.rows.values():
            if draw.random() < 0.6:
                values[0] += draw.randrange(1, 10_000)
                values[1] += round(draw.random() * 30, 6)
            if draw.random() < 0.2:
                values[2] += draw.randrange(-4, 50) * 8192
        changed = None
        match happens:
            case "restart":
                self.start = self.wall - dt.timedelta(seconds=5)
            case "line reset":
                changed = draw.choice(sorted(self.rows))
                self.rows[changed][0] = before[changed][0] - 1 if before[changed][0] else 0
                changed = changed if before[changed][0] else None
            case "drop" if len(self.rows) > 3:
                del self.rows[draw.choice(sorted(self.rows))]
            case "add":
                self.rows[f"line {draw.randrange(100, 999)}"] = [5, 5.0, 8192]
        is_broken = happens in {"missed", "restart"} or self.last is None
        for name, values in self.rows.items():
            self.sizes[name][self.wall] = values[2]
            if not is_broken and name in before and name != changed:
                calls = values[0] - before[name][0]
                micros = round(values[1] * 1e6) - round(before[name][1] * 1e6)
                self.truth[self.wall, name] = (calls, micros)
        self.last, self.lengths[self.wall] = self.wall, seconds
        self.look()


@pytest.fixture
def walk(monkeypatch):
    """A probe of the usual kind: a key, counters and a gauge."""
    probe = Probe("tests", "walk", {"title": "Walk", "about": "Walks.", "key": "name", "every": "60s"}, {})
    monkeypatch.setitem(PROBES, "walk", probe)
    return probe


@pytest.fixture
def kept(db):
    """A server row; nobody connects to it."""
    return Server.objects.create(name="kept")


@pytest.fixture(params=[1, 2])
def world(request, kept, walk):
    """Five hours in the life of a server."""
    made = World(kept, walk, request.param)
    while made.wall < YESTERDAY + dt.timedelta(hours=4):
        made.step()
    return made


def brute(world, start, end):
    """Sums over the ticks that end in a window."""
    sums = defaultdict(lambda: [0, 0])
    for (at, name), (calls, micros) in world.truth.items():
        if start <= at < end:
            sums[name][0] += calls
            sums[name][1] += micros
    return {name: tuple(values) for name, values in sums.items() if any(values)}


def found(world, start, end):
    """The same from the store."""
    got = window(world.server, "walk", ["calls_total", "busy_seconds_total"], start, end)
    names = {each.line: each.key[0] for each in top(world.server, start, end, "calls_total", 99, "walk")}
    calls, micros = got.sums["calls_total"], got.sums["busy_seconds_total"]
    return {name: (calls[line], micros.get(line, 0)) for line, name in names.items() if calls[line]}


def windows_of(world):
    """Windows of all kinds, some on the hour."""
    draw, hour = random.Random(5), dt.timedelta(hours=1)
    yield YESTERDAY, YESTERDAY + 5 * hour
    yield YESTERDAY + hour, YESTERDAY + 3 * hour
    for _ in range(12):
        first, last = sorted(draw.uniform(0, 5) for _ in range(2))
        yield YESTERDAY + first * hour, YESTERDAY + last * hour


def close_all(world):
    """Pack every hour, then the day."""
    source = find_source(world.server.pk, "walk")
    for number in range(6):
        hours.close(source.pk, YESTERDAY + dt.timedelta(hours=number))
    hours.close_days(YESTERDAY + dt.timedelta(days=1, hours=1), [world.server.pk])


def test_sums_of_any_window_are_exact_before_and_after_packing(world):
    for start, end in windows_of(world):
        assert found(world, start, end) == brute(world, start, end)
    close_all(world)
    for start, end in windows_of(world):
        assert found(world, start, end) == brute(world, start, end)
    day = (YESTERDAY, YESTERDAY + dt.timedelta(days=1))
    assert found(world, *day) == brute(world, *day)


def test_a_chart_shows_rates_where_they_are_known_and_gaps_elsewhere(world):
    name = "line 1" if "line 1" in world.rows else min(world.rows)
    span = {"key": [name], "start": YESTERDAY, "end": YESTERDAY + dt.timedelta(hours=5), "step": 300}
    before = series(world.server, "walk", "calls_total", **span)
    close_all(world)
    after = series(world.server, "walk", "calls_total", **span)
    assert after.values == pytest.approx(before.values, nan_ok=True)
    drawn = [value for value in after.values if value is not None]
    assert min(drawn) >= 0
    assert max(drawn) <= 10_000 / 58
    # Second by second, where every second of a step is known.
    rates = {}
    moments = sorted(at for at, line in world.truth if line == name)
    for at in moments:
        length = world.lengths[at]
        for second in range(int(length)):
            moment = int(at.timestamp()) - second
            rates[moment] = world.truth[at, name][0] / length
    checked = 0
    for at, value in after.points():
        seconds = [rates.get(at // 1000 + second) for second in range(300)]
        if sum(rate is None for rate in seconds) < 15 and value is not None:
            known = [rate for rate in seconds if rate is not None]
            assert value == pytest.approx(sum(known) / len(known), rel=0.1, abs=2)
            checked += 1
    assert checked > 15


def test_a_gauge_keeps_its_value_until_it_changes(world):
    name = next(line for line in sorted(world.rows) if len(world.sizes[line]) > 200)
    for is_packed in (False, True):
        if is_packed:
            close_all(world)
        shown = series(
            world.server, "walk", "size_bytes", [name], YESTERDAY, YESTERDAY + dt.timedelta(hours=5), 60
        )
        values = dict(shown.points())
        for at, size in list(world.sizes[name].items())[5:]:
            step = int(at.timestamp()) // 60 * 60_000
            if values.get(step) is not None:
                near = [
                    other
                    for moment, other in world.sizes[name].items()
                    if abs(moment - at) < dt.timedelta(minutes=3)
                ]
                assert min(near) - 1 <= values[step] <= max(near) + 1, at
                assert size in near


def test_without_a_key_all_lines_are_added_up(world):
    start, end = YESTERDAY + dt.timedelta(hours=1), YESTERDAY + dt.timedelta(hours=2)
    whole = series(world.server, "walk", "calls_total", start=start, end=end, step=3600)
    got = window(world.server, "walk", ["calls_total"], start, end)
    assert whole.values[0] * 3600 == pytest.approx(got.total("calls_total"), rel=0.2)


def test_many_lines_add_up_to_the_same_in_an_open_hour_and_in_a_closed_one(kept):
    """A closed hour lies in blocks of some lines each, and all of them speak of the same ticks."""
    lines = [Known((number,), Look((), (), [])) for number in range(3 * hours.LINES)]
    sampler, begin = Keeper(), YESTERDAY + dt.timedelta(hours=6)
    for minute in range(1, 59):
        at = begin + dt.timedelta(minutes=minute)
        sample = Sample("statements", "", at, 60.0, minute == 1, ("calls_total", "size_bytes"))
        for number, one in enumerate(lines):
            if minute == 1 or number % 7 == minute % 7:
                sample.add(one, [120, 8192 * minute])
        sampler.keep(kept, [sample], [], [])

    def seen():
        """Both columns: all lines together, one of them, and one of them when all were read."""
        source, end = find_source(kept.pk, "statements"), begin + dt.timedelta(hours=1)
        for column in ("calls_total", "size_bytes"):
            one = series(kept, "statements", column, [200], begin, end)
            past = Past(source, one.start, end, one.step, 60, None)
            line = line_of(source, one.key)
            yield series(kept, "statements", column, None, begin, end).values
            yield one.values
            yield bucketed(past, column, line, one)

    before = list(seen())
    hours.close(find_source(kept.pk, "statements").pk, begin)
    assert list(seen()) == before
    assert (before[0][0], before[3][1]) == (2 * len(lines), 8192 * len(lines))
    assert (before[1], before[4]) == (before[2], before[5])


def test_a_gauge_rises_when_it_is_read_and_not_before(kept):
    """What is read each 15 minutes was drawn up to that much before the alert that it caused."""
    begin = YESTERDAY + dt.timedelta(hours=9)
    line, reads = Known((1,), Look((), (), [])), ((4, 10), (19, 10), (34, 70), (49, 70))
    for place, (minute, value) in enumerate(reads):
        at, length = begin + dt.timedelta(minutes=minute), 900.0 if place else 0.0
        sample = Sample("statements", "", at, length, True, ("size_bytes",))
        sample.add(line, [value])
        Keeper().keep(kept, [sample], [], [])
    end = begin + dt.timedelta(hours=1)
    for _ in ("open", "closed"):
        read = series(kept, "statements", "size_bytes", [1], begin, end, 60)
        risen = next(at for at, value in read.points() if value == 70)
        assert dt.datetime.fromtimestamp(risen / 1000, dt.UTC) == begin + dt.timedelta(minutes=34)
        assert [value for _, value in read.points()][19:34] == [10] * 15
        hours.close(find_source(kept.pk, "statements").pk, begin)


def test_lines_with_few_samples_lie_in_larger_blocks(kept):
    """25,000 indexes that are read four times an hour took twice the room of their open hour in blocks of 128."""
    begin = YESTERDAY + dt.timedelta(hours=8)
    sample = Sample("statements", "", begin + dt.timedelta(minutes=5), 60.0, True, ("size_bytes",))
    for number in range(3 * hours.SAMPLES):
        sample.add(Known((number,), Look((), (), [])), [8192 * number])
    Keeper().keep(kept, [sample], [], [])
    source = find_source(kept.pk, "statements")
    hours.close(source.pk, begin)
    (hour,) = Hour.objects.filter(source=source.pk, starts_at=begin)
    assert len(hour.firsts) == 3
    place, value = 2 * hours.SAMPLES + 5, 8192 * (2 * hours.SAMPLES + 5)
    read = series(kept, "statements", "size_bytes", [place], begin, begin + dt.timedelta(hours=1)).values
    assert {each for each in read if each is not None} == {value}


def test_every_gap_says_why(world):
    shown = series(
        world.server, "walk", "calls_total", ["line 1"], YESTERDAY, YESTERDAY + dt.timedelta(hours=5), 60
    )
    causes = {(missing.cause, missing.text) for missing in shown.missing}
    assert causes <= {
        ("silent", "No sample was taken."),
        ("restart", "The server was restarted."),
        ("reset", "Counters of these lines began anew."),
        ("none", "There is no sample of this time."),
    }
    assert ("silent", "No sample was taken.") in causes or ("restart", "The server was restarted.") in causes
    assert not Gap.objects.filter(server=world.server, ended_at=None).exists()


def test_what_was_never_sampled_says_so(kept, walk):
    shown = series(kept, "walk", "calls_total", start=YESTERDAY, end=YESTERDAY + dt.timedelta(hours=1))
    assert set(shown.values) == {None}
    assert [missing.text for missing in shown.missing] == ["Nothing was sampled yet."]


def test_lines_by_a_key_are_the_largest_and_others(kept, walk):
    world = World(kept, walk, 1)
    world.rows = {f"n{number}": [0, 0.0, number * 1000] for number in range(1, 9)}
    world.look()
    for _ in range(5):
        world.wall += dt.timedelta(seconds=60)
        world.steady += 60
        world.look()
    lines = History().lines(kept, "walk", "size_bytes", YESTERDAY, world.wall, by="name", most=4)
    assert [line.label for line in lines] == ["n8", "n7", "n6", "5 others"]
    assert lines[3].points[2][1] == 1000 + 2000 + 3000 + 4000 + 5000
    found = History().row(kept, "walk", ["size_bytes", "calls_total", "other"], YESTERDAY, world.wall, ["n7"])
    assert (list(found), found["size_bytes"].points[2][1]) == (["size_bytes", "calls_total"], 7000)
    assert History().row(kept, "walk", ["size_bytes"], YESTERDAY, world.wall, ["nobody"]) == {}


def test_old_partitions_are_dropped_and_the_cap_holds(kept, walk, settings):
    world = World(kept, walk, 1)
    world.look()
    now = YESTERDAY + dt.timedelta(days=1)
    old = now - dt.timedelta(days=20)
    partitions.ensure("hour", old)
    partitions.ensure("hour", now)
    assert partitions.drop_old(now) == [f"monitoring_hour_{old:%Y%m%d}"]
    day_before = now - dt.timedelta(days=3)
    partitions.ensure("hour", day_before)
    settings.HISTORY_CAP_BYTES = 1
    assert f"monitoring_hour_{day_before:%Y%m%d}" in partitions.keep_under_cap()
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass(%s) is not null", [f"monitoring_hour_{now:%Y%m%d}"])
        assert cursor.fetchone() == (True,)


def test_no_point_of_a_chart_lies_in_the_future():
    now = timezone.now()
    found = Series("size_bytes", (), now - dt.timedelta(seconds=100), 1800, [7.0])
    ((at, value),) = points(found, Server(created_at=now - dt.timedelta(days=1)))
    assert value == 7.0
    assert now.timestamp() <= at <= timezone.now().timestamp()


def test_no_point_of_a_chart_lies_before_its_server_was_added():
    begin = YESTERDAY
    server = Server(created_at=begin + dt.timedelta(minutes=55))
    found = Series("size_bytes", (), begin, 3600, [7.0, 8.0])
    assert points(found, server) == [
        (server.created_at.timestamp(), 7.0),
        ((begin + dt.timedelta(minutes=90)).timestamp(), 8.0),
    ]


def test_a_gauge_that_stood_still_since_before_the_window_is_known_in_it(kept):
    """Only what changes is kept: the window's start must be told by the ticks of its hour before it."""
    line, keeper = Known(("big",), Look((), (), [])), Keeper()
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=1)
    for minute in range(50):
        at = hour + dt.timedelta(minutes=minute)
        sample = Sample("walk", "", at, 60.0, minute == 0, ("size_bytes",))
        if minute == 0:
            sample.add(line, [4096])
        keeper.keep(kept, [sample], [], [])
    start, end = hour + dt.timedelta(minutes=20), hour + dt.timedelta(minutes=30)
    assert series(kept, "walk", "size_bytes", ["big"], start, end, 60).values == [4096.0] * 10
