"""A panel is written once for all who have the same rights, and shown to nobody else."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dbadmin.models import Grant, Server
from dbadmin.shared_panels import PANELS, PEOPLE
from tests.fixtures.people import person

pytestmark = [pytest.mark.django_db, pytest.mark.servers]
POLL = {"HTTP_HX_REQUEST": "true"}


def forget() -> None:
    """Nobody is known and no panel is written."""
    PANELS.items.clear()
    PEOPLE.items.clear()


def hold() -> None:
    """What is written now stays fresh for the test, however busy the machine is."""
    for written in PANELS.items.values():
        written.until += 60


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def panel(server: Server) -> str:
    return f"/servers/{server}/activity/?panel=sessions"


def watch(client: Client, panel: str, times: int = 3) -> bytes:
    """Poll until this person is known and the panel is written."""
    for _ in range(times):
        answer = client.get(panel, **POLL)
        assert answer.status_code == 200
    hold()
    return bytes(answer.content)


def asked(client: Client, panel: str) -> tuple[Any, list[str]]:
    """An answer, and the statements that it took."""
    with CaptureQueriesContext(connection) as sent:
        answer = client.get(panel, **POLL)
    return answer, [query["sql"] for query in sent.captured_queries]


def second(role: str) -> Client:
    """Another person of this role."""
    client = Client()
    user = person("nobody", f"second {role}")
    Grant.objects.get_or_create(user=user, role=role)
    client.force_login(user)
    return client


#: How watching ends -> what the next poll is answered.
ENDS = {"grant": 404, "locked": 302, "password": 302, "session": 302, "signed out": 302}


def make_end(end: str, client: Client, user: Any) -> None:
    """Take from a person what watching needs."""
    match end:
        case "grant":
            user.grants.all().delete()
        case "locked":
            type(user).objects.filter(pk=user.pk).update(is_active=False)
        case "password":
            user.set_password("another one")
            user.save()
        case "session":
            Session.objects.filter(session_key=client.session.session_key).delete()
        case "signed out":
            client.post("/accounts/logout/")


def test_who_watches_costs_one_statement_that_proves_who_it_is(
    client_as: Callable[[str], Client], panel: str
) -> None:
    written = watch(client_as("viewer"), panel)
    other = second("viewer")
    watch(other, panel)
    answer, statements = asked(other, panel)
    assert len(statements) == 1, statements
    assert "django_session" in statements[0]
    assert answer.content[:200] == written[:200]
    assert answer["Cache-Control"] == "private, no-store"
    assert "default-src 'none'" in answer["Content-Security-Policy"]


def test_each_gets_what_their_rights_let_them_see(client_as: Callable[[str], Client], panel: str) -> None:
    operator, viewer = client_as("operator"), client_as("viewer")
    for client, has_buttons in ((operator, True), (viewer, False), (operator, True), (viewer, False)):
        assert (b"formaction" in watch(client, panel)) is has_buttons
        assert len(asked(client, panel)[1]) == 1


def test_no_panel_holds_a_token(client_as: Callable[[str], Client], panel: str) -> None:
    assert b"csrfmiddlewaretoken" not in watch(client_as("operator"), panel)


@pytest.mark.parametrize("end", ENDS)
def test_who_may_not_watch_any_more_sees_nothing_from_the_next_poll_on(
    client_as: Callable[[str], Client], panel: str, end: str
) -> None:
    others, client = second("viewer"), client_as("viewer")
    watch(client, panel)
    assert len(asked(client, panel)[1]) == 1
    make_end(end, client, person("viewer"))
    assert client.get(panel, **POLL).status_code == ENDS[end]
    assert watch(others, panel)


def test_a_stranger_with_a_chosen_session_gets_nothing(
    client_as: Callable[[str], Client], panel: str
) -> None:
    watch(client_as("viewer"), panel)
    stranger = Client()
    stranger.cookies["sessionid"] = "chosen"
    for _ in range(3):
        assert stranger.get(panel, **POLL).status_code == 302


def test_several_panels_come_in_one_answer_in_the_order_of_their_page(
    client_as: Callable[[str], Client], panel: str
) -> None:
    client = client_as("viewer")
    several = f"{panel}&panel=wait_events&panel=blocking_tree&panel=is_none"
    written = watch(client, several).decode()
    assert re.findall(r'<section class="panel" id="(\w+)"', written) == [
        "sessions",
        "blocking_tree",
        "wait_events",
    ]
    assert re.findall(r'hx-get="([^"]+)"', written) == [
        "?panel=sessions",
        "?panel=blocking_tree",
        "?panel=wait_events",
    ]
    assert len(asked(client, several)[1]) == 1
    assert client.get(f"{panel.partition('?')[0]}?panel=is_none&panel=is_neither", **POLL).status_code == 404


def test_a_panel_is_written_anew_a_second_later(client_as: Callable[[str], Client], panel: str) -> None:
    client = client_as("viewer")
    watch(client, panel)
    (kept,) = PANELS.items.values()
    kept.until, kept.content = 0.0, b"old"
    answer, statements = asked(client, panel)
    assert answer.content != b"old"
    assert len(statements) > 1
    hold()
    assert len(asked(client, panel)[1]) == 1


def test_while_one_writes_it_anew_the_others_get_the_last_one(
    client_as: Callable[[str], Client], panel: str
) -> None:
    from dbadmin.shared_panels import fresh

    watch(client_as("viewer"), panel)
    ((key, kept),) = PANELS.items.items()
    kept.until = 0.0
    assert fresh(key) is None
    assert fresh(key) is kept


def test_an_odd_address_is_refused_as_ever(client_as: Callable[[str], Client], panel: str) -> None:
    assert client_as("viewer").get(f"{panel}%00", **POLL).status_code == 400
