"""A table shows few columns, and those that a person chose from then on."""

import re

import pytest
from django.contrib.messages import get_messages

from dbadmin import readings
from dbadmin.chosen_columns import ChosenColumns
from dbadmin.pages import usual_columns
from dbadmin.probes import PROBES
from dbadmin.readings import Question
from tests.fixtures.runtime import until

pytestmark = pytest.mark.servers
ROOM = "/servers/shop/activity/"
CHOOSE = f"/servers/shop/columns/sessions/?next={ROOM}"


def headings(client, address=ROOM):
    """The headings of the sessions."""
    section = client.get(address).content.decode().partition('id="sessions"')[2].partition("</thead>")[0]
    return re.findall(r"<th[^>]*><a[^>]*>([^<]+)</a>", section)


@pytest.fixture
def watched(server, target):
    """A server with a session to be shown, that was asked for once."""
    asked = Question.of(PROBES["sessions"], "", {})
    until(lambda: readings.live_all(server, [asked])[0].rows)
    return server


def test_the_person_sees_what_they_chose_and_nobody_else_does(watched, client_as):
    client, other = client_as("viewer"), client_as("admin")
    usual = ["PID", "State", "Query time", "Transaction", "Waits for", "Query", "Role", "Application"]
    assert headings(client) == usual
    answer = client.post(CHOOSE, {"names": ["client", "pid", "application"]})
    assert answer["Location"] == ROOM
    assert [str(each) for each in get_messages(answer.wsgi_request)] == [
        "Sessions shows you 3 columns from now on."
    ]
    assert headings(client) == ["PID", "Application", "Client"]
    assert headings(other) == usual
    client.post(CHOOSE, {"usual": "1"})
    assert headings(client) == usual
    assert not ChosenColumns.objects.exists()


def test_a_panel_that_renews_itself_keeps_them_though_it_is_written_for_all(watched, client_as):
    client = client_as("viewer")
    client.post(CHOOSE, {"names": ["pid", "database"]})
    page = client.get(ROOM).content.decode()
    (url,) = re.findall(r'hx-get="(\?panel=sessions[^"]*)"', page)
    assert "columns=pid,database" in url
    address = ROOM + url.replace("&amp;", "&")
    assert headings(client, address) == headings(client_as("admin"), address) == ["PID", "Database"]


def test_without_a_column_nothing_is_saved(watched, client_as):
    client = client_as("viewer")
    answer = client.post(CHOOSE, {})
    assert answer.status_code == 422
    assert "Choose at least one column." in answer.content.decode()
    assert not ChosenColumns.objects.exists()


def test_columns_that_are_no_more_are_passed_over(watched, client_as, user_as):
    client = client_as("viewer")
    choice = ChosenColumns.objects.create(user=user_as("viewer"), probe="sessions", names=["pid", "gone"])
    assert headings(client) == ["PID"]
    choice.names = ["gone"]
    choice.save()
    assert len(headings(client)) == len(usual_columns("sessions"))
