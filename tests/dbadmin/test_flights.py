"""Live pages: all panels asked in one flight over one connection; each tells its own trouble and keeps up no other."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.test import Client

from dbadmin.models import Server
from dbadmin.pages import PAGES, Page, Table
from dbadmin.probes import PROBES, Problem, SqlProbe
from dbadmin.readings import Question, live_all
from dbadmin.single_flight import FLIGHTS
from tests.fixtures.runtime import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

PANELS = ("sessions", "blocking_tree", "progress", "wait_events", "long_transactions", "idle_in_transaction")


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """Each test asks anew."""
    FLIGHTS.forget()


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """A page whose first panel takes longer than anybody waits."""
    path = tmp_path / "slow_trial.sql"
    path.write_text("-- title: Slow\n-- about: Takes its time.\nselect pg_catalog.pg_sleep(1.2), 1 as pid\n")
    monkeypatch.setitem(PROBES, "slow_trial", SqlProbe("monitoring", path))
    page = Page("trial", "Trial", [Table("slow_trial"), *map(Table, PANELS)])
    monkeypatch.setitem(PAGES, "trial", page)
    return page


class Refusing:
    """Listens where a server should, and hangs up on whoever knocks; counts them."""

    def __init__(self) -> None:
        self.listener, self.knocks = socket.create_server(("127.0.0.1", 0)), 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.knocks += 1
                client.close()


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    """One of these."""
    made = Refusing()
    yield made
    made.listener.close()


def panel(text: str, name: str) -> str:
    """One panel of a page."""
    return re.findall(rf'(?s)<section class="panel[^>]* id="{name}".*?</section>', text)[0]


def test_a_panel_that_keeps_us_waiting_keeps_no_other_waiting(
    slow: Page, server: Server, client_as: Callable[[str], Client]
) -> None:
    text = client_as("viewer").get(f"/servers/{server.name}/trial/").content.decode()
    assert "The server has not answered yet, and no earlier answer is stored." in panel(text, "slow_trial")
    assert "dbadmin_monitor" in panel(text, "sessions")
    assert PROBES["blocking_tree"].empty in panel(text, "blocking_tree")
    until(lambda: not FLIGHTS.under_way)
    again = client_as("viewer").get(f"/servers/{server.name}/trial/?panel=slow_trial").content.decode()
    assert ">1</td>" in again


def test_an_answer_is_shown_to_other_processes_while_what_was_asked_with_it_is_under_way(
    slow: Page, server: Server
) -> None:
    questions = [Question(PROBES[name]) for name in ("sessions", "slow_trial")]
    live_all(server, questions)
    keys = [question.key(server) for question in questions]
    until(lambda: keys[0] not in FLIGHTS.under_way)
    assert list(FLIGHTS.shared.get(keys)) == keys[:1]
    assert list(FLIGHTS.under_way) == keys[1:]
    until(lambda: not FLIGHTS.under_way)
    assert list(FLIGHTS.shared.get(keys)) == keys


def test_who_is_not_let_in_does_not_knock_for_each_panel_of_a_page(
    refusing: Refusing, server: Server
) -> None:
    port = refusing.listener.getsockname()[1]
    server.seal_dsn(
        "monitor_dsn", f"postgresql://watcher@127.0.0.1:{port}/shop?sslmode=disable&gssencmode=disable"
    )
    found = live_all(server, [Question(PROBES[name]) for name in PANELS])
    until(lambda: not FLIGHTS.under_way)
    assert refusing.knocks <= 2  # the pool itself tries a second time
    (problem,) = {each.problem for each in found}
    assert problem.kind == "unreachable"


def test_a_page_without_a_pooler_says_so_of_what_only_a_pooler_tells(server: Server) -> None:
    pools, sessions = live_all(server, [Question(PROBES[name]) for name in ("pools", "sessions")])
    assert pools.problem == Problem("unsupported", "No PgBouncer is known for this server.")
    assert sessions.problem is None
