"""A Redis that hangs holds up nobody: pages and starts answer within a second, and the runs begin when it goes on."""

import time
from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from dbadmin import queues
from dbadmin.models import Run, Server, WorkerBeat
from tests.fixtures.runtime import OwnRedis, Process, until
from tests.fixtures.stopwatch import took_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("trial")]
PAGES = (
    "/",
    "/runs/",
    "/schedules/",
    "/alerts/",
    "/servers/shop/",
    "/servers/shop/activity/",
    "/servers/shop/tables/",
)


@pytest.fixture
def hung(own_redis: OwnRedis) -> Iterator[OwnRedis]:
    """It goes on at the end, so that it can be stopped."""
    yield own_redis
    own_redis.go_on()


def start(client: Client) -> Run:
    """By the button of a page."""
    answer = client.post("/servers/shop/do/trial/?kind=quick", {"start": "1"})
    assert answer.status_code == 302, answer.content.decode()
    return Run.objects.latest("pk")


def has(run: Run, status: str) -> Callable[[], bool]:
    return lambda: Run.objects.filter(pk=run.pk, status=status).exists()


def test_pages_open_sign_in_works_and_a_button_stores_its_run(
    server: Server, hung: OwnRedis, client_as: Callable[[str], Client]
) -> None:
    client = client_as("operator")
    for page in PAGES:
        assert client.get(page).status_code == 200
    hung.hang()
    slow = {page: seconds for page in PAGES if (seconds := took_once(lambda page=page: client.get(page))) > 1}
    assert slow == {}
    assert took_once(lambda: Client().get("/accounts/login/")) < 1
    assert took_once(lambda: client_as("viewer")) < 2  # it hashes a password
    assert took_once(lambda: start(client)) < 1
    run = Run.objects.get()
    assert (run.status, run.message) == ("queued", queues.WAITS)
    assert took_once(lambda: client.post(f"/runs/{run.pk}/cancel/")) < 1
    run.refresh_from_db()
    assert (run.status, run.message) == ("cancelled", "Cancelled by operator before it began.")


@pytest.mark.slow
def test_runs_begin_when_it_goes_on(
    server: Server, hung: OwnRedis, client_as: Callable[[str], Client], process: Callable[..., Process]
) -> None:
    client = client_as("operator")
    worker, scheduler = process("worker", "--name", "w1"), process("scheduler", "--name", "s1")
    until(lambda: WorkerBeat.objects.filter(leads=True).exists())
    first = start(client)
    until(has(first, "succeeded"))
    hung.hang()
    run = start(client)
    assert run.message == queues.WAITS
    time.sleep(3)
    hung.go_on()
    until(has(run, "succeeded"), 60)
    assert worker.popen.poll() is None
    assert scheduler.popen.poll() is None
