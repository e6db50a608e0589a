"""The rooms of backups in Chromium: nothing complains, nothing shuts anybody out, in both themes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from backups.models import Backup, KeptDatabase, Policy
from backups.models import Store as StoreRow
from dbadmin.models import Run, Server
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


@pytest.fixture
def lived_in(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> Backup:
    """A server with backups, a damaged one, a replaced database and a policy."""
    with postgres.connect(database) as connection:
        connection.execute(
            "create table orders as select n, 'order ' || n as text from generate_series(1, 4321) n"
        )
        connection.execute("create table customers (id int primary key, name text)")
    first, second = taken(), taken()
    second.problem = f"{second.prefix}/database.dump.zst.age is not what was written: its SHA-256 differs."
    second.save()
    done = run("restore_backup", backup=first.pk, into="over", database=database)
    assert done.status == Run.Status.SUCCEEDED, done.message
    Policy.objects.create(
        name="usual", server=server, rules={"last": 1, "daily": 7, "weekly": 4, "monthly": 12, "yearly": 0}
    )
    first.refresh_from_db()
    return first


def addresses(server: Server, backup: Backup) -> dict[str, str]:
    """Every room."""
    return {
        "catalogue": reverse("backups", args=[server.name]),
        "backup": backup.get_absolute_url(),
        "kit": reverse("recovery_kit", args=[server.name, backup.pk]),
        "restore": reverse("restore", args=[server.name]),
        "stores": reverse("stores"),
        "store": reverse("store", args=[StoreRow.objects.get().name]),
        "keys": reverse("backup_keys"),
        "key": reverse("backup_key", args=["night"]),
        "policies": reverse("policies"),
        "policy": reverse("policy", args=["usual"]),
    }


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_every_room_is_open_to_everybody(
    lived_in: Backup,
    server: Server,
    page_as: Callable[..., Any],
    axe: Callable[[Any], list[str]],
    postgres: Postgres,
    scheme: str,
    width: int,
) -> None:
    page = page_as("admin", width=width, scheme=scheme)
    for name, address in addresses(server, lived_in).items():
        page.goto(address)
        assert axe(page) == [], name
        wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide, f"{name} is wider than the window"
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=str(Path(folder) / f"backups-{name}-{scheme}.png"), full_page=True)
    for kept in KeptDatabase.objects.all():
        with postgres.connect() as connection:
            connection.execute(f'drop database "{kept.name}"')
