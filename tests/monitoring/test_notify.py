"""People are told once, together, in order, and again until it arrives."""

import datetime as dt
import hashlib
import hmac

import pytest
from django.utils import timezone

from dbadmin.models import Server
from monitoring.alert_models import Alert, AlertRule, Channel, Delivery, Silence
from monitoring.alerts import resolve
from monitoring.deliveries import MOST_TRIES, attempt, pause, plan, send_one, send_test, work
from monitoring.notify import apprise_extra

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop():
    return Server.objects.create(name="shop", environment="production", tags=["blue"])


@pytest.fixture
def rule():
    return AlertRule.objects.create(
        name="Replication lag", probe="replication_lag", warning=60, advice="Look."
    )


@pytest.fixture
def raised(shop, rule):
    """raised("a", severity="critical"): an alert that opened a minute ago."""

    def make(row="", **columns):
        ago = timezone.now() - dt.timedelta(minutes=1)
        known = {
            "rule": rule, "name": rule.name, "server": shop, "severity": "warning", "since": ago,
            "opened_at": ago, "text": "2 min, above 1 min", "row_key": [row], "row_name": row,
        }  # fmt: skip
        return Alert.objects.create(**{**known, **columns})

    return make


def channel(kind, settings, **columns):
    made = Channel(name=columns.pop("name", kind), kind=kind, **columns)
    made.seal(settings)
    made.save()
    return made


def test_alerts_of_a_server_come_together_and_only_once(raised, shop, rule, hook):
    channel("slack", {"url": hook.url})
    raised("a")
    raised("b", severity="critical")
    raised("a", server=Server.objects.create(name="other"))
    work()
    work()
    titles = sorted(request["json"]["text"] for request in hook.requests)
    assert titles == ["other: Replication lag: a", "shop: Replication lag: b, and 1 more"]
    assert {alert.told_severity for alert in Alert.objects.all()} == {"warning", "critical"}


def test_what_has_only_just_opened_waits_for_its_companions(raised, hook):
    channel("slack", {"url": hook.url})
    raised(opened_at=timezone.now())
    assert plan() == []


def test_slack_gets_the_words_with_its_signs_escaped(raised, hook, settings):
    settings.PUBLIC_URL = "https://dbadmin.example.org"
    channel("slack", {"url": hook.url})
    alert = raised("<!channel> & b")
    work()
    message = hook.requests[0]["json"]
    assert message["text"].startswith(
        "<https://dbadmin.example.org/alerts/?server_name=shop|shop: Replication lag: "
    )
    (part,) = message["attachments"]
    assert part["title"] == "Replication lag: &lt;!channel&gt; &amp; b"
    assert part["text"] == "2 min, above 1 min\nLook."
    assert part["title_link"] == f"https://dbadmin.example.org/alerts/{alert.pk}/"


def test_pagerduty_gets_the_end_under_the_same_key(raised, hook):
    channel("pagerduty", {"routing_key": "R", "endpoint": hook.url})
    alert = raised("a", severity="critical")
    work()
    resolve(alert, timezone.now(), "Back at 1 s.")
    work()
    begun, over = (request["json"] for request in hook.requests)
    assert begun["event_action"] == "trigger"
    assert begun["routing_key"] == "R"
    assert begun["payload"]["summary"] == "shop: Replication lag: a: 2 min, above 1 min"
    assert (begun["payload"]["severity"], begun["payload"]["source"]) == ("critical", "shop")
    assert over == {"routing_key": "R", "event_action": "resolve", "dedup_key": begun["dedup_key"]}


def test_the_end_never_overtakes_the_beginning(raised, hook):
    channel("pagerduty", {"routing_key": "R", "endpoint": hook.url})
    alert = raised("a")
    hook.answers.append((503, {}))
    work()
    resolve(alert, timezone.now(), "Back at 1 s.")
    work()
    assert [request["json"]["event_action"] for request in hook.requests] == ["trigger"]
    Delivery.objects.update(due_at=timezone.now())
    work()
    assert [request["json"]["event_action"] for request in hook.requests] == ["trigger", "trigger", "resolve"]


def test_who_was_not_told_of_the_beginning_is_not_told_of_the_end(raised, hook):
    channel("slack", {"url": hook.url}, least="critical")
    alert = raised("a")
    work()
    resolve(alert, timezone.now(), "Back at 1 s.")
    work()
    assert hook.requests == []


def test_the_webhook_is_signed_over_time_and_body(raised, hook):
    channel("webhook", {"url": hook.url, "secret": "s3cret"})
    raised("a")
    work()
    request = hook.requests[0]
    signed = f"{request['headers']['X-Dbadmin-Time']}.".encode() + request["body"]
    expected = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert request["headers"]["X-Dbadmin-Signature"] == f"sha256={expected}"
    body = request["json"]
    assert (body["kind"], body["server"], body["severity"]) == ("opened", "shop", "warning")
    assert body["alerts"][0]["text"] == "2 min, above 1 min"
    assert b"s3cret" not in request["body"]


def test_a_mail_says_what_since_when_and_what_to_do(raised, mailbox):
    where = {"to": "dba@example.org, on-call@example.org", "host": "127.0.0.1", "port": str(mailbox.port)}
    channel("email", where)
    raised("a\nBcc: everybody@example.org")
    work()
    (mail,) = mailbox.messages
    assert mail["Subject"] == "[dbadmin] shop: Replication lag: a Bcc: everybody@example.org"
    assert mail["Bcc"] is None
    assert mail["To"] == "dba@example.org, on-call@example.org"
    text = mail.get_content()
    assert "  2 min, above 1 min" in text
    assert "  Look." in text
    assert Delivery.objects.get().answer == "taken by the mail server"


def test_a_mail_server_that_refuses_everybody_is_told_of_in_its_own_words(raised, mailbox):
    mailbox.refused = {"dba@example.org"}
    channel("email", {"to": "dba@example.org", "host": "127.0.0.1", "port": str(mailbox.port)})
    raised()
    work()
    delivery = Delivery.objects.get()
    assert delivery.state == "given up"
    assert delivery.answer == "The mail server refused every address (dba@example.org: 550)."


def test_what_does_not_arrive_is_tried_again_ever_more_rarely(raised, hook):
    channel("slack", {"url": hook.url})
    raised()
    hook.answers += [(500, {}), (429, {"Retry-After": "600"})]
    work()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.tries) == ("waiting", 1)
    assert delivery.answer == "The other side refused: 500 no such thing"
    assert 10 < (delivery.due_at - timezone.now()).total_seconds() <= 15
    assert not send_one(), "not due yet"
    Delivery.objects.update(due_at=timezone.now())
    work()
    delivery.refresh_from_db()
    assert 590 < (delivery.due_at - timezone.now()).total_seconds() <= 600
    Delivery.objects.update(due_at=timezone.now())
    work()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries, delivery.answer) == ("sent", 3, "200 ok")
    assert [pause(tries) for tries in (1, 2, 3, 4, 12)] == [15, 30, 60, 120, 1800]


def test_what_can_never_arrive_is_given_up_at_once_and_the_rest_in_the_end(raised, hook):
    slack = channel("slack", {"url": hook.url})
    raised()
    hook.answers.append((404, {}))
    work()
    assert Delivery.objects.get().state == "given up"
    late = Delivery.objects.create(channel=slack, notice=Delivery.objects.get().notice, tries=MOST_TRIES - 1)
    hook.answers.append((500, {}))
    attempt(late)
    assert late.state == "given up"


def test_an_answer_never_shows_the_secret_address(raised):
    channel("slack", {"url": "http://127.0.0.1:1/services/SECRET"})
    raised()
    work()
    delivery = Delivery.objects.get()
    assert delivery.answer == "The other side does not answer: [Errno 111] Connection refused."
    assert delivery.state == "waiting"


def test_a_redirect_is_not_followed(raised, hook):
    channel("slack", {"url": hook.url})
    raised()
    hook.answers.append((302, {"Location": hook.url}))
    work()
    assert len(hook.requests) == 1
    assert Delivery.objects.get().state == "given up"


def test_a_silence_keeps_quiet_until_it_ends(raised, shop, hook):
    channel("slack", {"url": hook.url})
    hour = dt.timedelta(hours=1)
    silence = Silence.objects.create(server=shop, ends_at=timezone.now() + hour, reason="Upgrade")
    raised("a")
    work()
    assert hook.requests == []
    Silence.objects.filter(pk=silence.pk).update(ends_at=timezone.now())
    work()
    assert len(hook.requests) == 1


def test_what_somebody_has_taken_and_what_is_only_listed_tells_nobody(raised, rule, hook):
    channel("slack", {"url": hook.url})
    raised("a", acknowledged_at=timezone.now())
    raised("b", rule=AlertRule.objects.create(name="Chore", tells=False))
    work()
    assert hook.requests == []


@pytest.mark.parametrize(
    ("where", "count"),
    [({}, 1), ({"environment": "staging"}, 0), ({"tag": "blue"}, 1), ({"enabled": False}, 0)],
)
def test_a_channel_is_told_of_its_servers_only(where, count, raised, hook):
    channel("slack", {"url": hook.url}, **where)
    raised()
    work()
    assert len(hook.requests) == count


def test_getting_worse_is_told_again_and_what_nobody_takes_is_told_after_a_while(raised, hook):
    channel("slack", {"url": hook.url}, repeat_seconds=3600)
    alert = raised()
    work()
    Alert.objects.filter(pk=alert.pk).update(severity="critical")
    work()
    work()
    assert len(hook.requests) == 2
    Delivery.objects.update(created_at=timezone.now() - dt.timedelta(hours=2))
    work()
    work()
    assert [request["json"]["text"] for request in hook.requests][2:] == ["Still: shop: Replication lag"]


def test_the_test_button_sends_at_once_and_leaves_nothing_open(hook, user_as):
    made = channel("pagerduty", {"routing_key": "R", "endpoint": hook.url})
    delivery = send_test(made, user_as("admin"))
    assert delivery.state == "sent"
    assert [request["json"]["event_action"] for request in hook.requests] == ["trigger", "resolve"]
    hook.answers.append((500, {}))
    assert send_test(made, user_as("admin")).state == "given up", "a test is sent once"
    assert not Alert.objects.exists()


def test_settings_are_kept_sealed_for_this_channel_alone():
    one, other = channel("slack", {"url": "https://x/SECRET"}), channel("webhook", {"url": "y"})
    assert "SECRET" not in one.sealed_settings
    other.sealed_settings = one.sealed_settings
    with pytest.raises(Exception, match="altered"):
        _ = other.settings


def by_json(hook):
    """The listener as an address of Apprise's own."""
    return hook.url.replace("http://", "json://")


def test_apprise_tells_what_happened_and_that_it_is_over(raised, hook):
    """By the library itself and one of its own services, which posts JSON."""
    channel("apprise", {"urls": by_json(hook)})
    alert = raised("a", severity="critical")
    work()
    resolve(alert, timezone.now(), "Back at 1 s.")
    work()
    begun, over = (request["json"] for request in hook.requests)
    since = f"since {alert.since:%Y-%m-%d %H:%M} UTC"
    assert begun == {
        "version": "1.0",
        "title": "shop: Replication lag: a",
        "message": f"[critical] Replication lag: a\n  2 min, above 1 min\n  {since}\n  Look.",
        "attachments": [],
        "type": "failure",
    }
    assert (over["title"], over["message"], over["type"]) == (
        "Over: shop: Replication lag: a",
        f"[over] Replication lag: a\n  Back at 1 s.\n  {since}",
        "success",
    )
    assert {each.answer for each in Delivery.objects.all()} == {"taken by every service"}


def test_what_apprise_could_not_deliver_is_sent_again_and_a_wrong_address_is_not(raised, hook):
    made = channel("apprise", {"urls": by_json(hook)})
    hook.answers.append((503, {}))
    raised()
    work()
    waiting = Delivery.objects.get()
    assert (waiting.state, waiting.answer) == (
        "waiting",
        "One of the services did not take it; Apprise does not say why.",
    )
    made.seal({"urls": "nowhere://x"})
    made.save()
    waiting.channel = made
    attempt(waiting)
    assert (waiting.state, waiting.answer) == (
        "given up",
        "Apprise does not understand one of the addresses.",
    )


def test_apprise_is_said_to_be_missing_where_it_is(raised, monkeypatch):
    channel("apprise", {"urls": "json://127.0.0.1"})
    raised()
    monkeypatch.setattr(apprise_extra, "find_spec", lambda name: None)
    work()
    assert Delivery.objects.get().answer == (
        "Apprise is not installed here: pip install apprise, where the scheduler and the samplers run."
    )
