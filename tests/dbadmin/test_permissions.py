"""Who may do what: every address and every operation, for every role."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from dbadmin.models import Grant, Run, Schedule, Server
from dbadmin.operations import REGISTRY, Risk
from dbadmin.pages import PAGES
from dbadmin.permissions import RIGHTS, may, roles_for
from dbadmin.probes import PROBES
from monitoring.alert_models import Alert, AlertRule, Channel
from monitoring.models import Line, Source
from tests.fixtures.servers import server_row

KEY = uuid.uuid4()


@pytest.fixture
def server(db: None, postgres: Any, shared_database: str) -> Server:
    """Nobody changes anything there: one database, and one set of connections, serve all roles and addresses."""
    return server_row("shop", postgres, shared_database, key=KEY)


ROLES = ("", "nobody", "viewer", "auditor", "operator", "admin")
READERS = {"viewer", "operator", "admin"}
AUDITORS = {"auditor", "admin"}
EVERYBODY = {"viewer", "auditor", "operator", "admin"}
#: Open to strangers: signing in, its machinery, the probe of load balancers; metrics ask for a token.
OPEN = ("accounts/", "login/", "healthz", "metrics")
#: Names of addresses -> who may enter. What is not listed here must be listed by its app in PERMISSIONS.
MATRIX: dict[str, set[str]] = {
    "fleet": EVERYBODY,
    "style": EVERYBODY | {"nobody"},
    "runs": EVERYBODY,
    "run": EVERYBODY,
    "approvals": {"admin"},
    "schedules": READERS,
    "schedule_add": {"admin"},
    "schedule": {"admin"},
    "server_list": {"admin"},
    "server_add": {"admin"},
    "server_change": {"admin"},
    "people": {"admin"},
    "person": {"admin"},
    "tokens": EVERYBODY | {"nobody"},
    "events": AUDITORS,
    "server": EVERYBODY,
    "readiness": READERS,
    "columns": READERS,
    "queries": READERS,
    "timeline": READERS,
    "statement": READERS,
    "setting_differences": READERS,
    "alerts": READERS,
    "alert": READERS,
    "alert_rules": {"admin"},
    "alert_rule_add": {"admin"},
    "alert_rule": {"admin"},
    "channels": {"admin"},
    "channel_add": {"admin"},
    "channel": {"admin"},
    "silences": {"operator", "admin"},
}


def patterns(found: Any, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every address of the house, with its route."""
    for each in found:
        if isinstance(each, URLResolver):
            yield from patterns(each.url_patterns, before + str(each.pattern))
        else:
            yield before + str(each.pattern), each


ROUTES = [
    (route, pattern)
    for route, pattern in patterns(get_resolver().url_patterns)
    if not route.startswith(OPEN) and not route.startswith("api/")
]


def test_every_right_belongs_to_somebody() -> None:
    assert all(RIGHTS.values())
    for page in PAGES.values():
        assert roles_for(page.permission)
    for probe in PROBES.values():
        assert f"{probe.app}.view" in RIGHTS


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_operation_asks_for_the_role_that_its_risk_demands(name: str) -> None:
    operation = REGISTRY[name]
    gentle = (operation.least_risk or operation.risk) in {Risk.HARMLESS, Risk.LOADS}
    expected = {"operator", "admin"} if gentle and not operation.for_admins else {"admin"}
    expected |= {"auditor"} if operation.for_auditors else set()
    assert {role.value for role in roles_for(operation.permission())} == expected


def test_what_restores_or_gives_rights_is_for_admins_though_it_only_loads_the_server() -> None:
    assert {name for name, operation in REGISTRY.items() if operation.for_admins} == {
        "bring_back_recovered", "change_point_in_time", "create_extension", "create_roles", "recover_to_moment",
        "restore_tables",
    }  # fmt: skip


def test_an_auditor_verifies_the_log_alone(client_as: Any, server: Server) -> None:
    assert {name for name, operation in REGISTRY.items() if operation.for_auditors} == {"verify_seals"}
    address = f"/servers/{server.name}/do/verify_seals/"
    assert {role: client_as(role).get(address).status_code for role in ROLES[2:]} == {
        "viewer": 403, "auditor": 200, "operator": 200, "admin": 200,
    }  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_operation_page_opens_for_its_roles_only(
    name: str, role: str, client_as: Callable[[str], Client], server: Server
) -> None:
    answer = client_as(role).get(f"/servers/{server.name}/do/{name}/")
    allowed = {each.value for each in roles_for(REGISTRY[name].permission())}
    assert answer.status_code == expected_status(role, allowed, hidden=role == "nobody")


def expected_status(role: str, allowed: set[str], hidden: bool = False) -> int:
    """200 for the allowed, a sign-in page for strangers, 404 for servers that one may not see, else 403."""
    if role in allowed:
        return 200
    if not role:
        return 302
    return 404 if hidden else 403


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(page.name for page in PAGES.values() if page.panels))
def test_a_room_opens_for_its_roles_only(
    name: str, role: str, client_as: Callable[[str], Client], server: Server
) -> None:
    allowed = {each.value for each in roles_for(PAGES[name].permission)}
    if not name:
        allowed = EVERYBODY  # the overview shows each role what it may see
    answer = client_as(role).get(f"/servers/{server.name}/{name}/" if name else f"/servers/{server.name}/")
    assert answer.status_code == expected_status(role, allowed, hidden=role == "nobody")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(MATRIX))
def test_an_address_opens_for_its_roles_only(
    name: str, role: str, client_as: Callable[[str], Client], server: Server, user_as: Callable[..., Any]
) -> None:
    route = next((route for route, pattern in ROUTES if pattern.name == name), None)
    if route is None:
        pytest.fail(f"no address is called {name}")
    answer = client_as(role).get(filled(route, server, user_as("viewer", "another")))
    hidden = role == "nobody" and "server_name" in route
    if role in MATRIX[name] or not role:
        # People's pages ask for a fresh proof of who sits there.
        assert answer.status_code in (
            {302} if not role else {200, *([302] if name in {"people", "person"} else [])}
        )
    else:
        assert answer.status_code in ({404} if hidden else {403, 404})


def filled(route: str, server: Server, person: Any) -> str:
    """A route with things that exist in the place of its parameters."""
    run, _ = Run.objects.get_or_create(
        server=server, server_name=server.name, operation="refresh_view", risk="loads", queue="operations",
        status="succeeded", title="Refresh view",
    )  # fmt: skip
    schedule, _ = Schedule.objects.get_or_create(server=server, operation="refresh_view", cron="0 3 * * *")
    rule = AlertRule.objects.get(origin="header:server_vitals")
    alert, _ = Alert.objects.get_or_create(
        rule=rule, server=server, severity="warning", defaults={"since": timezone.now()}
    )
    source, _ = Source.objects.get_or_create(server=server, probe="statements", database="")
    line, _ = Line.objects.get_or_create(source=source, key=[10, 5, 77, True])
    channel, _ = Channel.objects.get_or_create(name="post", kind="email")
    number = {
        "runs/": run.pk,
        "schedules/": schedule.pk,
        "settings/people/": person.pk,
        "alerts/": alert.pk,
        "settings/alert-rules/": rule.pk,
        "settings/channels/": channel.pk,
    }
    key = next((value for start, value in number.items() if route.startswith(start)), 1)
    address = (
        route.replace("<slug:server_name>", server.name)
        .replace("<int:pk>", str(key))
        .replace("<slug:kind>", "slack")
        .replace("<int:line>", str(line.pk))
        .replace("<slug:probe>", "sessions")
    )
    query = f"?server={server.name}&operation=refresh_view" if route == "schedules/add/" else ""
    return f"/{address}{query}"


@pytest.mark.parametrize(("route", "pattern"), ROUTES, ids=[route or "/" for route, _ in ROUTES])
def test_no_address_tells_a_stranger_anything(route: str, pattern: URLPattern, db: None) -> None:
    address = "/" + route
    for kind in ("slug", "int", "str", "path", "uuid"):
        while f"<{kind}:" in address:
            start = address.index(f"<{kind}:")
            value = "00000000-0000-0000-0000-000000000000" if kind == "uuid" else "1"
            address = address[:start] + value + address[address.index(">", start) + 1 :]
    for method in ("get", "post"):
        answer = getattr(Client(), method)(address)
        assert answer.status_code in {302, 405}, f"{method} {address}"
        if answer.status_code == 302:
            assert answer["Location"].startswith(("/accounts/login/", "/login/"))


def test_a_grant_on_one_server_opens_no_other(
    user_as: Callable[..., Any], client_as: Callable[[str], Client], server: Server
) -> None:
    other = Server.objects.create(name="other", sealed_monitor_dsn=server.sealed_monitor_dsn)
    user = user_as("nobody", "half")
    Grant.objects.create(user=user, role="admin", server=server)
    client = Client()
    client.force_login(user)
    assert client.get(f"/servers/{server.name}/readiness/").status_code == 200
    assert client.get(f"/servers/{other.name}/readiness/").status_code == 404
    assert client.get("/settings/people/").status_code == 403
    assert not may(user, "users.change")


@pytest.mark.parametrize(("column", "value"), [("environment", "staging"), ("tag", "blue"), ("server", None)])
def test_a_grant_covers_what_it_names(
    column: str, value: Any, user_as: Callable[..., Any], server: Server
) -> None:
    inside = Server.objects.create(name="inside", environment="staging", tags=["blue"])
    user = user_as("nobody", "half")
    Grant.objects.create(user=user, role="viewer", **{column: value or inside})
    assert list(Server.objects.visible_to(user)) == [inside]
    assert may(user, "monitoring.view", inside)
    assert not may(user, "monitoring.view", server)
