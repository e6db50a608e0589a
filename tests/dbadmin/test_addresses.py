"""What holds for every address: odd values are refused in words, and nobody keeps what a person saw."""

import pytest
from django.http import QueryDict
from django.test import Client

from dbadmin.addresses import changed
from tests.fixtures.people import person

pytestmark = pytest.mark.django_db


def test_a_form_without_its_token_is_refused_in_words_and_in_the_look_of_the_house(server):
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("admin"))
    answer = client.post(f"/settings/servers/{server.name}/remove/", {"typed": server.name})
    assert answer.status_code == 403
    page = answer.content.decode()
    assert "Nothing was done. Open its page again, and send it anew." in page
    assert "css/app.css" in page


def test_pages_of_a_person_stay_in_no_cache(client_as):
    assert client_as("viewer").get("/")["Cache-Control"] == "private, no-store"
    assert "no-store" in client_as("viewer").get("/runs/?page=2")["Cache-Control"]


@pytest.mark.parametrize("path", ["", "queries/", "timeline/", "activity/", "audit/"])
@pytest.mark.parametrize(
    "window",
    [
        "from=0001-01-01T00:00:00&to=9999-12-31T23:59:59",
        "since=0001-01-01T00:00:00&until=9999-12-31T23:59:59",
        "from=9999-12-31T23:59:59&to=0001-01-01",
        "from=2020-13-45&to=x&range=zz",
    ],
)
def test_no_window_however_odd_is_an_error_of_ours(path, window, server, client_as, target):
    assert client_as("admin").get(f"/servers/{server.name}/{path}?{window}").status_code in {200, 400}


@pytest.mark.parametrize("given", ["", "a=1&b=2&a=3", "panel=x&q=%C3%A4+%26", "q=&z=1"])
def test_an_address_with_changes_is_what_a_changed_copy_says(given):
    params, copied = QueryDict(given), QueryDict(given, mutable=True)
    for name in ("panel", "b"):
        copied.pop(name, None)
    copied["b"] = "ö &"
    assert changed(params, ["panel"], b="ö &") == f"?{copied.urlencode()}"
