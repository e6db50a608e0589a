"""What destroys waits for a second person where a server asks for one, through every door."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from dbadmin import consent, plans, runner, runs, two_people
from dbadmin.models import ApiToken, Event, Run, Schedule, Server
from dbadmin.operations import REGISTRY, Refused, Risk
from dbadmin.scheduler import start_due
from tests import trial_operations
from tests.carrying_out import operation
from tests.trial_operations import Trial

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

NO_REASON = (
    "shop asks for a second person before anything is destroyed. "
    "Say why this is to be done: another admin reads the reason and agrees or not."
)


class TrialThatDestroys(Trial):
    """Take something away."""

    risk = Risk.DESTROYS
    name, app = "trial_that_destroys", "dbadmin"


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    before = dict(REGISTRY)
    trial_operations.register()
    REGISTRY["trial_that_destroys"] = TrialThatDestroys
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.fixture
def guarded(server: Server, redis_url: str) -> Server:
    """A server that asks for two people."""
    server.two_people, server.environment = True, "production"
    server.save()
    return server


def ask(server: Server, user: Any, **options: Any) -> Run:
    wanted = operation("trial_that_destroys", server, kind="quick")
    return runs.start(wanted, user, Run.Door.PAGE, **{"reason": "It is empty.", **options})


def test_one_alone_may_do_it_where_nobody_asks_for_two(server: Server, user_as: Callable[..., Any]) -> None:
    assert ask(server, user_as("admin"), reason="").status == "queued"


def test_without_a_reason_nothing_is_asked(guarded: Server, user_as: Callable[..., Any]) -> None:
    with pytest.raises(Refused) as caught:
        ask(guarded, user_as("admin"), reason=" ")
    assert (str(caught.value), caught.value.field) == (NO_REASON, "reason")
    assert not Run.objects.exists()


def test_what_does_not_destroy_waits_for_nobody(guarded: Server, user_as: Callable[..., Any]) -> None:
    run = runs.start(operation("trial", guarded, kind="quick"), user_as("admin"), Run.Door.PAGE)
    assert run.status == "queued"


def test_a_whole_environment_asks_for_two(server: Server, user_as: Callable[..., Any], settings: Any) -> None:
    settings.DBADMIN_TWO_PEOPLE = ["production"]
    server.environment = "staging"
    assert not server.asks_two
    server.environment = "production"
    assert ask(server, user_as("admin")).status == "waiting"


def test_a_run_waits_until_another_agrees_and_then_does_what_was_planned(
    guarded: Server, user_as: Callable[..., Any]
) -> None:
    maria, joe = user_as("admin", "maria"), user_as("admin", "joe")
    run = ask(guarded, maria, patience=timedelta(hours=2))
    assert run.status == "waiting"
    assert run.wait_until - timezone.now() > timedelta(minutes=119)
    assert runs.waits_for(run) == (
        f"Waits until {run.wait_until:%Y-%m-%d %H:%M} for a second person: "
        "another admin has to agree on the page of approvals."
    )
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "waiting"
    two_people.agree(run, joe)
    assert (run.status, run.second_name) == ("queued", "joe")
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert list(Event.objects.filter(kind="approval").values_list("user_name", "text").order_by("id")) == [
        ("maria", "Asked for a second person: Trial quick. It is empty."),
        ("joe", f"Agreed to run {run.pk}: Trial quick."),
    ]


def test_nobody_agrees_to_what_they_asked_for(guarded: Server, user_as: Callable[..., Any]) -> None:
    maria = user_as("admin", "maria")
    run = ask(guarded, maria)
    with pytest.raises(Refused) as caught:
        two_people.agree(run, maria)
    assert str(caught.value) == "You asked for it yourself. Another admin has to agree."
    run.refresh_from_db()
    assert run.status == "waiting"


def test_only_who_may_do_it_may_agree(guarded: Server, user_as: Callable[..., Any]) -> None:
    run = ask(guarded, user_as("admin"))
    assert two_people.why_not(run, user_as("operator")) == "This needs the role admin on shop."
    assert not two_people.waiting(user_as("operator")).exists()


def test_of_two_who_decide_at_once_one_is_told(guarded: Server, user_as: Callable[..., Any]) -> None:
    run = ask(guarded, user_as("admin", "maria"))
    same = Run.objects.get(pk=run.pk)
    two_people.refuse(run, user_as("admin", "joe"), "Not on a Friday.")
    with pytest.raises(Refused) as caught:
        two_people.agree(same, user_as("admin", "ann"))
    assert str(caught.value) == f"Somebody else has decided about run {run.pk} a moment ago."
    assert (run.status, run.message) == ("refused", "joe did not agree: Not on a Friday.")


def test_a_request_ends_with_its_time(guarded: Server, user_as: Callable[..., Any]) -> None:
    run = ask(guarded, user_as("admin", "maria"), patience=timedelta(0))
    assert two_people.why_not(run, user_as("admin", "joe")) == (
        "The time in which somebody could agree is over. Ask again."
    )
    assert two_people.expire() == [run.pk]
    run.refresh_from_db()
    assert run.status == "refused"
    assert run.message == (
        f"Nobody agreed until {run.wait_until:%Y-%m-%d %H:%M} UTC. Ask again, if it is still wanted."
    )
    assert two_people.expire() == []


def test_a_request_is_withdrawn_and_asked_only_once(guarded: Server, user_as: Callable[..., Any]) -> None:
    maria = user_as("admin", "maria")
    run = ask(guarded, maria)
    with pytest.raises(Refused, match=f"Run {run.pk} by maria is waiting with the same: Trial quick."):
        ask(guarded, user_as("admin", "joe"))
    runs.cancel(run, maria)
    assert (run.status, run.message) == ("cancelled", "Cancelled by maria before it began.")


def signed_in(user: Any) -> Client:
    """A client whose person has just given the password."""
    client = Client()
    client.force_login(user)
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time()}]
    session.save()
    return client


def plan_of(server: Server) -> str:
    return consent.digest(plans.plan_of(operation("trial_that_destroys", server, kind="quick")).agreed)


def test_the_page_asks_for_a_reason_and_shows_the_other_the_plan(
    guarded: Server, user_as: Callable[..., Any]
) -> None:
    maria, joe = signed_in(user_as("admin", "maria")), signed_in(user_as("admin", "joe"))
    address = f"/servers/{guarded.name}/do/trial_that_destroys/"
    given = {"kind": "quick", "plan": plan_of(guarded), "typed": "quick"}
    page = maria.post(address, given)
    assert page.status_code == 422
    assert NO_REASON in page.content.decode()
    answer = maria.post(address, {**given, "reason": "It is empty.", "wait_hours": "3"})
    run = Run.objects.get()
    assert answer["Location"] == run.get_absolute_url()
    assert "You asked for it yourself." in maria.get(run.get_absolute_url()).content.decode()
    assert "yours: another has to agree" in maria.get("/approvals/").content.decode()
    assert "Read and decide…" in joe.get("/approvals/").content.decode()
    page = joe.get(run.get_absolute_url()).content.decode()
    assert "It is empty." in page
    assert "I agree: run it" in page
    assert maria.post(f"/runs/{run.pk}/decide/", {"decision": "agree"}).status_code == 302
    run.refresh_from_db()
    assert run.status == "waiting"
    joe.post(f"/runs/{run.pk}/decide/", {"decision": "agree"})
    run.refresh_from_db()
    assert run.status == "queued"


def test_who_has_not_proven_lately_who_they_are_decides_nothing(
    guarded: Server, user_as: Callable[..., Any]
) -> None:
    run = ask(guarded, user_as("admin", "maria"))
    joe = Client()
    joe.force_login(user_as("admin", "joe"))
    answer = joe.post(f"/runs/{run.pk}/decide/", {"decision": "agree"})
    assert answer["Location"] == f"/accounts/reauthenticate/?next=%2Fruns%2F{run.pk}%2F"
    run.refresh_from_db()
    assert run.status == "waiting"


def test_the_api_refuses_without_a_reason_and_waits_with_one(
    guarded: Server, user_as: Callable[..., Any]
) -> None:
    token = ApiToken.make(user_as("admin"), "ci", ApiToken.Scope.OPERATE).text
    body = {"params": {"kind": "quick"}, "digest": plan_of(guarded), "typed": "quick"}

    def post(**more: str) -> Any:
        return Client().post(
            f"/api/servers/{guarded.name}/operations/trial_that_destroys/",
            json.dumps({**body, **more}),
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}"},
        )

    answer = post()
    assert (answer.status_code, answer.json()["error"]) == (409, NO_REASON)
    answer = post(reason="It is empty.")
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting")
    assert answer.json()["message"].endswith("another admin has to agree on the page of approvals.")


def test_the_command_refuses_without_a_reason_and_waits_with_one(guarded: Server, capsys: Any) -> None:
    words = ["operate", "trial_that_destroys", guarded.name, "kind=quick", "--yes-i-typed", "quick"]
    with pytest.raises(CommandError, match="Say why this is to be done"):
        call_command(*words)
    call_command(*words, "--reason", "It is empty.")
    assert "another admin has to agree on the page of approvals." in capsys.readouterr().out
    assert Run.objects.get().status == "waiting"


def test_a_schedule_waits_once_and_goes_on_alone_until_it_is_changed(
    guarded: Server, user_as: Callable[..., Any]
) -> None:
    schedule = Schedule.objects.create(
        name="sweep", server=guarded, operation="trial_that_destroys", params={"kind": "quick"},
        cron="* * * * *", created_by=user_as("admin", "maria"),
    )  # fmt: skip
    Schedule.objects.update(due_at=timezone.now())
    (run,) = start_due()
    assert (run.status, run.plan, run.reason) == ("waiting", ["select 1;", "select 2;"], "Schedule sweep")
    two_people.agree(run, user_as("admin", "joe"), later=True)
    runner.execute(run.pk)
    Schedule.objects.update(due_at=timezone.now())
    (run,) = start_due()
    assert run.status == "queued"
    schedule.refresh_from_db()
    assert schedule.second.username == "joe"


def test_one_alone_takes_no_server_out_of_the_care_of_two(
    guarded: Server, client_as: Callable[[str], Client], settings: Any
) -> None:
    settings.DBADMIN_TWO_PEOPLE = ["production"]
    form = {"name": guarded.name, "environment": "staging", "tags": "", "queue": ""}
    page = client_as("admin").post(f"/settings/servers/{guarded.name}/", form)
    assert page.status_code == 422
    said = page.content.decode()
    assert "Servers of production ask for two people, so one alone cannot move it." in said
    assert "manage.py two_people shop off" in said
    guarded.refresh_from_db()
    assert (guarded.two_people, guarded.environment) == (True, "production")
    call_command("two_people", "shop", "off")
    guarded.refresh_from_db()
    assert not guarded.two_people
