"""Adding a server: each mistake is named where it was made; passwords are sealed and never shown."""

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from psycopg.conninfo import make_conninfo

from dbadmin import connections
from dbadmin.connections import SILENT
from dbadmin.models import Event, Server
from tests.fixtures.stopwatch import took

FORM = {"name": "shop", "environment": "production", "tags": "a, b", "queue": ""}


def post(client: Client, dsn: str, **more: str) -> Any:
    """Send the form."""
    return client.post("/settings/servers/add/", {**FORM, "dsn": dsn, **more})


def errors(answer: Any, field: str) -> list[str]:
    """What the form says at a field."""
    found: list[str] = answer.context["form"].errors.get(field, [])
    return found


def test_a_good_server_is_kept_sealed(client_as: Callable[[str], Client], postgres: Any) -> None:
    dsn = postgres.dsn_for("postgres", "dbadmin_monitor")
    answer = post(client_as("admin"), dsn)
    assert answer.status_code == 302, answer.context["form"].errors
    assert answer["Location"] == "/servers/shop/readiness/"
    server = Server.objects.get()
    assert postgres.password not in server.sealed_monitor_dsn
    assert postgres.password in server.dsn()
    assert postgres.password not in server.safe_dsn()
    assert server.tags == ["a", "b"]
    assert Event.objects.filter(kind="server", text="Added server shop.").exists()


def test_testing_keeps_nothing_and_lists_what_is_missing(
    client_as: Callable[[str], Client], postgres: Any
) -> None:
    answer = post(client_as("admin"), postgres.dsn_for("postgres", "dbadmin_monitor"), action="test")
    assert answer.status_code == 200
    assert not Server.objects.exists()
    assert [check.state for check in answer.context["checks"]]


def test_a_password_never_comes_back(client_as: Callable[[str], Client], postgres: Any) -> None:
    answer = post(client_as("admin"), f"postgresql://u:verysecret@{postgres.host}:{postgres.port}/postgres")
    assert answer.status_code == 422
    assert "verysecret" not in answer.content.decode()


@pytest.mark.parametrize(
    ("dsn", "field", "message"),
    [
        ("nonsense=", "dsn", "This is not a DSN."),
        ("host=", "dsn", "The DSN names no host."),
        ("dbname=x", "dsn", "The DSN names no host."),
        (
            "host=no-such-host.invalid user=x",
            "dsn",
            "The host name no-such-host.invalid is not known to this machine's resolver.",
        ),
        (
            f"host={'a' * 70} user=x",
            "dsn",
            f"The host name {'a' * 70} is not known to this machine's resolver.",
        ),
        (
            "host=127.0.0.1 port=99999 user=x password=b",
            "dsn",
            "99999 is no port: ports are numbers from 1 to 65535.",
        ),
        ("host=127.0.0.1 port=1 user=x", "dsn", "Nothing listens at this host and port: connection refused."),
    ],
)
def test_a_wrong_dsn_is_explained_at_its_field(
    dsn: str, field: str, message: str, client_as: Callable[[str], Client]
) -> None:
    answer = post(client_as("admin"), dsn)
    assert answer.status_code == 422
    assert any(text.startswith(message) for text in errors(answer, field)), answer.context["form"].errors
    assert not Server.objects.exists()


def test_a_wrong_password_is_explained_at_the_password(
    client_as: Callable[[str], Client], postgres: Any
) -> None:
    dsn = f"host=127.0.0.1 port={postgres.port} dbname=postgres user=dbadmin_monitor"
    answer = post(client_as("admin"), dsn, password="wrong")
    assert errors(answer, "password") == [
        "The password of dbadmin_monitor is wrong, or the server has no such role."
    ]


def test_a_role_whose_password_is_its_name_is_named(
    client_as: Callable[[str], Client], postgres: Any
) -> None:
    dsn = f"host=127.0.0.1 port={postgres.port} dbname=postgres user=nobody"
    answer = post(client_as("admin"), dsn, password="nobody")
    assert errors(answer, "password") == ["The password of nobody is wrong, or the server has no such role."]


@pytest.mark.parametrize(
    ("password", "told"),
    [("b", "connection is bad: ***"), ("is bad", "connection ***: b")],
)
def test_a_short_password_is_hidden_as_a_word(password: str, told: str) -> None:
    dsn = make_conninfo(host="x", password=password)
    assert connections.without_secrets("connection is bad: b", dsn) == told


def test_a_connection_that_was_closed_in_the_middle_is_explained(postgres: Any) -> None:
    """What a question meets after the deadline of the one before it."""
    connection = postgres.connect()
    connection.close()
    with pytest.raises(psycopg.OperationalError) as error:
        connection.execute("select 1")
    assert connections.why(error.value, postgres.dsn) == (
        "It was closed in the middle: the server did not answer in time, or ended the session."
    )


def test_the_limit_of_a_database_is_not_taken_for_that_of_the_server(postgres: Any, database: str) -> None:
    postgres.admin.execute(f"alter database {database} connection limit 0")
    with pytest.raises(psycopg.OperationalError) as error:
        postgres.connect(database, user="dbadmin_monitor")
    assert connections.why(error.value, postgres.dsn) == (
        f"The database {database} takes no more connections (its CONNECTION LIMIT)."
    )


def test_a_server_that_is_too_old_is_explained(
    client_as: Callable[[str], Client], postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbadmin.readiness.LEAST_VERSION", 990000)  # as every server here is then
    answer = post(client_as("admin"), postgres.dsn_for("postgres", "dbadmin_monitor"))
    major = postgres.admin.info.server_version // 10000
    assert errors(answer, "dsn") == [f"The server is PostgreSQL {major}; dbadmin reads 13 and newer."]
    assert not Server.objects.exists()


def test_an_absent_database_is_explained(client_as: Callable[[str], Client], postgres: Any) -> None:
    answer = post(client_as("admin"), postgres.dsn_for("nowhere", "dbadmin_monitor"))
    assert errors(answer, "dsn") == ["There is no database nowhere on the server."]


def test_an_unreachable_host_is_given_up_after_three_seconds(client_as: Callable[[str], Client]) -> None:
    import socket

    client, answers = client_as("admin"), []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"host=127.0.0.1 port={silent.getsockname()[1]} user=x dbname=x"
        assert took(lambda: answers.append(post(client, dsn)), 5) < 5
    assert errors(answers[0], "dsn") == [SILENT.format(3)]


def test_an_empty_dsn_keeps_the_stored_one(client_as: Callable[[str], Client], server: Server) -> None:
    before = server.dsn()
    answer = client_as("admin").post(
        f"/settings/servers/{server}/", {**FORM, "name": "renamed", "dsn": "", "environment": "staging"}
    )
    assert answer.status_code == 302, answer.context["form"].errors
    server.refresh_from_db()
    assert (server.name, server.environment, server.dsn()) == ("renamed", "staging", before)


def test_removing_a_server_wants_its_name(client_as: Callable[[str], Client], server: Server) -> None:
    client = client_as("admin")
    client.post(f"/settings/servers/{server}/remove/", {"typed": "something else"})
    assert Server.objects.exists()
    client.post(f"/settings/servers/{server}/remove/", {"typed": server.name})
    assert not Server.objects.exists()


def test_a_sealed_dsn_opens_only_in_its_own_place(server: Server) -> None:
    from dbadmin import secrets

    other = Server(name="other", sealed_monitor_dsn=server.sealed_monitor_dsn)
    message = "The secret was altered, or key test in DBADMIN_KEYS is another one."
    with pytest.raises(secrets.CannotOpen, match=message):
        other.dsn()


def test_what_is_shown_of_a_dsn_opens_no_door() -> None:
    shown = connections.safe_dsn("postgresql://me:secret@db.example:6432/shop?sslmode=verify-full&options=x")
    assert shown == "postgresql://me@db.example:6432/shop?sslmode=verify-full"
    assert connections.safe_dsn("password=x nonsense") == "(not a valid DSN)"


def test_a_name_that_is_refused_is_told_at_its_field(
    client_as: Callable[[str], Client], server: Server
) -> None:
    answer = client_as("admin").post(f"/settings/servers/{server}/", {**FORM, "name": "a/b", "dsn": ""})
    assert answer.status_code == 422
    assert errors(answer, "name")
    assert f"/settings/servers/{server}/remove/" in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "tag", "says"),
    [
        ("my shop", "a", "name: Use small letters, digits, - and _; start with a letter or digit."),
        ("x" * 64, "a", "name: Ensure this value has at most 63 characters (it has 64)."),
        (
            "shop",
            "t" * 41,
            "tags: Item 1 in the array did not validate: Ensure this value has at most 40 characters (it has 41).",
        ),
    ],
)
def test_the_command_refuses_what_the_page_refuses(name: str, tag: str, says: str, postgres: Any) -> None:
    with pytest.raises(CommandError, match=f"^{re.escape(says)}$"):
        call_command("add_server", name, postgres.dsn, tag=[tag])
    assert not Server.objects.exists()
