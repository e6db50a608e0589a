"""The demo's log lives from the start: its tables are watched, its schedules stand, and a second start adds nothing."""

import io

import pytest
from django.core.management import call_command

from dbadmin import runner
from dbadmin.models import Run, Schedule
from dbadmin.sample.care import WATCHED
from tests.fixtures.people import person

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def care(server):
    out = io.StringIO()
    call_command("sample", "care", server=server.name, user="admin", stdout=out)
    return out.getvalue().strip()


def test_the_tables_are_watched_and_the_log_is_kept_by_schedules(server, target):
    person("admin")
    for name in WATCHED.split(", "):
        target.rows(f"create table {name} (id int primary key)")
    run_said = care(server)
    run = Run.objects.get()
    assert run_said == f"Run {run.pk} watches {WATCHED}."
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "succeeded", run.message
    watched = target.rows("select table_name from dbadmin_audit.watched where until is null order by 1")
    assert ", ".join(row.table_name for row in watched) == WATCHED
    assert care(server) == "All 8 tables of public are watched already."
    names = list(Schedule.objects.order_by("operation").values_list("operation", flat=True))
    assert names == ["ensure_partitions", "index_log", "seal_log", "verify_seals"]
