"""The demo's log lives from the start: its tables are watched, its schedules stand, and a second start adds nothing."""

import io

import pytest
from django.core.management import call_command

from backups.models import Store
from dbadmin import runner
from dbadmin.models import Run, Schedule
from dbadmin.sample.care import WATCHED
from tests.fixtures.people import person

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def care(server):
    out = io.StringIO()
    call_command("sample", "care", server=server.name, user="admin", stdout=out)
    return out.getvalue().strip()


def test_the_tables_are_watched_wal_is_received_and_schedules_keep_both(server, target, tmp_path):
    person("admin")
    Store.objects.create(name="local", kind=Store.Kind.LOCAL, directory=str(tmp_path))
    for name in WATCHED.split(", "):
        target.rows(f"create table {name} (id int primary key)")
    said = care(server)
    run, switch = Run.objects.order_by("pk")
    assert said == f"Run {run.pk}: {run}.\nRun {switch.pk}: {switch}."
    assert (switch.operation, switch.params["keep_days"]) == ("switch_on_point_in_time", 2)
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "succeeded", run.message
    watched = target.rows("select table_name from dbadmin_audit.watched where until is null order by 1")
    assert ", ".join(row.table_name for row in watched) == WATCHED
    assert care(server) == "All 8 tables of public are watched already."
    names = list(Schedule.objects.order_by("operation").values_list("operation", flat=True))
    assert names == [
        "drill_recovery", "ensure_partitions", "index_log", "prune_point_in_time", "seal_log", "verify_seals"
    ]  # fmt: skip
