"""The page of capture says what nothing does again and again for the log, and leads to the schedule that would."""

import pytest

from audit.routine import ROUTINES, lacks
from dbadmin.models import Event, Schedule

pytestmark = pytest.mark.servers


def capture(client_as, role):
    return client_as(role).get("/servers/shop/audit/capture/").content.decode()


def test_an_unwatched_database_lacks_nothing(audit, client_as):
    assert "On no schedule" not in capture(client_as, "admin")


def test_what_no_schedule_runs_is_named_with_the_form_that_makes_one(items, client_as, server):
    page = capture(client_as, "admin")
    for routine in ROUTINES:
        assert f"{routine.lack}." in page
        assert f"/schedules/add/?server=shop&amp;operation={routine.operation}&amp;cron=" in page
    form = client_as("admin").get(lacks(server, items.session.database)[0].url).content.decode()
    assert 'name="cron" value="*/5 * * * *"' in form
    assert "/schedules/add/" not in capture(client_as, "auditor")
    assert "On no schedule" in capture(client_as, "auditor")


def test_schedules_of_another_database_or_switched_off_count_for_nothing(items, server):
    here, there = items.session.database, "postgres"
    Schedule.objects.create(server=server, operation="seal_log", cron="@hourly", params={"database": there})
    Schedule.objects.create(
        server=server, operation="ensure_partitions", cron="@daily", params={"database": None}
    )
    Schedule.objects.create(server=server, operation="index_log", cron="@hourly", params={}, enabled=False)
    assert [one.routine.operation for one in lacks(server, here)] == ["seal_log", "index_log"]
    assert [one.routine.operation for one in lacks(server, there)] == ["ensure_partitions", "index_log"]
    assert lacks(server, there)[0].url.endswith("&cron=%40daily&database=postgres")


def test_all_of_them_are_put_on_schedules_at_once_as_their_forms_propose(items, client_as, server):
    page = capture(client_as, "admin")
    assert "Proposed: Every fifth minute of every hour." in page
    assert "Put all of them on schedules" not in capture(client_as, "auditor")
    assert client_as("auditor").post("/servers/shop/audit/capture/schedule/").status_code == 403
    assert not Schedule.objects.exists()
    for database, status in (("none", 503), ("postgres", 404)):
        answer = client_as("admin").post("/servers/shop/audit/capture/schedule/", {"db": database})
        assert (answer.status_code, Schedule.objects.count()) == (status, 0)
    for _ in range(2):
        answer = client_as("admin").post("/servers/shop/audit/capture/schedule/", {"db": ""}, follow=True)
    assert "All of them were on schedules." in answer.content.decode()
    assert "On no schedule" not in answer.content.decode()
    assert {one.operation: (one.cron, one.params) for one in Schedule.objects.all()} == {
        "seal_log": ("*/5 * * * *", {"database": "", "store": ""}),
        "ensure_partitions": ("@daily", {"database": "", "months": 2}),
        "index_log": (
            "*/10 * * * *",
            {"database": "", "texts": True, "create_extension": False, "months": 12, "anew": False},
        ),
    }
    assert {one.created_by.username for one in Schedule.objects.all()} == {"admin"}
    assert Event.objects.filter(kind="schedule").count() == 3
