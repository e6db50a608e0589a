"""Before and after: what clearly changed gets a verdict, what only varies does not, what is new or gone is said."""

import datetime as dt
import random

import pytest
from django.utils import timezone

from dbadmin.models import Run, Server
from monitoring import hours
from monitoring.blocks import TICKS, find_source, floor_hour, looked_up
from monitoring.comparison import Samples, Spans, statements
from monitoring.comparison_connections import connections
from monitoring.comparison_tables import tables
from monitoring.keeper import Keeper
from monitoring.layouts import Look
from monitoring.models import Line, Mark, Name, Statement, Text
from monitoring.recorder import Known, Sample
from monitoring.significance import chance, clear
from monitoring.statements import listing
from tests.fixtures.servers import server_row

NOW = timezone.now().replace(second=0, microsecond=0)
HALF = NOW - dt.timedelta(minutes=30)
SPANS = Spans(HALF, NOW, HALF - dt.timedelta(minutes=30))
TEXTS = {
    1: "select steady",
    2: "select slower",
    3: "select oftener",
    4: "select new",
    5: "select gone",
    6: "select noisy",
}


def line(*key):
    """A line of a source that is not stored yet."""
    return Known(key, Look((), (), []))


@pytest.fixture
def shop(db, postgres):
    """An hour of a server; at half time one statement got slower, one ran oftener, one came and one went."""
    server = server_row("shop", postgres, "shop")
    keeper, draw = Keeper(), random.Random(5)
    lines = {number: line(10, 5, number, True) for number in TEXTS}
    for minute in range(-60, 0):
        at, is_after = NOW + dt.timedelta(minutes=minute, seconds=30), minute >= -30
        sample = Sample("statements", "", at, 60.0, False, ("calls_total", "exec_seconds_total"))

        def add(number, calls, milliseconds, sample=sample):
            sample.add(lines[number], [calls, round(calls * milliseconds * 1000)])

        add(1, 60, draw.uniform(9, 11))
        add(2, 60, 100 if is_after else 10)
        add(3, 300 if is_after else 60, 10)
        add(4, 60, 5) if is_after else add(5, 60, 5)
        add(6, draw.randint(1, 200), draw.uniform(1, 40))
        keeper.keep(server, [sample, *others(at, is_after)], [], [])
    for number, text in TEXTS.items():
        kept = Text.objects.create(digest=bytes([number]), fingerprint=str(number), text=text)
        Statement.objects.create(server=server, database_id=5, query_id=number, text=kept)
    Name.objects.create(server=server, kind="role", number=10, name="app")
    Name.objects.create(server=server, kind="database", number=5, name="shop")
    return server


STATES, TABLES = [line("active"), line("idle")], [line("public", "orders"), line("public", "still")]
ORDERS = ("total_bytes", "sequential_rows_total", "index_rows_total", "inserted_rows_total",
          "updated_rows_total", "deleted_rows_total")  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_lines():
    """Each test has a store of its own: numbers of lines are given anew."""
    for one in [*STATES, *TABLES]:
        one.id = 0


def others(at, is_after):
    """Connections each minute, and tables."""
    states = Sample("connections_by_state", "", at, 60.0, True, ("connections_count",))
    states.add(STATES[0], [30 if is_after else 3])
    states.add(STATES[1], [5])
    sizes = Sample("tables", "shop", at, 60.0, True, ORDERS)
    sizes.add(TABLES[0], [8_000_000 if is_after else 1_000_000, 6000 if is_after else 0, 0, 120, 0, 0])
    sizes.add(TABLES[1], [8192, 0, 0, 0, 0, 0])
    return [states, sizes]


def test_what_clearly_changed_has_a_verdict_and_what_only_varies_has_none(shop):
    found = {row.query: row for row in statements(shop, SPANS)}
    assert {query: row.verdict for query, row in found.items()} == {
        "select steady": "no clear change",
        "select slower": "slower, 10.0 ×",
        "select oftener": "more often, 5.0 ×",
        "select new": "new",
        "select gone": "gone",
        "select noisy": "no clear change",
    }
    assert {query for query, row in found.items() if row.is_worse} == {"select slower", "select oftener"}


def test_rates_means_and_shares_are_those_of_each_window(shop):
    first = statements(shop, SPANS)[0]
    assert (first.query, first.role, first.database) == ("select slower", "app", "shop")
    assert (first.calls_per_second, first.calls_before_per_second) == (1.0, 1.0)
    assert (first.mean_seconds, first.mean_before_seconds) == pytest.approx((0.1, 0.01), rel=0.02)
    assert (first.busy_ratio, first.busy_before_ratio) == pytest.approx((0.1, 0.01), rel=0.02)
    assert first.difference_ratio == pytest.approx(0.09, rel=0.02)
    shares = [(row.share_ratio, row.share_before_ratio) for row in statements(shop, SPANS)]
    assert [sum(side) for side in zip(*shares, strict=True)] == pytest.approx([1, 1])


def test_a_window_without_samples_gives_no_verdict_and_no_zero(shop):
    week_ago = Spans(HALF, NOW, HALF - dt.timedelta(days=7))
    for row in statements(shop, week_ago):
        assert row.verdict == "too few samples"
        assert (row.calls_before_per_second, row.busy_before_ratio, row.share_before_ratio) == (
            None,
            None,
            None,
        )
    for group in connections(shop, week_ago):
        assert (group.verdict, group.mean_before_count) == ("too few samples", None)
    orders, _ = tables(shop, week_ago)
    assert (orders.size_before_bytes, orders.growth_bytes, orders.scanned_before_rows_per_second) == (
        None,
        None,
        None,
    )


def test_tables_show_their_work_and_their_growth(shop):
    (orders,) = tables(shop, SPANS)
    assert (orders.schema, orders.table) == ("public", "orders")
    assert (orders.scanned_rows_per_second, orders.scanned_before_rows_per_second) == (100.0, 0.0)
    assert (orders.written_rows_per_second, orders.written_before_rows_per_second) == (2.0, 2.0)
    assert (orders.size_bytes, orders.size_before_bytes, orders.growth_bytes) == (
        8_000_000,
        1_000_000,
        7_000_000,
    )


def test_connections_are_told_by_state(shop):
    active, idle = connections(shop, SPANS)
    # Thirty were first seen half a minute into this window.
    assert (active.of, active.name, active.verdict) == ("state", "active", "more, 9.8 ×")
    assert (active.mean_count, active.mean_before_count) == pytest.approx((29.55, 3), rel=0.001)
    assert (idle.verdict, idle.highest_count, idle.highest_before_count) == ("no clear change", 5, 5)


@pytest.mark.parametrize("of", ["statements", "tables", "connections"])
@pytest.mark.parametrize("against", ["before", "day", "week"])
def test_the_page_shows_both_windows(shop, client_as, of, against):
    answer = client_as("viewer").get("/servers/shop/compare/", {"of": of, "against": against, "range": "1h"})
    assert answer.status_code == 200
    assert "held against" in answer.content.decode()


def test_the_other_window_may_begin_anywhere(shop, client_as):
    params = {
        "from": HALF.isoformat(),
        "to": NOW.isoformat(),
        "at": SPANS.against.isoformat(),
        "format": "json",
    }
    found = client_as("viewer").get("/servers/shop/compare/", params).json()
    assert found["against"] == [moment.isoformat() for moment in SPANS.before]
    assert {row["query"]: row["verdict"] for row in found["rows"]}["select slower"] == "slower, 10.0 ×"
    text = client_as("viewer").get("/servers/shop/compare/", {**params, "format": "csv"}).content.decode()
    assert text.splitlines()[0].startswith("query,verdict,busy_ratio,busy_before_ratio,")


def test_each_event_leads_to_its_before_and_after(shop, client_as):
    Mark.objects.create(server=shop, at=HALF, kind="deploy", text="shop 4.2 was deployed.")
    Run.objects.create(
        server=shop, server_name="shop", operation="drop_index", title="Drop index", target="public.orders_note",
        risk="DESTROYS", queue="operations", status="succeeded", user_name="anna", door="page", started_at=HALF,
    )  # fmt: skip
    text = client_as("viewer").get("/servers/shop/compare/").content.decode()
    for words in ("shop 4.2 was deployed.", "Drop index public.orders_note"):
        assert f">{words}</a>" in text


def test_strangers_see_nothing(shop, client_as):
    assert client_as("nobody").get("/servers/shop/compare/").status_code == 404


def test_a_server_without_history_says_so(client_as):
    Server.objects.create(name="new")
    text = client_as("viewer").get("/servers/new/compare/").content.decode()
    assert "No statement ran in either window." in text
    assert "Neither window has samples." in text


# The chances are those of scipy.stats.mannwhitneyu(x, y, method="asymptotic").
@pytest.mark.parametrize(
    "before, after, expected",
    [
        (range(1, 9), range(9, 17), 0.00093911),
        (range(1, 17, 2), range(2, 18, 2), 0.71319126),
        ([1] * 8, [1] * 8, 1.0),
        ([1, 1, 2, 2, 3, 3, 4, 4], [3, 3, 4, 4, 5, 5, 6, 6], 0.01197995),
    ],
)
def test_the_rank_test_gives_the_chances_that_statisticians_know(before, after, expected):
    assert chance(list(before), list(after)) == pytest.approx(expected, rel=1e-4)
    assert chance(list(after), list(before)) == pytest.approx(expected, rel=1e-4)


def test_too_few_samples_prove_nothing():
    assert chance([1.0] * 7, [2.0] * 100) is None


def test_one_slow_minute_proves_nothing():
    assert chance([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.0, 1.1], [1.1, 0.9, 1.0, 1.0, 0.8, 1.2, 1.0, 900.0]) > 0.05


def test_of_many_tests_of_nothing_hardly_one_is_believed():
    draw = random.Random(1)
    noise = [
        chance([draw.random() for _ in range(30)], [draw.random() for _ in range(30)]) for _ in range(300)
    ]
    assert sum(one < 0.01 for one in noise if one is not None) > 0
    assert sum(clear(noise)) == 0
    assert clear([*noise[:50], 1e-9, None]) == [*[False] * 50, True, False]


def test_many_lines_at_once_tell_what_each_tells_alone(shop):
    source = find_source(shop.pk, "statements")
    lines = list(Line.objects.filter(source=source).values_list("pk", flat=True))
    assert len(lines) > 1
    for begin in (dt.timedelta(hours=2), dt.timedelta(minutes=40, seconds=17)):
        samples = Samples(source, (NOW - begin, NOW))
        for column in ("calls_total", "exec_seconds_total"):
            assert any(samples.of(column, lines[0]))
            assert samples.of_all(column, lines) == {line: samples.of(column, line) for line in lines}


@pytest.mark.parametrize("page", ["2", "99999999999999999999"])
def test_a_page_of_statements_beyond_the_end_is_the_last_one(shop, client_as, page):
    answer = client_as("viewer").get(f"/servers/shop/queries/?page={page}")
    assert answer.status_code == 200
    assert "select slower" in answer.content.decode()


def test_a_page_that_looks_up_once_tells_the_same_when_an_hour_is_closed_meanwhile(shop):
    source, (start, end) = find_source(shop.pk, "statements"), SPANS.both
    alone = statements(shop, SPANS)
    assert {row.query: row.verdict for row in alone}["select new"] == "new"
    with looked_up(source, start, end):
        assert statements(shop, SPANS) == alone
        TICKS.clear()
        for hour in {floor_hour(start), floor_hour(end)}:
            hours.close(source.pk, hour)
        assert statements(shop, SPANS) == alone
    assert statements(shop, SPANS) == alone


@pytest.mark.parametrize("sort", ["exec_seconds_total", "calls_total", "mean_seconds"])
def test_a_list_of_statements_is_in_order_whatever_it_is_sorted_by(shop, sort):
    whole = listing(shop, *SPANS.both, sort=sort)
    values = [getattr(row, sort) for row in whole.rows]
    assert values == sorted(values, reverse=True)
    assert {row.text for row in whole.rows} == set(TEXTS.values())
    assert whole.count == len(TEXTS)
    paged = [
        row
        for place in range(len(TEXTS))
        for row in listing(shop, *SPANS.both, sort=sort, n=1, offset=place).rows
    ]
    assert paged == whole.rows
    assert [row.text for row in listing(shop, *SPANS.both, sort=sort, search="slower").rows] == [
        "select slower"
    ]
