"""A server that accepts connections and never answers holds up no page."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from dbadmin.models import Server
from dbadmin.pages import PAGES

pytestmark = pytest.mark.django_db(transaction=True)
ROOMS = [*sorted(page.name for page in PAGES.values() if page.panels), "queries", "readiness", "backups"]


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


def test_every_room_opens_without_waiting_for_it(hung: Server, client_as: Callable[[str], Client]) -> None:
    client = client_as("admin")
    client.get("/")
    slow = {}
    for name in ROOMS:
        began = time.monotonic()
        answer = client.get(f"/servers/hung/{name}/" if name else "/servers/hung/")
        took = time.monotonic() - began
        assert answer.status_code == 200, name
        # One wait of four tenths; three seconds would be the connection's own time limit.
        if took > 2:
            slow[name] = took
    assert slow == {}


def test_a_room_says_why_it_has_nothing_to_show(hung: Server, client_as: Callable[[str], Client]) -> None:
    page = client_as("viewer").get("/servers/hung/activity/").content.decode()
    assert "The server has not answered yet, and no earlier answer is stored." in page
