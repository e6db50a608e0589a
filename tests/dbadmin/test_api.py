"""The JSON door: tokens, scopes, the same refusals as the pages."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from dbadmin import readings
from dbadmin.connections import Session
from dbadmin.models import ApiToken, Run, Server
from dbadmin.probes import PROBES


@pytest.fixture
def call(user_as: Callable[..., Any]) -> Callable[..., Any]:
    """call("admin", "operate", "get", "/api/…"): with a new token of this scope."""

    def make(role: str, scope: str, method: str, path: str, body: Any = None) -> Any:
        text = ApiToken.make(user_as(role), "test", scope).text
        headers = {"authorization": f"Bearer {text}"}
        return getattr(Client(), method)(path, body, content_type="application/json", headers=headers)

    return make


def test_without_a_token_there_is_no_answer(server: Server) -> None:
    for path in ("/api/servers/", "/api/runs/1/", f"/api/servers/{server}/readings/sessions/"):
        answer = Client().get(path)
        assert answer.status_code == 401
        assert answer.json() == {"error": "Send a valid API token: Authorization: Bearer dba_…"}


def test_a_revoked_or_expired_token_is_none(user_as: Callable[..., Any]) -> None:
    from django.utils import timezone

    token, text = ApiToken.make(user_as("viewer"), "test", "read")
    assert ApiToken.find(text) == token
    assert text not in str(ApiToken.objects.values_list())
    token.expires_at = timezone.now()
    token.save()
    assert ApiToken.find(text) is None
    token.expires_at, token.revoked_at = None, timezone.now()
    token.save()
    assert ApiToken.find(text) is None


def test_a_token_ends_with_its_person(user_as: Callable[..., Any]) -> None:
    user = user_as("viewer")
    text = ApiToken.make(user, "test", "read").text
    user.is_active = False
    user.save()
    assert ApiToken.find(text) is None


def test_lists_the_servers_that_the_person_may_see(call: Callable[..., Any], server: Server) -> None:
    assert call("viewer", "read", "get", "/api/servers/").json() == {
        "servers": [
            {"name": "shop", "environment": "development", "tags": [], "primary": None, "enabled": True}
        ]
    }
    assert call("nobody", "read", "get", "/api/servers/").json() == {"servers": []}


def test_reads_a_probe_now(call: Callable[..., Any], server: Server) -> None:
    answer = call("viewer", "read", "get", f"/api/servers/{server}/readings/server_vitals/?live=1").json()
    assert answer["problem"] is None
    assert answer["rows"][0]["connections_count"] >= 1
    assert {"name": "connections_ratio", "unit": "ratio", "about": ""} in answer["columns"]


def test_an_unknown_probe_is_not_found(call: Callable[..., Any], server: Server) -> None:
    answer = call("viewer", "read", "get", f"/api/servers/{server}/readings/nonsense/")
    assert (answer.status_code, answer.json()) == (404, {"error": "There is no probe nonsense."})


def test_a_reading_token_starts_nothing(call: Callable[..., Any], server: Server) -> None:
    answer = call("admin", "read", "post", f"/api/servers/{server}/operations/refresh_view/", {})
    assert (answer.status_code, answer.json()) == (403, {"error": "This token may only read."})


def test_a_viewer_starts_nothing(call: Callable[..., Any], server: Server) -> None:
    answer = call("viewer", "operate", "post", f"/api/servers/{server}/operations/refresh_view/", {})
    assert answer.status_code == 403
    assert answer.json()["error"] == "This needs the role admin or operator on shop."


def test_wrong_parameters_are_named(call: Callable[..., Any], server: Server) -> None:
    answer = call(
        "admin", "operate", "post", f"/api/servers/{server}/operations/refresh_view/", {"params": {}}
    )
    assert answer.status_code == 422
    assert "view" in answer.json()["fields"]


def test_a_preview_starts_nothing_and_its_digest_starts_the_run(
    call: Callable[..., Any], server: Server, target: Any, django_capture_on_commit_callbacks: Any
) -> None:
    target.connection.execute("create materialized view sums as select 1 as one")
    target.connection.execute("create unique index on sums (one)")
    path = f"/api/servers/{server}/operations/refresh_view/"
    body: dict[str, Any] = {"params": {"schema": "public", "view": "sums"}}
    preview = call("admin", "operate", "post", path, body | {"dry_run": True}).json()
    assert "REFRESH MATERIALIZED VIEW CONCURRENTLY" in "".join(preview["plan"])
    assert not Run.objects.exists()

    refused = call("admin", "operate", "post", path, body)
    assert refused.status_code == 409
    assert refused.json()["error"] == "The server changed since the preview. Look at the new plan."

    answer = call("admin", "operate", "post", path, body | {"digest": preview["digest"]})
    assert answer.status_code == 202
    run = Run.objects.get()
    assert answer.json()["id"] == run.pk
    assert (run.door, run.user_name, run.plan) == ("api", "admin", preview["plan"])


@pytest.mark.parametrize(
    "body", ["nonsense", "[]", '{"params": [1]}', '{"params": "database"}', "[" * 100_000]
)
def test_a_body_that_is_no_object_is_refused(body: str, call: Callable[..., Any], server: Server) -> None:
    answer = call("admin", "operate", "post", f"/api/servers/{server}/operations/refresh_view/", body)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": 'Send a JSON object, its "params" an object, too.'},
    )


@pytest.mark.parametrize("value", ["maybe", "no", "0", 1, 0.5])
def test_another_word_is_not_taken_for_yes(value: Any, call: Callable[..., Any], server: Server) -> None:
    body = {"params": {"schema": "public", "table": "users", "analyze": value}, "dry_run": True}
    answer = call("admin", "operate", "post", f"/api/servers/{server}/operations/vacuum_table/", body)
    assert answer.status_code == 422
    assert answer.json()["fields"] == {"analyze": [{"message": "Say true or false.", "code": ""}]}


@pytest.mark.parametrize("value", [["id"], {"name": "id"}])
def test_a_list_is_not_taken_for_its_text(value: Any, call: Callable[..., Any], server: Server) -> None:
    body = {"params": {"schema": "public", "index": value}, "dry_run": True}
    answer = call("admin", "operate", "post", f"/api/servers/{server}/operations/drop_index/", body)
    assert answer.status_code == 422
    assert [error["message"] for error in answer.json()["fields"]["index"]] == [
        "Send one text, number, true or false."
    ]


@pytest.mark.servers
def test_a_reading_of_a_database_is_that_of_the_dsn_unless_another_is_named(
    call: Callable[..., Any], server: Server, target: Session
) -> None:
    address = f"/api/servers/{server}/readings/tables/"
    answer = call("viewer", "read", "get", address)
    said = f"tables has not been read in database {target.database} of {server} yet."
    assert (answer.status_code, answer.json()) == (404, {"error": said})
    readings.store(server, PROBES["tables"].read(target))
    assert call("viewer", "read", "get", address).json()["database"] == target.database
    assert call("viewer", "read", "get", f"{address}?db=another").status_code == 404
