"""A poll is answered at the door of the house, to those alone who may see the panel at that very moment."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from dbadmin.door import PROVER
from dbadmin.models import Server
from dbadmin.shared_panels import PANELS
from dbadmin.wsgi import application
from tests.dbadmin.test_shared_panels import ENDS, forget, hold, make_end
from tests.fixtures.people import person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def panel(server: Server) -> Iterator[str]:
    forget()
    yield f"/servers/{server}/activity/?panel=sessions"
    forget()
    if PROVER.connection is not None:
        PROVER.connection.close()
    PROVER.forget()


class Answer:
    """What the house answered, and how many statements it took on the connection of pages."""

    def __init__(self, session: str, address: str, method: str = "get") -> None:
        ask = getattr(RequestFactory(), method)
        environ = ask(address, headers={"HX-Request": "true", "Cookie": f"sessionid={session}"}).environ
        with CaptureQueriesContext(connection) as sent:
            self.content = b"".join(application(environ, self.begin))
        self.statements = [query["sql"] for query in sent.captured_queries]

    def begin(self, status: str, headers: list[tuple[str, str]]) -> None:
        """As WSGI has it."""
        self.status, self.headers = int(status[:3]), dict(headers)


def watching(client: Client, panel: str) -> str:
    """The session of a person who has polled until the door knows both the person and the panel."""
    session = str(client.session.session_key)
    assert [Answer(session, panel).status for _ in range(3)] == [200] * 3
    hold()
    return session


def test_gives_what_the_house_gave_with_the_same_headers_and_asks_nothing_of_its_connection(
    client_as: Callable[[str], Client], panel: str
) -> None:
    session = str(client_as("viewer").session.session_key)
    inside = Answer(session, panel)
    hold()
    again = Answer(session, panel)
    assert len(inside.statements) > 1
    assert again.statements == []
    assert (again.status, again.content, again.headers) == (200, inside.content, inside.headers)
    assert again.headers["Cache-Control"] == "private, no-store"
    assert "default-src 'none'" in again.headers["Content-Security-Policy"]


def test_each_gets_what_their_rights_let_them_see(client_as: Callable[[str], Client], panel: str) -> None:
    operator, viewer = watching(client_as("operator"), panel), watching(client_as("viewer"), panel)
    for session, has_buttons in ((operator, True), (viewer, False)):
        answer = Answer(session, panel)
        assert (b"formaction" in answer.content, answer.statements) == (has_buttons, [])


@pytest.mark.parametrize("end", ENDS)
def test_who_may_not_watch_any_more_sees_nothing_from_the_next_poll_on(
    client_as: Callable[[str], Client], panel: str, end: str
) -> None:
    client = client_as("viewer")
    session = watching(client, panel)
    assert Answer(session, panel).statements == []
    make_end(end, client, person("viewer"))
    assert Answer(session, panel).status == ENDS[end]


def test_a_stranger_with_a_chosen_session_gets_nothing(
    client_as: Callable[[str], Client], panel: str
) -> None:
    watching(client_as("viewer"), panel)
    assert [Answer("chosen", panel).status for _ in range(3)] == [302] * 3


def test_only_a_question_is_answered(client_as: Callable[[str], Client], panel: str) -> None:
    session = watching(client_as("viewer"), panel)
    assert Answer(session, panel, "post").status in {403, 405}


def test_an_old_panel_is_written_anew(client_as: Callable[[str], Client], panel: str) -> None:
    session = watching(client_as("viewer"), panel)
    (kept,) = PANELS.items.values()
    kept.until, kept.content = 0.0, b"old"
    answer = Answer(session, panel)
    assert answer.content != b"old"
    assert len(answer.statements) > 1
    hold()
    assert Answer(session, panel).statements == []


def test_whose_connection_was_ended_is_answered_inside(
    client_as: Callable[[str], Client], panel: str
) -> None:
    session = watching(client_as("viewer"), panel)
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'dbadmin polls'"
            " and datname = current_database()"
        )
    answer = Answer(session, panel)
    assert answer.status == 200
    assert len(answer.statements) == 1
    assert "django_session" in answer.statements[0]


def test_what_was_loaded_before_workers_begin_is_left_alone_by_their_collections() -> None:
    code = (
        "import gc; from dbadmin.wsgi import application\n"
        "left = sum(not isinstance(each, type) for each in gc.get_objects())\n"
        "print(gc.get_freeze_count() > 100 * left)"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "dbadmin.settings"}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "True\n"
