"""The overview says what is wrong with a server, since when, and what mends it."""

import datetime as dt
import re

import pytest
from django.utils import timezone

from dbadmin import health
from dbadmin.connections import row_class
from dbadmin.models import Server, ServerState
from dbadmin.probes import PROBES, Reading
from dbadmin.reading_store import store
from dbadmin.templatetags.dbadmin import as_pairs
from dbadmin.units import moment
from monitoring.alert_models import Alert, AlertRule

pytestmark = pytest.mark.django_db
NAMES = ("schema", "table", "index", "state", "leftover_count", "size_bytes")
BROKEN = ("public", "users", "users_email_key", "left over from a failed build", 1, 8192)
WELL = (*BROKEN[:3], "being built", 0, 8192)
NOW = timezone.now()
HALF_AN_HOUR = dt.timedelta(minutes=30)


def read(server, row, minutes_ago):
    """Keep a reading of the indexes, taken then."""
    now = timezone.now()
    ServerState.objects.update_or_create(server=server, defaults={"asked_at": now, "reached_at": now})
    probe = PROBES["invalid_indexes"]
    taken_at = NOW - dt.timedelta(minutes=minutes_ago)
    columns = [probe.column(name) for name in NAMES]
    rows = [row_class(NAMES)._make(row)]
    store(server, Reading(probe, server.name, "shop", taken_at, 1.0, columns, rows))
    return taken_at


def test_a_finding_says_which_since_when_and_offers_what_mends_it(server, user_as):
    since = read(server, BROKEN, 30)
    read(server, (*BROKEN[:5], 16384), 15)
    (found,) = health.findings(server, user_as("admin"))
    assert found.text == "Invalid indexes: public.users_email_key, in database shop"
    assert (found.state, found.since) == ("warning", since)
    assert found.url == "/servers/shop/indexes/?db=shop#invalid_indexes"
    assert found.operation_title == "Rebuild index"
    wanted = "/servers/shop/do/reindex_index/?index=users_email_key&schema=public&database=shop"
    assert found.operation_url == wanted


def test_what_was_mended_and_comes_again_is_wrong_since_the_second_time(server):
    read(server, BROKEN, 30)
    read(server, WELL, 20)
    assert health.findings(server) == []
    since = read(server, BROKEN, 10)
    (found,) = health.findings(server)
    assert found.since == since


def test_who_may_not_mend_it_is_offered_nothing(server, user_as):
    read(server, BROKEN, 30)
    (found,) = health.findings(server, user_as("viewer"))
    assert (found.operation_url, found.operation_title) == ("", "")


def test_open_alerts_stand_among_the_findings_and_no_threshold_twice(server, user_as):
    since = read(server, BROKEN, 30)
    for origin, severity in (("default:no_backup", "critical"), ("header:invalid_indexes", "warning")):
        rule = AlertRule.objects.get(origin=origin)
        values = {"severity": severity, "text": "0, below 1", "row_name": "shop", "since": since}
        alert = Alert.objects.create(rule=rule, name=rule.name, server=server, **values)
        if severity == "critical":
            wanted = alert.get_absolute_url()
    first, second = health.findings(server, user_as("admin"))
    assert (first.state, first.text, first.url) == ("critical", "No backup: shop: 0, below 1", wanted)
    assert second.text.startswith("Invalid indexes")


def test_the_page_shows_all_of_it(server, client_as):
    read(server, BROKEN, 30)
    page = client_as("operator").get("/servers/shop/").content.decode()
    panel = page[page.index('id="attention"') : page.index("</ul>", page.index('id="attention"'))]
    assert "public.users_email_key" in panel
    assert re.search(r"since <time[^>]*>[\d: -]+</time>", panel)
    assert "Rebuild index…" in panel


def test_a_replica_is_not_blamed_for_what_it_has_from_its_primary(server):
    replica = Server.objects.create(name="replica", primary=server)
    read(server, BROKEN, 30)
    read(replica, BROKEN, 30)
    assert [(each.server.name, each.state, each.reason) for each in health.fleet([server, replica])] == [
        ("shop", "warning", f"Invalid indexes: public.users_email_key since {moment(NOW - HALF_AN_HOUR)}"),
        ("replica", "ok", "OK"),
    ]
    assert health.findings(replica) == []


def test_the_fleet_says_since_when(server, client_as):
    read(server, BROKEN, 30)
    assert re.search(r"public\.users_email_key since \d", client_as("viewer").get("/").content.decode())


def test_the_fleet_tells_an_auditor_which_servers_there_are_and_nothing_of_them(server, client_as):
    read(server, BROKEN, 30)
    text = client_as("auditor").get("/").content.decode()
    assert '<a href="/servers/shop/">shop</a>' in text
    assert "your role does not show it" in text
    assert "users_email_key" not in text
    assert "readiness" not in text


def test_the_fleet_puts_replicas_beside_their_primary_worst_first(server):
    calm = Server.objects.create(name="calm")
    replica = Server.objects.create(name="z-replica", primary=server)
    Server.objects.create(name="another")
    now = timezone.now()
    for each in (server, calm, replica):
        ServerState.objects.create(server=each, asked_at=now, reached_at=now)
    ServerState.objects.filter(server=replica).update(trouble={"kind": "unreachable", "message": "Refused."})
    found = [(each.server.name, each.state) for each in health.fleet(Server.objects.all())]
    assert found == [("shop", "ok"), ("z-replica", "critical"), ("another", "unknown"), ("calm", "ok")]


def test_the_fleet_is_narrowed_by_environment_and_tag_and_shows_how_ready_each_is(server, client_as):
    Server.objects.filter(pk=server.pk).update(tags=["blue"])
    Server.objects.create(name="books", environment="production", tags=["green"])
    probe, names = PROBES["readiness"], ("check", "state", "why", "remedy", "missing_count")
    rows = [("track_counts", "ready", "", "", 0), ("autovacuum", "missing", "No vacuum.", "ALTER …", 1)]
    found = [row_class(names)._make(row) for row in (*rows, rows[0])]
    store(server, Reading(probe, server.name, "", NOW, 1.0, [probe.column(name) for name in names], found))
    client = client_as("viewer")

    def names_at(address):
        return re.findall(r'<th scope="row"><a href="/servers/(\w+)/"', client.get(address).content.decode())

    assert names_at("/?tag=blue") == ["shop"]
    assert names_at("/?environment=production") == ["books"]
    assert names_at("/?environment=production&tag=blue") == []
    page = client.get("/").content.decode()
    assert 'href="/servers/shop/readiness/">66 % ready</a>' in page
    assert '<option value="green" >green</option>' in page
    assert "Show all" in client.get("/?environment=staging").content.decode()
    assert "No server matches." in client.get("/?environment=production&tag=blue").content.decode()


def test_the_fleet_says_how_many_databases_have_a_proven_backup(server):
    probe, names = PROBES["backup_age"], ("database", "proven_at")
    rows = [row_class(names)._make(row) for row in (("shop", NOW), ("post", None), ("logs", None))]
    store(server, Reading(probe, server.name, "", NOW, 1.0, [probe.column(name) for name in names], rows))
    found = health.of(server)
    assert (found.backup_state, found.backup_note) == ("warning", "1 of 3 databases")


def test_what_a_run_found_is_said_in_units():
    told = as_pairs({"before": {"size_bytes": 24576, "estimated_rows": None}, "seconds": 0.078, "store": ""})
    assert told == [("Before", "size 24 KiB, estimated rows –"), ("Seconds", "78 ms")]


def test_a_server_that_was_never_read_is_unknown_and_not_well(server, client_as):
    found = health.of(server)
    assert (found.state, found.reason) == ("unknown", "Not read yet: the sampler has not come to it.")
    for path in ("/", "/servers/shop/"):
        text = client_as("viewer").get(path).content.decode()
        assert "Not read yet: the sampler has not come to it." in text, path
        assert not re.search('class="status (long )?ok"', text), path
