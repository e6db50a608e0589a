"""Why was it slow then: one page tells what happened, which statements moved, and who waited."""

import datetime as dt

import pytest
from django.utils import timezone

from dbadmin.models import Run, Server
from monitoring.alert_models import Alert, AlertRule
from monitoring.alerts import mark
from monitoring.chart import timeline
from monitoring.comparison import Spans, statements
from monitoring.gaps import was_read
from monitoring.keeper import Keeper
from monitoring.layouts import Look
from monitoring.models import Gap, Mark, Statement, Text
from monitoring.recorder import Known, Sample
from monitoring.timeline import happenings

pytestmark = pytest.mark.django_db
NOW = timezone.now().replace(second=0, microsecond=0)
COLUMNS = ("calls_total", "exec_seconds_total")


@pytest.fixture
def shop():
    """A server on which a statement got ten times slower half an hour ago, after an index was dropped."""
    server = Server.objects.create(name="shop")
    steady, slow = (Known((10, 5, number, True), Look((), (), [])) for number in (1, 2))
    keeper = Keeper()
    for minute in range(-60, 0):
        sample = Sample("statements", "", NOW + dt.timedelta(minutes=minute), 60.0, False, COLUMNS)
        sample.add(steady, [600, 6_000_000])
        sample.add(slow, [60, 600_000 if minute < -30 else 6_000_000])
        keeper.keep(server, [sample], [], [])
    for number, text in (
        (1, "select name from customers where id = $1"),
        (2, "select * from orders where note = $1"),
    ):
        kept = Text.objects.create(digest=bytes([number]), fingerprint=str(number), text=text)
        Statement.objects.create(server=server, database_id=5, query_id=number, text=kept)
    half = NOW - dt.timedelta(minutes=30)
    Mark.objects.create(
        server=server, at=half, kind="setting", text="work_mem was changed from 4096 kB to 64 kB."
    )
    Gap.objects.create(
        server=server,
        started_at=half,
        ended_at=half,
        cause="unreachable",
        text="The server does not answer: no route.",
    )
    Run.objects.create(
        server=server, server_name="shop", operation="drop_index", title="Drop index", target="public.orders_note",
        risk="DESTROYS", queue="operations", status="succeeded", user_name="anna", door="page", started_at=half,
    )  # fmt: skip
    Run.objects.create(
        server=server, server_name="shop", operation="drop_index", title="Drop index", target="public.long_ago",
        risk="DESTROYS", queue="operations", status="succeeded", user_name="anna", door="page",
        started_at=half - dt.timedelta(days=1),
    )  # fmt: skip
    Run.objects.create(
        server=server, server_name="shop", operation="seal_log", title="Seal the log", risk="HARMLESS",
        queue="operations", status="succeeded", door="schedule", started_at=half,
        finished_at=half + dt.timedelta(seconds=1),
    )  # fmt: skip
    return server


def test_the_statement_that_got_slower_comes_first_with_both_its_times(shop):
    start = NOW - dt.timedelta(minutes=30)
    first, second = statements(shop, Spans(start, NOW, start - (NOW - start)))
    assert first.query == "select * from orders where note = $1"
    assert (first.mean_before_seconds, first.mean_seconds) == (0.01, 0.1)
    assert (first.busy_before_ratio, first.busy_ratio) == pytest.approx((0.01, 0.1))
    assert (first.calls_before_per_second, first.calls_per_second) == (1.0, 1.0)
    assert (second.mean_before_seconds, second.mean_seconds) == (0.01, 0.01)


def test_everything_that_happened_in_the_window_is_told(shop):
    found = happenings(shop, NOW - dt.timedelta(minutes=40), NOW)
    assert sorted((one.kind, one.what) for one in found) == [
        ("run", "Drop index public.orders_note by anna: succeeded"),
        ("setting", "work_mem was changed from 4096 kB to 64 kB."),
        ("unreachable", "The server does not answer: no route."),
    ]


def test_a_mark_hides_the_gap_that_it_tells_of_and_no_other_of_its_kind(shop):
    told, untold = (NOW - dt.timedelta(minutes=minutes) for minutes in (10, 25))
    text = "The server was restarted."
    Mark.objects.create(server=shop, at=told, kind="restart", text=text)
    for began in (told, untold):
        Gap.objects.create(
            server=shop,
            started_at=began,
            ended_at=began + dt.timedelta(minutes=1),
            cause="restart",
            text=text,
        )
    found = happenings(shop, NOW - dt.timedelta(minutes=28), NOW)
    assert [(one.kind, one.began_at) for one in found] == [("restart", told), ("restart", untold)]
    drawn = timeline(shop, NOW - dt.timedelta(minutes=28), NOW)
    assert [(mark.at, mark.text) for mark in drawn] == [(untold, text), (told, text)]


def test_the_page_shows_all_of_it(shop, client_as):
    start = (NOW - dt.timedelta(minutes=30)).isoformat()
    page = client_as("viewer").get("/servers/shop/timeline/", {"from": start, "to": NOW.isoformat()})
    text = page.content.decode()
    assert page.status_code == 200
    for words in (
        "work_mem was changed",
        "Drop index public.orders_note",
        "where note = $1",
        "No session was at work",
    ):
        assert words in text, words
    assert "long_ago" not in text


def test_where_nobody_looked_it_is_not_said_that_nothing_was(shop, client_as):
    Server.objects.create(name="new")
    client = client_as("viewer")
    told = "Nobody looked: there is no sample of this window."
    text = client.get("/servers/new/timeline/").content.decode()
    assert text.count(told) == 3
    assert "No statement ran" not in text
    early = {"from": (NOW - dt.timedelta(days=3)).isoformat(), "to": (NOW - dt.timedelta(days=2)).isoformat()}
    assert client.get("/servers/shop/timeline/", early).content.decode().count(told) == 3
    Gap.objects.create(
        server=shop, started_at=NOW - dt.timedelta(minutes=20), ended_at=NOW - dt.timedelta(minutes=10),
        cause="silent", text="No sampler was reading this server.",
    )  # fmt: skip
    within = [NOW - dt.timedelta(minutes=minutes) for minutes in (18, 12)]
    assert not was_read(shop, *within)
    assert was_read(shop, NOW - dt.timedelta(minutes=9), NOW)


def test_an_alert_is_told_once_when_it_opens_and_once_when_it_is_over(shop):
    rule = AlertRule.objects.get(origin="header:server_vitals")
    opened, over = (NOW - dt.timedelta(minutes=minutes) for minutes in (20, 10))
    alert = Alert.objects.create(
        rule=rule, server=shop, severity="warning", since=opened, opened_at=opened, name="Full"
    )
    mark(alert, opened, "Full", "warning")
    mark(alert, over, "Full: over", "ok")
    told = [
        (one.began_at, one.what, one.url)
        for one in happenings(shop, NOW - dt.timedelta(hours=1), NOW)
        if one.kind == "alert"
    ]
    url = f"/alerts/{alert.pk}/"
    assert told == [(over, "Full: over", url), (opened, "Full", url)]
