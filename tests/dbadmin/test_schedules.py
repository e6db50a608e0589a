"""A cron line is due when people expect it, also on the days when clocks change."""

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from dbadmin import scheduler, schedules
from dbadmin.models import Run, Schedule
from dbadmin.schedules import BadScheduleError, next_runs

FIVE = "A cron line has five fields (minute, hour, day of the month, month, day of the week); this one has "


def due(cron, zone, after, count=3):
    return [f"{moment:%d %H:%M %Z}" for moment in next_runs(cron, zone, count, after)]


def test_in_spring_the_hour_that_does_not_exist_is_made_up_for_once():
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert due("30 2 * * *", "Europe/Berlin", before) == ["29 03:00 CEST", "30 02:30 CEST", "31 02:30 CEST"]


def test_in_autumn_the_hour_that_comes_twice_counts_once():
    before = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert due("30 2 * * *", "Europe/Berlin", before) == ["25 02:30 CEST", "26 02:30 CET", "27 02:30 CET"]


def test_what_runs_every_half_hour_runs_in_both_of_them():
    before = datetime(2026, 10, 25, 0, 10, tzinfo=UTC)
    assert due("*/30 * * * *", "Europe/Berlin", before, 5) == [
        "25 02:30 CEST",
        "25 02:00 CET",
        "25 02:30 CET",
        "25 03:00 CET",
        "25 03:30 CET",
    ]


HALF_AN_HOUR = "Australia/Lord_Howe"


@pytest.mark.parametrize(
    "cron,zone,after,moments",
    [
        # The hour from 2 to 3 does not exist; what is due in it is due when it would be over.
        ("30 2 * * *", "Europe/Berlin", "2027-03-27 12:00", ["28 03:00 CEST", "29 02:30 CEST"]),
        # The hour from 2 to 3 comes twice; asked between the two, and in the second, the first is over.
        ("30 2 * * *", "Europe/Berlin", "2027-10-30 12:00", ["31 02:30 CEST", "01 02:30 CET"]),
        ("30 2 * * *", "Europe/Berlin", "2027-10-31 00:40", ["01 02:30 CET", "02 02:30 CET"]),
        ("30 2 * * *", "Europe/Berlin", "2027-10-31 01:05", ["01 02:30 CET", "02 02:30 CET"]),
        # Here clocks change by half an hour.
        ("15 2 * * *", HALF_AN_HOUR, "2027-10-02 12:00", ["03 02:30 +11", "04 02:15 +11"]),
        ("45 1 * * *", HALF_AN_HOUR, "2027-04-03 12:00", ["04 01:45 +11", "05 01:45 +1030"]),
        ("45 1 * * *", HALF_AN_HOUR, "2027-04-03 15:05", ["05 01:45 +1030", "06 01:45 +1030"]),
    ],
)
def test_it_is_due_once_on_the_days_when_clocks_change_whenever_it_is_asked(cron, zone, after, moments):
    assert due(cron, zone, datetime.fromisoformat(f"{after}+00:00"), 2) == moments


@pytest.mark.django_db
def test_what_was_missed_is_made_up_for_once_in_the_second_of_two_equal_hours(server):
    made = Schedule.objects.create(
        server=server, operation="no_longer_there", params={}, cron="30 2 * * *", time_zone="Europe/Berlin"
    )
    Schedule.objects.filter(pk=made.pk).update(due_at=datetime(2027, 10, 31, 0, 30, tzinfo=UTC))
    for minute in (5, 6, 7):
        scheduler.start_due(datetime(2027, 10, 31, 1, minute, tzinfo=UTC))
    assert Run.objects.filter(schedule=made).count() == 1
    made.refresh_from_db()
    assert made.due_at == datetime(2027, 11, 1, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("alias", list(schedules.ALIASES))
def test_the_usual_words_are_understood(alias):
    assert len(next_runs(alias, "UTC", 2)) == 2


def test_a_line_is_said_in_words():
    assert schedules.explain("@daily") == "At 00:00 every day"


@pytest.mark.parametrize(
    "cron,zone,field,sentence",
    [
        ("61 * * * *", "UTC", "cron", "The minute of '61 * * * *' is not valid."),
        ("0 0 30 2 *", "UTC", "cron", "The day of month of '0 0 30 2 *' is not valid."),
        (
            "0 0 *",
            "UTC",
            "cron",
            FIVE + "3.",
        ),
        (
            "* * * * * *",
            "UTC",
            "cron",
            FIVE + "6.",
        ),
        (
            "@reboot",
            "UTC",
            "cron",
            (
                "@reboot is not known. Use one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly,"
                " @annually, or five fields."
            ),
        ),
        (
            "0 0 * * *",
            "Europe/Atlantis",
            "time_zone",
            "There is no time zone 'Europe/Atlantis'. Write it as Europe/Berlin, or UTC.",
        ),
    ],
)
def test_a_bad_one_is_said_at_its_field(cron, zone, field, sentence):
    with pytest.raises(BadScheduleError) as bad:
        schedules.validate(cron, zone)
    assert (str(bad.value), bad.value.field) == (sentence, field)


@pytest.mark.django_db
def test_the_list_says_when_each_is_due_next_and_how_its_last_run_ended(server, client_as):
    made = Schedule.objects.create(
        server=server, operation="analyze_table", params={}, cron="0 3 * * *", time_zone="UTC"
    )
    run = Run.objects.create(
        server=server, server_name=server.name, operation="analyze_table", schedule=made, status="failed"
    )
    page = client_as("viewer").get("/schedules/").content.decode()
    assert " 03:00" in page
    assert "paused" not in page
    assert f'href="/runs/{run.pk}/"' in page
    Schedule.objects.filter(pk=made.pk).update(enabled=False)
    assert "paused" in client_as("viewer").get("/schedules/").content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("cron", ["every night", "99 3 * * *", "0 0 30 2 *"])
def test_a_link_with_a_bad_line_opens_the_form_to_mend_it(server, client_as, cron):
    address = (
        f"/schedules/add/?{urlencode({'server': server.name, 'operation': 'analyze_table', 'cron': cron})}"
    )
    answer = client_as("admin").get(address)
    assert (answer.status_code, cron in answer.content.decode()) == (200, True)
