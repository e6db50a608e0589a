"""The pages of alerts: who sees them, who takes them, what they offer, and their settings."""

import datetime as dt
import re

import pytest
from django.test import Client
from django.utils import timezone

from dbadmin.models import Event, Grant, Server
from dbadmin.navigation import WIDE
from monitoring.alert_models import Alert, AlertRule, Channel, Delivery, Silence
from monitoring.amounts import amount

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop():
    return Server.objects.create(name="shop", environment="production")


@pytest.fixture
def stale(shop):
    """An alert on a materialized view."""
    rule = AlertRule.objects.get(origin="header:materialized_views")
    ago = timezone.now() - dt.timedelta(hours=1)
    alert = Alert.objects.create(
        rule=rule, name=rule.name, server=shop, database="app", row_key=["public", "sales"], severity="warning",
        row_name="public.sales", since=ago, opened_at=ago, text="5 h, above 4 h", last_value=18000,
        evidence={"row": {"schema": "public", "view": "sales", "stale_seconds": 18000.0}},
    )  # fmt: skip
    alert.note("opened", "It opened.")
    return alert


def test_the_list_shows_what_is_open_and_the_past_by_a_tab(client_as, stale):
    client = client_as("viewer")
    page = client.get("/alerts/").content.decode()
    assert "public.sales" in page
    assert "5 h, above 4 h" in page
    Alert.objects.update(resolved_at=timezone.now(), resolved_because="Back at 1 min.")
    assert "Nothing needs attention." in client.get("/alerts/").content.decode()
    assert "Back at 1 min." in client.get("/alerts/?state=over").content.decode()
    assert "No alert matches." in client.get("/alerts/?state=over&severity=critical").content.decode()


def test_an_alert_offers_the_operation_with_its_form_filled(client_as, stale, shop):
    page = client_as("operator").get(f"/alerts/{stale.pk}/").content.decode()
    assert "/servers/shop/do/refresh_view/?" in page
    assert "view=sales" in page
    assert "database=app" in page
    assert "warning above 4 h" in page
    assert "Refresh the view, and give it a schedule." in page
    assert "do/refresh_view" not in client_as("viewer").get(f"/alerts/{stale.pk}/").content.decode()


@pytest.mark.parametrize(
    ("rule", "offered"),
    [
        ("late_backup", {"take_backup"}),
        ("shrunken_backup", set()),
        ("slower_backup", set()),
        ("bad_store", set()),
        ("missing_copies", {"copy_backups"}),
        ("unproven_backup", {"verify_backup"}),
    ],
)
def test_an_alert_offers_what_ends_it_and_nothing_else_that_its_reading_offers(
    client_as, shop, rule, offered
):
    found = AlertRule.objects.get(origin=f"default:{rule}")
    alert = Alert.objects.create(
        rule=found, name=found.name, server=shop, row_key=["app"], severity="warning", row_name="app",
        since=timezone.now(), text="It is.", evidence={"row": {"database": "app"}},
    )  # fmt: skip
    page = client_as("admin").get(f"/alerts/{alert.pk}/").content.decode()
    assert set(re.findall(r'class="button primary" href="/servers/shop/do/(\w+)/', page)) == offered
    assert set(re.findall(r"/do/(\w+)/\?database=app", page)) == offered - {"copy_backups"}


def test_who_takes_an_alert_is_written_down_and_may_give_it_back(client_as, stale):
    client = client_as("operator")
    client.post(f"/alerts/{stale.pk}/acknowledge/", {"to": "on"})
    stale.refresh_from_db()
    assert stale.acknowledged_by == "operator"
    assert Event.objects.filter(kind="alert", user_name="operator").exists()
    assert "taken by operator" in client.get("/alerts/?state=taken").content.decode()
    client.post(f"/alerts/{stale.pk}/acknowledge/", {"to": "off"})
    stale.refresh_from_db()
    assert stale.acknowledged_at is None
    assert [note.kind for note in stale.notes.all()] == ["opened", "taken", "given back"]
    assert client_as("viewer").post(f"/alerts/{stale.pk}/acknowledge/").status_code == 403


def test_who_takes_an_alert_twice_or_after_somebody_else_leaves_it_taken(client_as, stale):
    for _ in range(2):
        client_as("operator").post(f"/alerts/{stale.pk}/acknowledge/", {"to": "on"})
    late = client_as("admin").post(f"/alerts/{stale.pk}/acknowledge/", {"to": "on"}, follow=True)
    assert "operator has taken it already." in late.content.decode()
    stale.refresh_from_db()
    assert stale.acknowledged_by == "operator"
    for _ in range(2):
        client_as("operator").post(f"/alerts/{stale.pk}/acknowledge/", {"to": "off"})
    assert [note.kind for note in stale.notes.all()] == ["opened", "taken", "given back"]
    assert client_as("operator").post(f"/alerts/{stale.pk}/acknowledge/").status_code == 400


def test_a_rule_that_is_switched_off_twice_is_off(client_as):
    rule = AlertRule.objects.filter(enabled=True).first()
    for _ in range(2):
        client_as("admin").post(f"/settings/alert-rules/{rule.pk}/switch/", {"to": "off"})
    rule.refresh_from_db()
    assert not rule.enabled
    assert Event.objects.filter(kind="alert rule").count() == 1


def test_alerts_of_servers_that_one_may_not_see_are_not_there(user_as, stale, shop):
    user = user_as("nobody", "half")
    other = Server.objects.create(name="other")
    Grant.objects.create(user=user, role="admin", server=other)
    client = Client()
    client.force_login(user)
    assert "public.sales" not in client.get("/alerts/").content.decode()
    assert client.get(f"/alerts/{stale.pk}/").status_code == 404
    assert client.post(f"/alerts/{stale.pk}/acknowledge/").status_code == 404


def test_the_navigation_counts_what_the_first_tab_lists(client_as, stale, user_as):
    room = next(room for room in WIDE if room.url_name == "alerts")
    viewer, client = user_as("viewer"), client_as("viewer")

    def tabs():
        page = client.get("/alerts/").content.decode()
        counts = dict(re.findall(r'state=(\w+)"[^>]*>\w+ <span class="note">(\d+)<', page))
        assert int(counts["open"]) == room.count(viewer) == page.count("public.sales</span>")
        return counts

    AlertRule.objects.filter(pk=stale.rule_id).update(tells=False)
    assert tabs() == {"open": "0", "taken": "0", "chores": "1"}
    assert "public.sales" in client.get("/alerts/?state=chores").content.decode()
    AlertRule.objects.filter(pk=stale.rule_id).update(tells=True)
    assert tabs() == {"open": "1", "taken": "0", "chores": "0"}
    Alert.objects.update(acknowledged_at=timezone.now())
    assert tabs() == {"open": "0", "taken": "1", "chores": "0"}


def test_a_silence_is_prefilled_from_an_alert_and_reaches_no_further_than_the_role(
    client_as, user_as, stale, shop
):
    client = client_as("operator")
    page = client.get(f"/settings/silences/?rule={stale.rule_id}&server={shop.pk}&row_name=public.sales")
    assert 'value="public.sales"' in page.content.decode()
    now = f"{timezone.localtime():%Y-%m-%dT%H:%M}"
    answer = client.post(
        "/settings/silences/", {"server": shop.pk, "starts_at": now, "length": "1h", "reason": "Upgrade"}
    )
    assert answer.status_code == 302
    silence = Silence.objects.get()
    assert (silence.created_by, silence.ends_at - silence.starts_at) == ("operator", dt.timedelta(hours=1))
    assert "silenced" in client.get("/alerts/").content.decode()
    user = user_as("nobody", "half")
    Grant.objects.create(user=user, role="operator", server=shop)
    half = Client()
    half.force_login(user)
    answer = half.post("/settings/silences/", {"starts_at": now, "length": "1h", "reason": "All"})
    assert answer.status_code == 422
    assert "Your role does not reach all of this. Choose a server." in answer.content.decode()
    half.post(f"/settings/silences/{silence.pk}/end/")
    silence.refresh_from_db()
    assert not silence.is_on


def test_everything_is_silenced_only_by_a_tick_of_its_own(client_as, shop):
    client = client_as("admin")
    assert "Silence every rule" not in client.get("/settings/silences/").content.decode()
    everything = {
        "starts_at": f"{timezone.localtime():%Y-%m-%dT%H:%M}",
        "length": "1h",
        "reason": "The network is moved",
    }
    answer = client.post("/settings/silences/", everything)
    assert answer.status_code == 422
    assert (
        "Nobody would be told of anything, whatever happens. Choose what is to be silent, or tick this."
        in answer.content.decode()
    )
    assert not Silence.objects.exists()
    unclear = client.post("/settings/silences/", {**everything, "server": shop.pk, "length": "9h"})
    assert "Silence every rule" not in unclear.content.decode()
    assert client.post("/settings/silences/", {**everything, "everything": "on"}).status_code == 302
    assert str(Silence.objects.get()) == "Every rule on every server"


RULE = {
    "name": "Many connections", "probe": "server_vitals", "column": "connections_count", "measure": "value",
    "comparison": ">", "against": "limit", "warning": "80", "for_seconds": "2m", "at_least": "0",
    "tells": "on", "enabled": "on",
}  # fmt: skip


def test_a_rule_is_written_with_units(client_as):
    client = client_as("admin")
    wanted = {**RULE, "column": "connections_ratio", "warning": "80%", "critical": "95 %", "clear": "0.7"}
    assert client.post("/settings/alert-rules/add/", wanted).status_code == 302
    rule = AlertRule.objects.get(name="Many connections")
    assert (rule.warning, rule.critical, rule.clear, rule.for_seconds) == (0.8, 0.95, 0.7, 120)
    assert "warning above 80 %, critical above 95 %" in client.get("/settings/alert-rules/").content.decode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"warning": ""}, "Give a warning or a critical limit."),
        ({"warning": "many"}, "Write a number, such as 0.9, 90%, 4h or 1GiB."),
        ({"critical": "70"}, "The critical limit must be worse than the warning."),
        ({"clear": "90"}, "The end must lie on the good side of the limits."),
        ({"measure": "rate"}, "Only a counter has increases: a column whose name ends with _total."),
        ({"measure": "per", "column": "commits_total"}, "Name the other column."),
        ({"environment": "production", "tag": "x"}, "Choose a server, an environment or a tag, not several."),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_where_it_was_typed(changes, says, client_as):
    answer = client_as("admin").post("/settings/alert-rules/add/", {**RULE, **changes})
    assert answer.status_code == 422
    assert says in answer.content.decode()


def test_a_rule_of_ours_that_was_changed_stays_and_can_get_its_first_form_back(client_as):
    client, rule = client_as("admin"), AlertRule.objects.get(origin="header:server_vitals")
    shown = client.get(f"/settings/alert-rules/{rule.pk}/")
    initial = shown.context["form"].initial.items()
    data = {name: value for name, value in initial if value is not None and value is not False}
    client.post(f"/settings/alert-rules/{rule.pk}/", {**data, "warning": "70%", "clear": ""})
    rule.refresh_from_db()
    assert (rule.warning, rule.is_changed) == (0.7, True)
    client.post(f"/settings/alert-rules/{rule.pk}/remove/")
    rule.refresh_from_db()
    assert (rule.warning, rule.is_changed) == (0.8, False)


def test_a_rule_can_be_copied_and_removed(client_as):
    client, rule = client_as("admin"), AlertRule.objects.get(origin="default:slow_statement")
    page = client.get(f"/settings/alert-rules/add/?like={rule.pk}").content.decode()
    assert 'value="exec_seconds_total"' in page
    client.post("/settings/alert-rules/add/", RULE)
    mine = AlertRule.objects.get(name="Many connections")
    Alert.objects.create(rule=mine, name=mine.name, severity="warning", since=timezone.now())
    client.post(f"/settings/alert-rules/{mine.pk}/remove/")
    assert Alert.objects.get().resolved_because == "Its rule was removed."


def test_a_channel_keeps_its_secret_when_the_field_stays_empty(client_as, hook):
    client = client_as("admin")
    wanted = {"name": "ops", "url": hook.url, "secret": "s3cret", "least": "warning", "enabled": "on"}
    answer = client.post("/settings/channels/add/webhook/", wanted)
    made = Channel.objects.get()
    assert answer["Location"] == f"/settings/channels/{made.pk}/"
    page = client.get(f"/settings/channels/{made.pk}/").content.decode()
    assert "s3cret" not in page
    client.post(f"/settings/channels/{made.pk}/", {**wanted, "secret": "", "least": "critical"})
    made.refresh_from_db()
    assert made.settings == {"url": hook.url, "secret": "s3cret"}
    assert made.least == "critical"
    tested = client.post(f"/settings/channels/{made.pk}/test/", follow=True).content.decode()
    assert "It arrived: 200 ok." in tested
    assert hook.requests[0]["json"]["kind"] == "test"
    hook.answers.append((404, {}))
    failed = client.post(f"/settings/channels/{made.pk}/test/", follow=True).content.decode()
    assert "It did not arrive. The other side refused: 404 no such thing" in failed
    bad = Delivery.objects.get(state="given up")
    client.post(f"/settings/deliveries/{bad.pk}/again/")
    bad.refresh_from_db()
    assert bad.state == "waiting"


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.9", 0.9), ("90%", 0.9), ("4h", 14400), ("1GiB", 2**30), ("250 ms", 0.25), ("1,5", 1.5)],
)
def test_amounts_are_understood_as_people_write_them(text, number):
    assert amount(text) == pytest.approx(number)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [1440, 390])
def test_the_pages_stand_on_every_screen_without_a_complaint(width, page_as, axe):
    shop = Server.objects.create(name="shop")
    rule = AlertRule.objects.get(origin="header:server_vitals")
    alert = Alert.objects.create(
        rule=rule, name=rule.name, server=shop, severity="critical", since=timezone.now()
    )
    channel = Channel(name="ops", kind="email")
    channel.seal({"to": "dba@example.org"})
    channel.save()
    page = page_as("admin", width=width)
    for path in (
        "/alerts/", f"/alerts/{alert.pk}/", "/settings/alert-rules/", f"/settings/alert-rules/{rule.pk}/",
        "/settings/channels/", f"/settings/channels/{channel.pk}/", "/settings/silences/",
    ):  # fmt: skip
        page.goto(path)
        assert axe(page) == [], path
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, path
