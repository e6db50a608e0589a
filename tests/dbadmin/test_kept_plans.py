"""A session keeps the plans of what pages ask often, and they outlive a migration."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from dbadmin.models import Server
from dbadmin.pages import PAGES

#: After so many times a plan is kept.
OFTEN = settings.DATABASES["default"]["OPTIONS"]["prepare_threshold"] + 1
PLACES = [
    "/",
    "/runs/",
    *(f"/servers/one/{name}/".replace("//", "/") for name in PAGES if not PAGES[name].subject),
]


def plans() -> int:
    """How many this session keeps."""
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_catalog.pg_prepared_statements")
        return int(cursor.fetchone()[0])


@pytest.mark.django_db
@pytest.mark.parametrize("place", PLACES)
def test_answers_while_a_migration_adds_columns(client_as: Callable[..., Client], place: str) -> None:
    Server.objects.create(name="one", environment="production")
    client = client_as("admin")
    for _ in range(OFTEN + 1):
        before = client.get(place)
    assert plans() > 3
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
        for table in connection.introspection.table_names():
            cursor.execute(f'alter table "{table}" add column of_later int')
    after = client.get(place)
    assert after.status_code == before.status_code


def test_keeps_no_plans_in_the_sessions_of_a_pooler() -> None:
    shown = "from dbadmin.settings import DATABASES; print(DATABASES['default']['OPTIONS'].get('prepare_threshold'))"
    environment = {**os.environ, "DATABASE_DIRECT_URL": "postgresql://db.example.org/dbadmin"}
    told = subprocess.run(
        [sys.executable, "-c", shown], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "None"
