"""What a recovered cluster holds is looked at in the browser: its tables and their rows, read only and bounded."""

import json
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from backups.models import RecoveredCluster
from dbadmin.connections import with_database
from dbadmin.models import Event, Server
from tests.backups.recovering import Source
from tests.backups.test_point_in_time import recover, stop
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def standing(server: Server, postgres: Postgres, database: str) -> RecoveredCluster:
    """A cluster of this host, as its keeper says; it leads to an empty database."""
    now = timezone.now()
    row = RecoveredCluster(
        server=server, host=socket.gethostname(), directory="/nowhere", port=postgres.port, target="12:00:00",
        databases=[database, "postgres"], expires_at=now + timedelta(hours=8), seen_at=now,
    )  # fmt: skip
    row.seal(with_database(postgres.dsn, database))
    row.save()
    return row


def opened(client: Client, row: RecoveredCluster, **asked: str) -> Any:
    """The page of its tables."""
    return client.get(reverse("recovered", args=[row.server.name, row.pk]), asked)


def rows_of(client: Client, row: RecoveredCluster, schema: str, table: str, **asked: str) -> Any:
    """The page of a table's rows."""
    address = reverse("recovered_rows", args=[row.server.name, row.pk])
    return client.get(address, {"schema": schema, "table": table, **asked})


def told(answer: Any) -> list[list[str | None]]:
    return [[cell.text for cell in row.cells] for row in answer.context["found"].rows]


def test_a_recovered_cluster_shows_its_tables_and_their_rows_as_they_were(
    source: Source, client_as: Callable[..., Client]
) -> None:
    source.execute("create unlogged table drafts as select 1 as n")
    source.base()
    moment = source.insert(1)
    source.execute("delete from moments")
    source.covered()
    row, admin = recover(source, moment), client_as("admin")
    page = admin.get(reverse("recovery", args=[source.server.name])).content.decode()
    assert f'href="{reverse("recovered", args=[source.server.name, row.pk])}"' in page
    answer = opened(admin, row)
    assert [(each.schema, each.name, each.note) for each in answer.context["tables"]] == [
        ("dbadmin_heartbeat", "beat", ""),
        ("public", "drafts", "Unlogged: its rows are in no WAL, so it is empty here."),
        ("public", "moments", ""),
    ]
    assert [line[0] for line in told(rows_of(admin, row, "public", "moments"))] == ["1"]
    page = rows_of(admin, row, "public", "moments").content.decode()
    assert f"cluster={row.pk}&amp;database=postgres&amp;tables=public.moments" in page
    stop(source, row)
    answer = opened(admin, row)
    assert answer.context["problem"] == "It has ended: Somebody stopped it. Recover again to look at it."


def test_rows_are_paged_by_their_key_and_each_is_shown_once(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    target.rows(
        'create table "odd, name" (a text, "b c" int, doc jsonb, primary key (a, "b c"));'
        """ insert into "odd, name" select chr(97 + n / 50), n % 50, null from generate_series(0, 119) n"""
    )
    admin, seen, after = client_as("admin"), [], ""
    for _ in range(3):
        answer = rows_of(admin, standing, "public", "odd, name", after=after)
        seen += told(answer)
        after = answer.context["found"].later
    assert after == ""
    assert seen == [[chr(97 + n // 50), str(n % 50), None] for n in range(120)]


def test_rows_are_found_by_what_a_column_is(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    target.rows(
        "create domain short as varchar(3) check (value <> 'no');"
        " create table kept (id int primary key, code short, doc json);"
        " insert into kept values (1, 'abc', '{}'), (2, 'xyz', null)"
    )
    admin = client_as("admin")
    assert told(rows_of(admin, standing, "public", "kept", column="code", value="xyz")) == [
        ["2", "xyz", None]
    ]
    assert told(rows_of(admin, standing, "public", "kept", column="code", value="abcd")) == []
    answer = rows_of(admin, standing, "public", "kept", column="id", value="many")
    assert answer.status_code == 400
    assert answer.context["problem"] == 'invalid input syntax for type integer: "many"'
    answer = rows_of(admin, standing, "public", "kept", column="doc", value="{}")
    assert answer.context["problem"] == "Values of doc (json) cannot be compared. Choose another column."
    assert rows_of(admin, standing, "public", "kept", column="gone", value="1").status_code == 404
    assert rows_of(admin, standing, "public", "gone").status_code == 404
    assert opened(admin, standing, db="elsewhere").status_code == 404


def test_a_table_without_a_key_shows_its_first_rows_and_says_so(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    target.rows("create table loose as select n, repeat('x', 500) as long from generate_series(1, 60) n")
    answer = rows_of(client_as("admin"), standing, "public", "loose")
    assert len(told(answer)) == 50
    assert told(answer)[0][1] == "x" * 200 + "…"
    assert answer.context["found"].later == ""
    assert "This table has no key to be paged by: its first 50 rows are shown." in answer.content.decode()


def test_nothing_of_the_database_runs_while_it_is_looked_at(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    """The session is a superuser's: casts and operators that somebody made there must not run with its rights."""
    target.rows(
        "create type mood as enum ('sad', 'glad');"
        " create table felt (id mood primary key, other mood);"
        " insert into felt values ('sad', 'glad'), ('glad', 'sad');"
        " create function trap(mood) returns text language plpgsql as"
        " $$ begin raise exception 'it ran'; end $$;"
        " create cast (mood as text) with function trap(mood);"
        " create function trap(mood, mood) returns bool language plpgsql as"
        " $$ begin raise exception 'it ran'; end $$;"
        " create operator = (leftarg = mood, rightarg = mood, function = trap);"
        " create operator > (leftarg = mood, rightarg = mood, function = trap)"
    )
    admin = client_as("admin")
    assert told(rows_of(admin, standing, "public", "felt", column="other", value="glad")) == [["sad", "glad"]]
    answer = rows_of(admin, standing, "public", "felt", after=json.dumps(["sad"]))
    assert told(answer) == [["glad", "sad"]]


def test_a_page_of_wide_rows_stays_small(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    columns = ", ".join(f"repeat('x', 100000) as c{n}" for n in range(300))
    target.rows(f"create table wide as select n, {columns} from generate_series(1, 20) n")
    answer = rows_of(client_as("admin"), standing, "public", "wide")
    assert len(told(answer)) == 5
    assert len(answer.content) < 600_000


def test_a_question_that_takes_too_long_is_given_up_in_words(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    target.rows("create table busy (id int primary key)")
    target.rows("begin; lock table busy in access exclusive mode")
    answer = rows_of(client_as("admin"), standing, "public", "busy")
    target.rows("rollback")
    assert answer.context["problem"] == (
        "Somebody holds a lock on it there. Try again when that session has ended."
    )


def test_on_another_host_the_command_is_given_instead(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    RecoveredCluster.objects.update(host="elsewhere")
    answer = opened(client_as("admin"), standing)
    assert answer.context["problem"] == (
        f"It stands on elsewhere and listens there alone; this page comes from {socket.gethostname()}. "
        "Look at it there, or bring tables of it back beside the live ones."
    )
    assert answer.context["command"] == f"psql '{with_database(standing.dsn, standing.databases[0])}'"
    assert f"<code>{escape(answer.context['command'])}</code>" in answer.content.decode()


def test_what_is_empty_says_so(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    admin = client_as("admin")
    assert f"{standing.databases[0]} had no table then." in opened(admin, standing).content.decode()
    target.rows("create table bare (id int primary key)")
    assert "No table of" in opened(admin, standing, q="orders").content.decode()
    assert "The table had no row then." in rows_of(admin, standing, "public", "bare").content.decode()
    page = rows_of(admin, standing, "public", "bare", column="id", value="7").content.decode()
    assert "No row has this value there." in page
    answer = rows_of(admin, standing, "public", "bare", after="nonsense")
    assert answer.context["problem"] == "The address names no row to go on from. Begin with the first rows."


def test_only_those_who_may_download_look_and_it_is_recorded(
    standing: RecoveredCluster, target: Any, client_as: Callable[..., Client]
) -> None:
    target.rows("create table secret (id int primary key)")
    assert opened(client_as("operator"), standing).status_code == 403
    assert rows_of(client_as("auditor"), standing, "public", "secret").status_code == 403
    page = client_as("viewer").get(reverse("recovery", args=[standing.server.name])).content.decode()
    assert reverse("recovered", args=[standing.server.name, standing.pk]) not in page
    rows_of(client_as("admin"), standing, "public", "secret", column="id", value="7")
    (event,) = Event.objects.filter(kind="recovered.view")
    assert event.text == (
        f"Looked at rows of public.secret in {standing.databases[0]} of {standing}, where id is 7."
    )


def test_both_pages_are_accessible_and_fit_a_phone(
    standing: RecoveredCluster,
    target: Any,
    page_as: Callable[..., Any],
    axe: Callable[..., Any],
    live_server: Any,
) -> None:
    target.rows("create table kept as select n, repeat('word ', 50) as text from generate_series(1, 9) n")
    page = page_as("admin", width=390, scheme="dark")
    name = standing.server.name
    for path in (
        reverse("recovered", args=[name, standing.pk]),
        reverse("recovered_rows", args=[name, standing.pk]) + "?schema=public&table=kept",
    ):
        page.goto(path)
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
