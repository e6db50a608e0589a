"""Why was it slow then: one page tells what happened, which statements moved, and who waited."""

import datetime as dt

import pytest
from django.utils import timezone

from dbadmin.models import Run, Server
from monitoring.chart import timeline
from monitoring.comparison import Spans, statements
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
    assert drawn == [(untold, text), (told, text)]


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


def test_a_server_without_history_says_so(client_as):
    Server.objects.create(name="new")
    text = client_as("viewer").get("/servers/new/timeline/").content.decode()
    assert "Nothing that we know of." in text
    assert "No statement ran in the window, or in the one before." in text
