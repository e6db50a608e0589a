"""A server that hangs holds up nobody: every page, preview and start answers within a second, in words."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver

from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY
from dbadmin.pages import PAGES
from tests.fixtures.runtime import descendants
from tests.fixtures.servers import server_row
from tests.fixtures.stopwatch import took
from tests.test_look import routes

pytestmark = pytest.mark.django_db(transaction=True)
#: The whole sentence, for seconds.
SILENT = (
    "The server has not answered within {0} s: it hangs, or its host or port cannot be reached"
    " (firewall, routing, wrong port)."
)
#: Parameters with which an operation would ask the server for its plan.
ENOUGH = {
    "schema": "public", "table": "users", "view": "totals", "index": "users_key", "constraint": "users_check",
    "columns": "id", "pid": "4711", "name": "forgotten", "database": "shop", "preview": "1",
}  # fmt: skip


@pytest.fixture
def hung() -> Iterator[Server]:
    """A server whose host takes connections in silence."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        server = Server(name="hung")
        dsn = f"postgresql://nobody:x@127.0.0.1:{listener.getsockname()[1]}/none"
        server.seal_dsn("monitor_dsn", dsn)
        server.seal_dsn("operate_dsn", dsn)
        server.save()
        yield server


def rooms() -> list[str]:
    """Every address of a server, as the end of a path."""
    start = "servers/<slug:server_name>/"
    found = {
        route.removeprefix(start) for route in routes(get_resolver().url_patterns) if route.startswith(start)
    }
    return sorted(
        {each for each in found if "<" not in each}
        | {f"{page.name}/" for page in PAGES.values() if page.name}
    )


def timed(client: Client, path: str, promised: float = 1) -> tuple[float, Any]:
    """How long the answer takes, and the first one."""
    answers: list[Any] = []
    return took(lambda: answers.append(client.get(path)), promised), answers[0]


def test_every_room_opens_without_waiting_for_it(hung: Server, client_as: Callable[[str], Client]) -> None:
    client = client_as("admin")
    client.get("/")
    assert len(rooms()) > 30
    slow = {}
    for room in rooms():
        seconds, answer = timed(client, f"/servers/hung/{room}")
        absent = {404} if room == "audit/seals/witness/" else set()  # of a log that was never sealed
        assert answer.status_code in {200, 302, 405, 503} | absent, room
        if seconds > 1:
            slow[room] = seconds
    assert slow == {}


def test_a_room_says_why_it_has_nothing_to_show(hung: Server, client_as: Callable[[str], Client]) -> None:
    page = client_as("viewer").get("/servers/hung/activity/").content.decode()
    assert "The server has not answered yet, and no earlier answer is stored." in page


def test_the_audit_log_says_that_the_server_is_silent(
    hung: Server, client_as: Callable[[str], Client]
) -> None:
    seconds, answer = timed(client_as("auditor"), "/servers/hung/audit/")
    assert (answer.status_code, answer.context["problem"].message) == (503, SILENT.format(0.7))
    assert seconds < 1


def test_every_operation_answers_within_a_second(hung: Server, client_as: Callable[[str], Client]) -> None:
    client = client_as("admin")
    client.get("/")
    slow, silent = {}, set()
    for name in REGISTRY:
        for query in ("", f"?{'&'.join(f'{key}={value}' for key, value in ENOUGH.items())}"):
            seconds, answer = timed(client, f"/servers/hung/do/{name}/{query}")
            assert answer.status_code == 200, name
            page = answer.content.decode()
            # An attempt of an earlier request may have been given up in the meantime: that took its three seconds.
            if SILENT.format(0.7) in page or SILENT.format(3) in page:
                silent.add(name)
            if seconds > 1:
                slow[name + query] = seconds
    assert slow == {}
    assert {"cancel_backend", "vacuum_table", "watch_table"} <= silent, silent


def test_a_harmless_start_is_refused_in_words(hung: Server, client_as: Callable[[str], Client]) -> None:
    client, answers = client_as("operator"), []
    start = lambda: answers.append(client.post("/servers/hung/do/cancel_backend/?pid=4711", {"start": "1"}))  # noqa: E731
    assert took(start, 1) < 1
    assert answers[0].context["refusal"] == (
        f"The connection to hung failed: {SILENT.format(0.7)} Run it again when that is mended."
    )
    assert not Run.objects.exists()


@contextmanager
def stopped(postgres: Any) -> Iterator[None]:
    """All processes of a server stand still, as on a machine whose disk does not answer."""
    pids = [postgres.pid, *descendants(postgres.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_connection_that_hung_after_it_was_made_is_given_up_too(
    new_postgres: Callable[..., Any], client_as: Callable[[str], Client]
) -> None:
    postgres = new_postgres()
    server = server_row("stuck", postgres)
    client = client_as("admin")
    path = f"/servers/{server}/do/vacuum_table/?schema=pg_catalog&table=pg_class"
    assert client.get(path).status_code == 200
    with stopped(postgres):
        for _ in range(3):
            seconds, answer = timed(client, path)
            assert seconds < 1
            assert "it hangs, or its host or port cannot be reached" in answer.context["refusal"]
    assert client.get(path).context["plan"]


def test_what_a_server_refuses_is_known_at_once_and_named(
    postgres: Any, client_as: Callable[[str], Client]
) -> None:
    server = server_row("closed", postgres)
    server.seal_dsn(
        "operate_dsn", f"postgresql://dbadmin_operate:not-the-one@127.0.0.1:{postgres.port}/postgres"
    )
    server.save()
    seconds, answer = timed(client_as("operator"), f"/servers/{server}/do/cancel_backend/?pid=4711", 0.6)
    assert answer.context["refusal"] == (
        "The connection to closed failed: The password of dbadmin_operate is wrong, or the server has no such role."
        " Run it again when that is mended."
    )
    assert seconds < 0.6
