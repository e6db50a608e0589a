"""Live panels follow the server, keep what a person is doing, and say when they fall behind."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from dbadmin.models import Run, Server

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def run():
    server = Server(name="shop")
    server.seal_dsn("monitor_dsn", "postgresql://nobody@127.0.0.1:1/none")
    server.save()
    return Run.objects.create(
        server=server,
        server_name="shop",
        operation="take_backup",
        title="Take a backup",
        target="shop",
        plan=["Read every row", "Write the manifest"],
        risk="loads",
        queue="backups",
        user_name="maria",
        door="page",
    )


def finish(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(status="succeeded", message="42 tables read back.")


def test_a_list_follows_what_happens_and_keeps_the_focus(page_as, run):
    page = page_as("admin")
    page.goto("/runs/")
    assert "Queued" in page.inner_text("#runs")
    page.focus("#runs a")
    finish(run)
    page.wait_for_selector("#runs :text('42 tables read back.')", timeout=12_000)
    assert page.evaluate("document.activeElement.textContent") == "Take a backup"


def test_a_run_that_is_over_stops_asking(page_as, run):
    page = page_as("admin")
    page.goto(f"/runs/{run.pk}/")
    assert page.get_attribute("#run", "data-live") == "1"
    finish(run)
    page.wait_for_selector("#run :text('42 tables read back.')")
    assert page.get_attribute("#run", "data-live") is None


def test_a_panel_that_cannot_refresh_keeps_its_rows_and_says_since_when(page_as, run, complaints):
    complaints.expected += ["Failed to load resource", "runs/", "htmx"]
    page = page_as("admin")
    page.goto("/runs/")
    page.route(re.compile("/runs/"), lambda route: route.fulfill(status=503, body="no"))
    page.wait_for_selector("#runs .stale", timeout=12_000)
    assert re.fullmatch(
        r"Not refreshed since \d\d:\d\d:\d\d; it is tried again by itself\.", page.inner_text("#runs .stale")
    )
    assert "Take a backup" in page.inner_text("#runs")
    page.unroute(re.compile("/runs/"))
    page.wait_for_selector("#runs .stale", state="detached", timeout=12_000)


#: The ids of the panels of Activity that ask each five seconds.
LIVE = "[...document.querySelectorAll('[data-live=\"5.0\"]')].map((panel) => panel.id)"
#: Writes over the title of each panel, so that it is seen when an answer replaces it.
GROW_OLD = "document.querySelectorAll('[data-live] h2').forEach((title) => { title.textContent = 'Old'; })"


@pytest.mark.servers
def test_a_page_asks_for_all_its_live_panels_at_once(page_as, server):
    page = page_as("viewer")
    page.goto(f"/servers/{server}/activity/")
    live = page.evaluate(LIVE)
    assert live[:3] == ["sessions", "blocking_tree", "wait_events"]
    page.evaluate(GROW_OLD)
    polls = []
    page.on("request", lambda request: polls.append(parse_qs(urlsplit(request.url).query)["panel"]))
    page.wait_for_selector("[data-live='5.0'] h2:text-is('Old')", state="detached", timeout=12_000)
    assert polls == [live]
    assert page.locator(".is-stale").count() == 0


@pytest.mark.servers
def test_a_panel_that_does_not_come_with_the_others_says_since_when(page_as, server):
    page = page_as("viewer")
    page.goto(f"/servers/{server}/activity/")
    page.evaluate(GROW_OLD)

    def without_the_second(route):
        answer = route.fetch()
        text = re.sub(r'(?s)<section[^>]*id="blocking_tree".*?</section>', "", answer.text())
        route.fulfill(response=answer, body=text)

    page.route(re.compile("panel="), without_the_second)
    page.wait_for_selector("#blocking_tree .stale", timeout=12_000)
    assert page.inner_text("#blocking_tree .stale").endswith("; it is tried again by itself.")
    page.wait_for_selector("#sessions h2:text-is('Old')", state="detached")
    assert page.inner_text("#blocking_tree h2") == "Old"
    assert page.locator(".is-stale").count() == 1
    page.unroute(re.compile("panel="))
    page.wait_for_selector("#blocking_tree .stale", state="detached", timeout=12_000)
