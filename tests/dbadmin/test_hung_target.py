"""A server that hangs holds up nobody: every page, preview and start answers within a second, in words."""

import os
import signal
import socket
import time
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
from tests.test_look import routes

pytestmark = pytest.mark.django_db(transaction=True)
SILENT = "The server has not answered within 0.7 s: it hangs, or the way to it is slow."
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


def timed(client: Client, path: str) -> tuple[float, Any]:
    """How long the answer took."""
    began = time.monotonic()
    answer = client.get(path)
    return time.monotonic() - began, answer


def test_every_room_opens_without_waiting_for_it(hung: Server, client_as: Callable[[str], Client]) -> None:
    client = client_as("admin")
    client.get("/")
    assert len(rooms()) > 30
    slow = {}
    for room in rooms():
        took, answer = timed(client, f"/servers/hung/{room}")
        assert answer.status_code in {200, 302, 405, 503}, room
        if took > 1:
            slow[room] = took
    assert slow == {}


def test_a_room_says_why_it_has_nothing_to_show(hung: Server, client_as: Callable[[str], Client]) -> None:
    page = client_as("viewer").get("/servers/hung/activity/").content.decode()
    assert "The server has not answered yet, and no earlier answer is stored." in page


def test_the_audit_log_says_that_the_server_is_silent(
    hung: Server, client_as: Callable[[str], Client]
) -> None:
    took, answer = timed(client_as("auditor"), "/servers/hung/audit/")
    assert (answer.status_code, answer.context["problem"].message) == (503, SILENT)
    assert took < 1


def test_every_operation_answers_within_a_second(hung: Server, client_as: Callable[[str], Client]) -> None:
    client = client_as("admin")
    client.get("/")
    slow, silent = {}, set()
    for name in REGISTRY:
        for query in ("", f"?{'&'.join(f'{key}={value}' for key, value in ENOUGH.items())}"):
            took, answer = timed(client, f"/servers/hung/do/{name}/{query}")
            assert answer.status_code == 200, name
            if SILENT in answer.content.decode():
                silent.add(name)
            if took > 1:
                slow[name + query] = took
    assert slow == {}
    assert {"cancel_backend", "vacuum_table", "watch_table"} <= silent, silent


def test_a_harmless_start_is_refused_in_words(hung: Server, client_as: Callable[[str], Client]) -> None:
    began = time.monotonic()
    answer = client_as("operator").post("/servers/hung/do/cancel_backend/?pid=4711", {"start": "1"})
    assert time.monotonic() - began < 1
    assert answer.context["refusal"] == (
        f"The connection to hung failed: {SILENT} Run it again when that is mended."
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
            took, answer = timed(client, path)
            assert took < 1
            assert "it hangs, or the way to it is slow." in answer.context["refusal"]
    assert client.get(path).context["plan"]


def test_what_a_server_refuses_is_known_at_once_and_named(
    postgres: Any, client_as: Callable[[str], Client]
) -> None:
    server = server_row("closed", postgres)
    server.seal_dsn(
        "operate_dsn", f"postgresql://dbadmin_operate:not-the-one@127.0.0.1:{postgres.port}/postgres"
    )
    server.save()
    took, answer = timed(client_as("operator"), f"/servers/{server}/do/cancel_backend/?pid=4711")
    assert answer.context["refusal"] == (
        "The connection to closed failed: The password of dbadmin_operate is wrong, or the server has no such role."
        " Run it again when that is mended."
    )
    assert took < 0.6
