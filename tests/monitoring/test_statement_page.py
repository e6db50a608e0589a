"""The page of one statement: who runs it, since when, when last, and what planning takes where that is counted."""

import datetime as dt

import pytest
from django.utils import timezone

from dbadmin import readings
from dbadmin.probes import PROBES
from monitoring import hours
from monitoring.blocks import find_source
from monitoring.keeper import Keeper
from monitoring.last_seen import last_seen
from monitoring.layouts import Look
from monitoring.models import Hour, Line, Name, Statement, Text
from monitoring.recorder import Known, Sample

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

COLUMNS = ("calls_total", "exec_seconds_total", "plan_seconds_total")


@pytest.fixture
def ran(server):
    """Keeps that a statement of a role ran at a moment: ran(at), ran(at, user=11)."""
    kept, keeper = {}, Keeper()

    def at(moment, user=10, calls=4):
        line = kept.setdefault(user, Known((user, 5, 77, True), Look((), (), [])))
        sample = Sample("statements", "", moment, 60.0, False, COLUMNS)
        sample.add(line, [calls, calls * 1_000_000, calls * 250_000])
        keeper.keep(server, [sample], [], [])
        return Line.objects.get(source=find_source(server.pk, "statements"), key__0=user).pk

    text = Text.objects.create(digest=b"7", fingerprint="7", text="select a, b from orders where id = $1")
    Statement.objects.create(server=server, database_id=5, query_id=77, text=text)
    for number, name in ((10, "app"), (11, "report")):
        Name.objects.create(server=server, kind="role", number=number, name=name)
    Name.objects.create(server=server, kind="database", number=5, name="shop")
    return at


def test_tells_who_runs_it_since_when_and_when_last(server, ran, client_as):
    last = timezone.now().replace(microsecond=0) - dt.timedelta(minutes=3)
    line = ran(last - dt.timedelta(minutes=20))
    ran(last - dt.timedelta(minutes=10), user=11)
    ran(last)
    page = client_as("viewer").get(f"/servers/{server.name}/queries/{line}/")
    text = page.content.decode()
    assert "By app in database shop, first seen" in text
    assert page.context["last_at"] == last
    assert "select a,\n       b\nfrom orders" in text
    assert "Who else runs it" in text
    assert "report" in text


def test_when_it_ran_last_is_found_after_hours_and_days_are_packed(server, ran):
    now = timezone.now()
    long_ago = (now - dt.timedelta(days=9)).replace(hour=5, minute=30, second=0, microsecond=0)
    line = ran(long_ago)
    ran(now, user=11)
    source, first_at = find_source(server.pk, "statements"), long_ago - dt.timedelta(minutes=1)
    for _, hour in hours.due(now + dt.timedelta(hours=2), [server.pk]):
        hours.close(source.pk, hour)
    hours.close_days(now, [server.pk])
    assert last_seen(source, line, "calls_total", first_at) == long_ago
    Hour.objects.all().delete()
    assert last_seen(source, line, "calls_total", first_at) == long_ago + dt.timedelta(minutes=30)
    assert last_seen(source, 0, "calls_total", first_at) is None


def test_the_time_of_planning_is_told_where_the_server_counts_it(server, ran, target, postgres, client_as):
    line = ran(timezone.now() - dt.timedelta(minutes=1))
    client = client_as("viewer")
    for is_on, figure in ((False, "–"), (True, "1 s")):
        with postgres.connect() as connection:
            connection.execute(f"alter system set pg_stat_statements.track_planning = {is_on}")
            connection.execute("select pg_reload_conf()")
            while connection.execute("show pg_stat_statements.track_planning").fetchone() != (
                "on" if is_on else "off",
            ):
                pass
        try:
            target.value("select 1")
            reading = PROBES["statements"].read(target)
            assert {row.plan_seconds_total is None for row in reading.rows} == {not is_on}
            readings.store(server, reading)
            page = client.get(f"/servers/{server.name}/queries/{line}/")
            (planning,) = [each for each in page.context["figures"] if each.label == "Planning"]
            assert planning.text == figure
            assert planning.note == ("" if is_on else "counted when pg_stat_statements.track_planning is on")
            assert ("Time spent planning" in page.content.decode()) == is_on
        finally:
            with postgres.connect() as connection:
                connection.execute("alter system reset pg_stat_statements.track_planning")
                connection.execute("select pg_reload_conf()")
