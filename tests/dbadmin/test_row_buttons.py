"""A row's button does what is harmless on the click, and shows a preview of everything else."""

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from dbadmin.models import Run, Server

BUTTON = re.compile(r'<button class="small" form="start" formaction="([^"]+)">Cancel<')


@pytest.fixture
def sleeper(postgres: Any, database: str) -> Iterator[int]:
    """The process id of a session that sleeps in a statement."""
    connection = postgres.connect(database, application_name="sleeper")
    connection.pgconn.send_query(b"select pg_sleep(60)")
    yield connection.info.backend_pid
    connection.cancel_safe()
    connection.close()


def cancel_address(client: Client, server: Server, pid: int) -> str:
    """Where the button of this session's row sends its form."""
    page = client.get(f"/servers/{server}/activity/").content.decode()
    assert '<form method="post" id="start" hidden>' in page
    return next(
        found for found in map(unescape, BUTTON.findall(page)) if f"pid={pid}" in re.split("[?&]", found)
    )


def test_the_click_starts_it(server: Server, client_as: Callable[[str], Client], sleeper: int) -> None:
    client = client_as("operator")
    answer = client.post(cancel_address(client, server, sleeper), {"start": "1"})
    run = Run.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, run.get_absolute_url())
    assert (run.operation, run.target, run.door) == ("cancel_backend", f"session {sleeper}", "page")
    assert len(run.plan) == 1
    assert run.params[
        "seen_at"
    ]  # of the reading that the page showed: another session or statement is left alone


def test_it_wants_the_token_of_the_page(server: Server, client_as: Callable[[str], Client]) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client_as("operator").cookies
    address = f"/servers/{server}/do/cancel_backend/?pid=1"
    assert strict.post(address, {"start": "1"}).status_code == 403
    page = strict.get(f"/servers/{server}/activity/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token
    allowed = strict.post(address, {"start": "1", "csrfmiddlewaretoken": token[1]})
    assert allowed.status_code == 422  # there is no session 1


def test_who_may_not_do_it_gets_no_button_and_no_way_around(
    server: Server, client_as: Callable[[str], Client], sleeper: int
) -> None:
    client = client_as("viewer")
    assert "formaction" not in client.get(f"/servers/{server}/activity/").content.decode()
    assert (
        client.post(f"/servers/{server}/do/cancel_backend/?pid={sleeper}", {"start": "1"}).status_code == 403
    )
    assert not Run.objects.exists()


def test_what_is_not_harmless_is_shown_first(
    server: Server, client_as: Callable[[str], Client], sleeper: int
) -> None:
    answer = client_as("admin").post(f"/servers/{server}/do/terminate_backend/?pid={sleeper}", {"start": "1"})
    assert answer.status_code == 422
    assert "pg_terminate_backend" in answer.content.decode()
    assert not Run.objects.exists()


def test_a_session_that_has_ended_is_told_at_its_field(
    server: Server, client_as: Callable[[str], Client]
) -> None:
    answer = client_as("operator").post(f"/servers/{server}/do/cancel_backend/?pid=1", {"start": "1"})
    assert answer.status_code == 422
    assert answer.context["form"].errors == {"pid": ["Session 1 has ended. Nothing is left to do."]}
    assert escape("Session 1 has ended. Nothing is left to do.") in answer.content.decode()


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [1440, 390])
def test_it_is_reached_by_keyboard_on_rows_that_stay_low(
    page_as: Callable[..., Any], server: Server, sleeper: int, width: int, redis_url: str
) -> None:
    page = page_as("operator", width=width)
    page.goto(f"/servers/{server}/activity/?q=sleeper")
    button = page.locator(f"#sessions button[formaction*='pid={sleeper}']")
    button.wait_for()
    assert button.inner_text().strip().startswith("Cancel")
    if width == 1440:
        assert page.locator("#sessions tbody tr").first.bounding_box()["height"] <= 30
    box = button.bounding_box()
    assert min(box["width"], box["height"]) >= 24
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/runs/\d+/"))
    assert page.inner_text("h1").startswith("Cancel statement")


def test_a_refusal_at_the_last_moment_keeps_what_was_filled_in(
    server: Server, client_as: Callable[[str], Client], sleeper: int
) -> None:
    client = client_as("operator")
    address = cancel_address(client, server, sleeper)
    client.post(address, {"start": "1"})
    run = Run.objects.get()
    answer = client.post(address, {"start": "1"})
    assert (answer.status_code, f"pid={sleeper}&" in answer["Location"]) == (302, True)
    page = client.get(answer["Location"]).content.decode()
    assert f"Run {run.pk} by operator is queued with the same: Cancel statement session {sleeper}." in page
    assert f'name="pid" value="{sleeper}"' in page
