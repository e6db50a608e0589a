"""The main job, by clicks: see, watch, find, back up, lose, restore, refresh, as a newcomer would."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection as control

from backups.models import BackupKey, Store
from dbadmin.models import Run, Server
from dbadmin.sample.load import load
from tests.fixtures.people import person
from tests.fixtures.runtime import until
from tests.fixtures.servers import server_row

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.servers,
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture
def academy(postgres: Any) -> Iterator[str]:
    """The sample in a database of its own."""
    name = "academy_main_job"
    with postgres.connect() as connection:
        connection.execute(f"create database {name}")
    with postgres.connect(name) as connection:
        connection.execute("create extension pg_stat_statements")
    load(postgres.dsn_for(name), 0.05, lambda _: None)
    yield name
    with postgres.connect() as connection:
        for (each,) in connection.execute(
            "select datname from pg_database where datname like %s", [f"{name}%"]
        ).fetchall():
            connection.execute(f'drop database "{each}" with (force)')


@pytest.fixture
def looked_after(academy: str, postgres: Any, tmp_path: Any) -> Server:
    """The server, read once, with a store and a key."""
    server = server_row("academy", postgres, academy)
    store = Store(name="shelf", kind=Store.Kind.LOCAL, directory=str(tmp_path / "shelf"))
    store.path.mkdir(parents=True)
    store.save()
    BackupKey.make("demo", keep=True)
    return server


@pytest.fixture
def sampling(looked_after: Server, process: Callable[..., Any]) -> None:
    """A sampler at work, as in the demo."""
    process("sampler")


def sign_in(page: Any, role: str) -> None:
    """By name and password, as people do."""
    user = person(role)
    page.goto("/")
    page.fill("input[name=username]", user.username)
    page.fill("input[name=password]", f"{user.username} is allowed in")
    page.click("button[type=submit]")
    page.wait_for_selector("h1:has-text('Fleet')")


def confirm(page: Any, name: str) -> Run:
    """Agree to the plan on the page, as its risk demands, and see the run to its end."""
    if page.locator("input[name=understood]").count():
        page.check("input[name=understood]")
    if page.locator("input[name=typed]").count():
        page.fill("input[name=typed]", page.inner_text("label[for=typed] code"))
    page.click(f".confirm button[type=submit]:has-text('{name}')")
    page.wait_for_url(re.compile(r"/runs/\d+/"))
    page.wait_for_selector("#run:not([data-live])", timeout=90_000)
    run = Run.objects.get(pk=int(page.url.rstrip("/").rpartition("/")[2]))
    assert run.status == "succeeded", (run.message, [line.text for line in run.lines.all()])
    return run


def rows_of(postgres: Any, database: str, table: str) -> int:
    """Counted there."""
    with postgres.connect(database) as connection:
        return int(connection.execute(f"select count(*) from {table}").fetchone()[0])


@pytest.mark.usefixtures("sampling", "worker")
def test_a_newcomer_does_the_main_job_by_clicks(
    page_as: Callable[..., Any], postgres: Any, academy: str, looked_after: Server, axe: Any
) -> None:
    page = page_as("")
    page.set_default_timeout(30_000)
    sign_in(page, "admin")

    # reads slow queries, connections, table sizes, index usage
    page.click("main a:has-text('academy')")
    page.wait_for_selector("h1:has-text('academy')")
    with postgres.connect(academy) as connection:
        for _ in range(3):
            connection.execute(
                "select count(*) from lesson_progress where completed_at > now() - interval '1 day'"
            )
    page.click("nav a:has-text('Connections')")
    page.wait_for_selector("table td:has-text('active')")
    page.click("nav a:has-text('Tables')")
    page.wait_for_selector("td:has-text('lesson_progress')")
    page.click("nav a:has-text('Indexes')")
    page.wait_for_selector("h2:has-text('Unused indexes')")
    page.wait_for_selector("td:has-text('users_email_lower_key')")
    page.click("nav a:has-text('Queries')")
    until(lambda: page.reload() and page.locator("#statements td:has-text('lesson_progress')").count(), 150)

    # watches a table, changes a row, sees the change in the audit log
    page.goto("/servers/academy/do/watch_table/?schema=public&table=users")
    page.click("button:has-text('Preview')")
    page.wait_for_selector(".plan")
    assert "TRIGGER" in page.inner_text(".plan").upper()
    confirm(page, "Watch table")
    with postgres.connect(academy) as connection:
        connection.execute("set app.current_user_id = 'maria'")
        (user_id, old_name) = connection.execute(
            "select id, full_name from users order by id limit 1"
        ).fetchone()
        connection.execute("update users set full_name = 'Changed By Hand' where id = %s", [user_id])
    page.goto("/servers/academy/audit/")
    page.wait_for_selector("td:has-text('maria')")
    page.select_option("#filter-table", "public.users")
    page.fill("#filter-person", "maria")
    page.click("form[role=search] summary")
    page.fill("#filter-key", str(user_id))
    page.click("form[role=search] button[type=submit]")
    page.wait_for_selector("td:has-text('update')")
    page.click("main td.when a >> nth=0")
    page.wait_for_selector("text=Changed By Hand")
    assert old_name.split()[0] in page.inner_text("main")
    page.goto(f"/servers/academy/audit/row/public.users/?key={user_id}")
    page.wait_for_selector("text=Changed By Hand")

    # takes a backup
    progress = rows_of(postgres, academy, "lesson_progress")
    page.click("nav a:has-text('Backups')")
    page.click("a:has-text('Take a backup')")
    page.select_option("select[name=database]", academy)
    page.click("button:has-text('Preview')")
    page.wait_for_selector(".plan")
    taken = confirm(page, "Take a backup")
    assert "pg_dump" in "".join(taken.plan)

    # loses a table by psql, and restores it from the page
    with postgres.connect(academy) as connection:
        connection.execute("drop table lesson_progress cascade")
        connection.execute("update users set full_name = 'Lost Later' where id = %s", [user_id])
    page.goto("/servers/academy/backups/")
    page.click("main a:has-text('Restore'):visible >> nth=0")
    page.wait_for_selector("main h1")
    page.goto(
        f"/servers/academy/do/restore_backup/?backup={taken.result['backup']}&into=over"
        f"&database={academy}&preview=1"
    )
    page.wait_for_selector(".plan")
    assert "RENAME" in page.inner_text(".plan").upper()
    confirm(page, "Restore a backup")
    assert rows_of(postgres, academy, "lesson_progress") == progress
    with postgres.connect(academy) as connection:
        (name,) = connection.execute("select full_name from users where id = %s", [user_id]).fetchone()
        assert name == "Changed By Hand"

    # refreshes a materialized view
    page.goto("/servers/academy/do/refresh_view/?schema=public&view=user_learning_summary&preview=1")
    page.wait_for_selector(".plan")
    assert "CONCURRENTLY" in page.inner_text(".plan")
    refreshed = confirm(page, "Refresh materialized view")
    assert refreshed.risk == "loads"

    # and everything stands in the record, and the pages are usable by everybody
    page.goto("/runs/")
    for title in ("Refresh materialized view", "Restore a backup", "Take a backup", "Watch table"):
        assert title in page.inner_text("#runs")
    assert axe(page) == []
    control.close()
