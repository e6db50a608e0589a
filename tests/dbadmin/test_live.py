"""Live panels follow the server, keep what a person is doing, and say when they fall behind."""

import re

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
