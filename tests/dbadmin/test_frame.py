"""What every page reads around itself by statements of its own says the same as Django's models."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from dbadmin import two_people
from dbadmin.models import Grant, Run, Server
from dbadmin.permissions import servers_of, visible_servers
from monitoring import alert_lists
from monitoring.alert_models import Alert, AlertRule

pytestmark = pytest.mark.django_db

GRANTS = [
    {},
    {"server": "three"},
    {"environment": "staging"},
    {"tag": "web"},
]


@pytest.fixture
def servers(db: None) -> list[Server]:
    """A primary, its replica, and two more."""
    one = Server.objects.create(name="one", environment="production", tags=["web"])
    return [
        one,
        Server.objects.create(name="two", environment="staging", tags=["web", "old"], primary=one),
        Server.objects.create(name="three", environment="development"),
        Server.objects.create(name="four", environment="production"),
    ]


def holder(user_as: Callable[..., Any], role: str, where: dict[str, str]) -> Any:
    """Somebody with one role, there only."""
    user = user_as("nobody")
    user.grants.all().delete()
    server = Server.objects.get(name=where["server"]) if "server" in where else None
    rest = {name: value for name, value in where.items() if name != "server"}
    Grant.objects.create(user=user, role=role, server=server, **rest)
    return type(user).objects.get(pk=user.pk)


@pytest.mark.parametrize("where", GRANTS, ids=str)
def test_shows_the_servers_that_the_grants_cover_and_no_other(servers, user_as, where):
    user = holder(user_as, "viewer", where)
    shown = servers_of(user)
    assert shown == list(visible_servers(Server.objects.all(), user))
    assert shown
    for server in shown:
        assert str(server.primary) == ("one" if server.name == "two" else "None")


def test_shows_no_server_to_who_has_no_grant(servers, user_as):
    user = user_as("nobody")
    user.grants.all().delete()
    assert servers_of(user) == []


@pytest.mark.parametrize("where", GRANTS, ids=str)
@pytest.mark.parametrize("role", ["viewer", "auditor", "admin"])
def test_counts_the_alerts_and_approvals_that_the_lists_show(servers, user_as, role, where):
    told = AlertRule.objects.filter(tells=True).first() or AlertRule.objects.create(name="told", tells=True)
    now = timezone.now()
    others = user_as("operator")
    for number, server in enumerate([*servers, None]):
        for state in ({}, {"resolved_at": now}, {"acknowledged_at": now}):
            Alert.objects.create(
                rule=told,
                server=server,
                row_key=f"{number}{state}",
                severity="warning",
                name="x",
                since=now,
                text=str(number),
                **state,
            )
        for user in (None, others):
            Run.objects.create(
                server=server, operation="trial", title="Trial", target=str(user), status="waiting", user=user
            )
    user = holder(user_as, role, where)
    Run.objects.create(
        server=servers[0], operation="trial", title="Own", target="own", status="waiting", user=user
    )
    listed = alert_lists.visible(user).filter(resolved_at=None, acknowledged_at=None, rule__tells=True)
    assert alert_lists.open_count(user) == listed.count()
    assert two_people.count(user) == two_people.waiting(user).exclude(user=user).count()
    if role == "admin":
        assert alert_lists.open_count(user) > 0
        assert two_people.count(user) > 0


def test_a_person_who_is_locked_out_is_signed_out_at_the_next_page(client_as, user_as):
    client: Client = client_as("viewer")
    assert client.get("/").status_code == 200
    person = user_as("viewer")
    person.is_active = False
    person.save()
    assert client.get("/").headers["Location"] == "/accounts/login/?next=/"


def test_a_session_that_is_over_or_was_never_given_lets_nobody_in(client_as):
    client: Client = client_as("viewer")
    session = client.session
    session.set_expiry(-1)
    session.save()
    assert client.get("/").headers["Location"] == "/accounts/login/?next=/"
    client.cookies["sessionid"] = "chosen-by-a-stranger"
    assert client.get("/").headers["Location"] == "/accounts/login/?next=/"
