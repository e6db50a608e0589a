"""Settings of two servers side by side, and how they changed: as real servers have them."""

import pytest

from dbadmin import reading_store
from dbadmin.connections import Session
from dbadmin.models import Grant, Server
from dbadmin.probes import PROBES
from monitoring.marks import changed_settings
from monitoring.models import Mark
from monitoring.settings_page import chosen, differing
from tests.fixtures.servers import server_row

pytestmark = [pytest.mark.django_db, pytest.mark.servers]


@pytest.fixture
def two(new_postgres):
    """Two servers of one version that differ in two settings."""
    made = []
    for name, memory in (("red", "5MB"), ("blue", "6MB")):
        postgres = new_postgres(work_mem=memory, cluster_name=name)
        row = server_row(name, postgres)
        with postgres.connect() as connection:
            reading_store.store(row, PROBES["settings"].read(Session(connection)))
        made.append(row)
    return made


def test_what_differs_is_told_with_both_values_and_places_come_last(two):
    red, blue = (reading_store.latest(each, "settings").rows for each in two)
    found = {row.setting: row for row in differing(red, blue)}
    assert (found["work_mem"].here, found["work_mem"].there) == ("5MB", "6MB")
    assert (found["cluster_name"].here, found["cluster_name"].there) == ("red", "blue")
    assert "shared_buffers" not in found
    names = list(found)
    assert names.index("work_mem") < names.index("data_directory")
    assert differing(red, red) == []


def test_a_setting_that_one_version_lacks_is_empty_there(two):
    red = reading_store.latest(two[0], "settings").rows
    (missing,) = differing(red, [row for row in red if row.name != "work_mem"])
    assert (missing.setting, missing.here, missing.there) == ("work_mem", "5MB", None)


def test_the_page_shows_differences_and_history(two, client_as):
    red, blue = two
    before, after = (reading_store.latest(each, "settings") for each in (red, blue))
    for mark in changed_settings(before, after):
        Mark.objects.create(server=red, at=mark.at, kind=mark.kind, text=mark.text, facts=mark.facts)
    text = client_as("viewer").get("/servers/red/differences/", {"with": "blue"}).content.decode()
    for words in ("red and blue", "work_mem", "5MB", "6MB", "cluster_name"):
        assert words in text, words
    assert "No setting has changed" not in text


def test_both_lists_are_files_too(two, client_as):
    red, _ = two
    mark = next(iter(changed_settings(*(reading_store.latest(each, "settings") for each in two))))
    Mark.objects.create(server=red, at=mark.at, kind=mark.kind, text=mark.text, facts=mark.facts)
    client, address = client_as("viewer"), "/servers/red/differences/?with=blue&format="
    found = client.get(f"{address}json").json()
    assert {name: found[name] for name in ("server", "of", "with")} == {
        "server": "red", "of": "differences", "with": "blue",
    }  # fmt: skip
    (memory,) = [row for row in found["rows"] if row["setting"] == "work_mem"]
    assert (memory["here"], memory["there"]) == ("5MB", "6MB")
    lines = client.get(f"{address}csv").content.decode().splitlines()
    assert lines[0] == "setting,here,there,built_in,category,meaning"
    assert [line.split(",")[1:3] for line in lines if line.startswith("work_mem,")] == [["5MB", "6MB"]]
    (row,) = client.get(f"{address}json&panel=changes").json()["rows"]
    assert row["setting"] == mark.facts["setting"]
    assert client.get(f"{address}csv&panel=nosuch").status_code == 404
    Server.objects.create(name="new")
    unread = client.get("/servers/red/differences/?with=new&format=csv")
    assert (unread.status_code, unread.content.decode()) == (
        503,
        "The settings of new have not been read yet.\n",
    )


def test_what_was_never_read_is_said_and_not_called_equal(client_as, two):
    Server.objects.create(name="new")
    text = client_as("viewer").get("/servers/red/differences/?with=new").content.decode()
    assert "The settings of new have not been read yet." in text
    assert "All settings are the same on both." not in text


def test_alone_it_shows_its_history_only(client_as):
    Server.objects.create(name="alone")
    text = client_as("viewer").get("/servers/alone/differences/").content.decode()
    assert "There is no other server to hold against this one" in text
    assert "No setting has changed since this server is read." in text


def test_a_server_that_one_may_not_see_is_not_offered(two, user_as, client):
    red, _ = two
    user = user_as("nobody", "half")
    Grant.objects.create(user=user, role="viewer", server=red)
    client.force_login(user)
    text = client.get("/servers/red/differences/?with=blue").content.decode()
    assert "blue" not in text


def test_its_kin_comes_first(two):
    red, blue = two
    replica = Server(pk=99, name="zebra", primary=red, environment="development")
    assert chosen(red, [blue, replica], "") == replica
    assert chosen(red, [blue, replica], "blue") == blue
    assert chosen(red, [], "blue") is None
