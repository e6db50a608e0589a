"""What a bucket does by itself is read back, tried, and contradicted where it is less than the policy wants."""

import html
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from django.test import Client
from django.urls import reverse

from backups import store_rules
from backups.models import Backup, PointInTime, Policy, Store
from backups.retention import Rules
from backups.store_rules import Wanted, longest_days
from backups.stores.bucket import Facts, concerning
from backups.stores.s3 import S3Settings, S3Store
from dbadmin.models import Schedule, Server
from tests.carrying_out import carry_out, log_of, operation

pytestmark = [pytest.mark.django_db(transaction=True)]

WEEK = {"last": 7, "daily": 7, "weekly": 0, "monthly": 0, "yearly": 0, "days": 2, "proven": 2}


@pytest.fixture
def client(moto: S3Settings) -> Any:
    return boto3.client("s3", endpoint_url=moto.endpoint, region_name="us-east-1", aws_access_key_id="x",
                        aws_secret_access_key="x")  # fmt: skip


@pytest.fixture
def cloud(moto: S3Settings, client: Any) -> Store:
    """A bucket with a lock, at a service that answers as Amazon does."""
    if "ruled" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket="ruled", ObjectLockEnabledForBucket=True)
    client.delete_bucket_lifecycle(Bucket="ruled")
    row = Store(name="cloud", kind=Store.Kind.S3, endpoint=moto.endpoint, bucket="ruled", prefix="night")
    row.seal("access_key", "anybody")
    row.seal("secret_key", "anything")
    row.save()
    return row


def give(client: Any, *rules: dict[str, Any]) -> None:
    client.put_bucket_lifecycle_configuration(Bucket="ruled", LifecycleConfiguration={"Rules": list(rules)})


def rule(name: str, prefix: str = "", **what: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **what}


def said(store: Store) -> dict[str, tuple[str, str]]:
    return {finding.what: (finding.state, finding.says) for finding in store_rules.look(store)}


def test_a_rule_that_deletes_before_the_policy_is_contradicted(cloud: Store, client: Any) -> None:
    Policy.objects.create(name="year", store=cloud, rules={**WEEK, "monthly": 12})
    give(client, rule("tidy", "night/", Expiration={"Days": 30}))
    assert said(cloud)["Lifecycle rules"] == (
        "critical",
        (
            "The rule tidy deletes objects after 30 days, but the policy year keeps backups for up to 372 days. "
            "Lengthen the rule, or shorten the policy."
        ),
    )
    assert store_rules.note(cloud) == [f"Lifecycle rules of cloud: {said(cloud)['Lifecycle rules'][1]}"]
    cloud.refresh_from_db()
    assert cloud.test_problem == f"Lifecycle rules: {said(cloud)['Lifecycle rules'][1]}"
    Policy.objects.update(rules=WEEK)
    assert said(cloud)["Lifecycle rules"] == (
        "ok",
        "The rule tidy deletes after 30 days; the policy year keeps backups for up to 7 days.",
    )
    Policy.objects.all().delete()
    assert said(cloud)["Lifecycle rules"][0] == "critical"
    assert "but without a policy every backup is kept." in said(cloud)["Lifecycle rules"][1]


def test_a_rule_that_deletes_wal_before_its_window_is_over_is_contradicted(
    cloud: Store, client: Any, server: Server
) -> None:
    Policy.objects.create(name="week", store=cloud, rules=WEEK)
    PointInTime.objects.create(server=server, store=cloud, keep_days=21, base_hours=36, full_days=7, slot="s")
    give(client, rule("tidy", "night/", Expiration={"Days": 29}))
    assert said(cloud)["Lifecycle rules"] == (
        "critical",
        (
            "The rule tidy deletes objects after 29 days, but point-in-time recovery of shop needs base backups and "
            "WAL for up to 30 days. Lengthen the rule, or shorten the policy."
        ),
    )
    PointInTime.objects.update(enabled=False)
    assert said(cloud)["Lifecycle rules"][0] == "ok"


def test_a_rule_that_deletes_copies_of_seals_is_contradicted(
    cloud: Store, client: Any, server: Server
) -> None:
    Policy.objects.create(name="week", store=cloud, rules=WEEK)
    Schedule.objects.create(server=server, operation="seal_log", params={"store": "cloud"}, cron="0 3 * * *")
    give(client, rule("tidy", "night/", Expiration={"Days": 3650}))
    assert said(cloud)["Lifecycle rules"] == (
        "critical",
        (
            "The rule tidy deletes objects after 3650 days, but copies of seals lie there for ever. "
            "Remove the rule, or let it spare our folder."
        ),
    )


def test_rules_for_other_folders_for_tags_and_switched_off_ones_are_passed_over() -> None:
    days = {"Expiration": {"Days": 1}}
    others = [
        rule("elsewhere", "logs/", **days),
        {**rule("off", **days), "Status": "Disabled"},
        {"ID": "tag", "Status": "Enabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, **days},
        {
            "ID": "both",
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": "", "Tags": [{"Key": "a"}]}},
            **days,
        },
    ]
    assert concerning(others, "night") == []
    ours = [rule("all", **days), rule("above", "ni", **days), rule("within", "night/shop/", **days),
            {"ID": "old form", "Status": "Enabled", "Prefix": "night/", **days}]  # fmt: skip
    assert [each.name for each in concerning(ours, "night/")] == ["all", "above", "within", "old form"]


def test_what_freezes_keeps_versions_or_leaves_uploads_is_told(cloud: Store, client: Any) -> None:
    give(client, rule("cold", Transitions=[{"Days": 10, "StorageClass": "GLACIER"}]))
    found = said(cloud)
    assert found["Lifecycle rules"] == ("ok", "None deletes backups: only dbadmin does.")
    assert found["Storage class"] == (
        "warning",
        (
            "The rule cold freezes objects after 10 days: they must be thawed for hours before a restore, "
            "and cannot be proven meanwhile."
        ),
    )
    assert found["Unfinished uploads"][0] == "warning"
    assert found["Versions"][0] == "warning"
    give(client, rule("tidy", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7},
                      NoncurrentVersionExpiration={"NoncurrentDays": 3}))  # fmt: skip
    assert not {"Storage class", "Unfinished uploads", "Versions"} & said(cloud).keys()


def test_a_lock_is_proven_by_a_refusal_and_shown_with_its_length(cloud: Store) -> None:
    Policy.objects.create(name="week", store=cloud, rules=WEEK)
    assert said(cloud)["Object lock"] == ("unknown", "The bucket can lock, but nothing asks it to.")
    cloud.lock_days, cloud.encryption = 5, "AES256"
    assert said(cloud)["Object lock"] == ("ok", "COMPLIANCE, 5 days: until then nobody can delete a backup.")
    tried = {finding.what: finding for finding in cloud.open().test()}
    assert all(finding.ok for finding in tried.values()), tried
    assert tried["Lock it"].says.startswith("To delete it for good is refused: ")
    assert tried["Encrypt it"].says == "The store says AES256."
    cloud.lock_days = 30
    assert said(cloud)["Object lock"][0] == "warning"


def test_a_lock_that_the_bucket_does_not_have_is_an_error(cloud: Store, client: Any) -> None:
    client.create_bucket(Bucket="open")
    cloud.bucket, cloud.lock_days = "open", 5
    assert said(cloud)["Object lock"] == (
        "critical",
        "Asked for 5 days, but the bucket has none. Make a bucket with a lock.",
    )


def test_a_service_that_tells_nothing_is_unknown_and_one_that_only_pretends_to_lock_is_caught(
    bucket: Store,
) -> None:
    found = said(bucket)
    assert {found[what] for what in ("Lifecycle rules", "Object lock", "Encryption by the store")} == {
        ("unknown", "Unknown: the service does not tell.")
    }
    bucket.lock_days = 5
    tried = [finding for finding in bucket.open().test() if not finding.ok]
    assert [finding.what for finding in tried] == ["Lock it"]


def test_the_longest_wish_of_a_policy_is_known() -> None:
    assert longest_days(Rules.of(WEEK)) == 7
    assert longest_days(Rules(monthly=12, yearly=3)) == 3 * 366
    assert longest_days(Rules(yearly=3, most_days=100)) == 100


def test_a_rule_with_a_date_ends_everything_that_is_written_before_it() -> None:
    soon = datetime.now(UTC) + timedelta(days=9, hours=1)
    facts = store_rules.Facts(rules=concerning([rule("end", Expiration={"Date": soon})], ""))
    (line, *_) = store_rules.findings(
        Store(), facts, Wanted(30, "the policy keeps backups for up to 30 days")
    )
    assert line.says.startswith("The rule end deletes objects after 9 days")


def test_the_page_of_a_store_shows_each_line(cloud: Store, client_as: Callable[..., Client]) -> None:
    form = {"name": "cloud", "kind": "s3", "endpoint": cloud.endpoint, "bucket": "ruled", "prefix": "night",
            "region": "us-east-1", "path_style": "on", "enabled": "on", "lock_days": 2, "action": "test"}  # fmt: skip
    page = client_as("admin").post(reverse("store", args=["cloud"]), form).content.decode()
    for what in ("Write an object", "Lock it", "Lifecycle rules", "Object lock", "Encryption by the store"):
        assert what in page, what


@pytest.mark.parametrize("action", ["test", "save"])
def test_a_new_bucket_is_held_against_the_policies_before_it_is_kept(
    cloud: Store, client: Any, client_as: Callable[..., Client], action: str
) -> None:
    Policy.objects.create(name="year", rules={**WEEK, "monthly": 12})
    Policy.objects.create(name="other", store=cloud, rules={**WEEK, "yearly": 12})
    give(client, rule("tidy", "day/", Expiration={"Days": 30}))
    form = {"name": "day", "kind": "s3", "endpoint": cloud.endpoint, "bucket": "ruled", "prefix": "day",
            "region": "us-east-1", "path_style": "on", "enabled": "on", "lock_days": 0, "action": action,
            "access_key": "anybody", "secret_key": "anything"}  # fmt: skip
    answer = client_as("admin").post(reverse("store_add"), form, follow=True)
    assert (
        "The rule tidy deletes objects after 30 days, but the policy year keeps backups for up to 372 days. "
        "Lengthen the rule, or shorten the policy."
    ) in html.unescape(answer.content.decode())
    assert Store.objects.filter(name="day").exists() == (action == "save")


def tried(admin: Client, action: str, **rules: Any) -> str:
    form = {**WEEK, "time_zone": "UTC", "name": "year", "enabled": "on", "action": action, **rules}
    return html.unescape(admin.post(reverse("policy_add"), form).content.decode())


def test_a_policy_that_its_bucket_does_not_keep_is_contradicted_at_the_field(
    cloud: Store, client: Any, client_as: Callable[..., Client]
) -> None:
    admin = client_as("admin")
    give(client, rule("tidy", "night/", Expiration={"Days": 30}))
    says = (
        "Lifecycle rules of cloud: The rule tidy deletes objects after 30 days, but this policy keeps backups for up "
        "to 372 days. Lengthen the rule, or shorten the policy."
    )
    for action in ("preview", "save"):
        page = tried(admin, action, monthly=12)
        assert f'id="id_monthly_error">\n      <li>{says}</li>' in page
        assert not Policy.objects.exists()
    tried(admin, "save", monthly=12, most_days=20)
    assert Policy.objects.get().rules["most_days"] == 20
    give(client, rule("tidy", "night/", Expiration={"Days": 10}))
    page = html.unescape(admin.get(reverse("policy_stores", args=["year"])).content.decode())
    assert (
        "Lifecycle rules of cloud: The rule tidy deletes objects after 10 days, but this policy keeps backups for up "
        "to 20 days. Lengthen the rule, or shorten the policy."
    ) in page
    Policy.objects.all().delete()
    assert "cloud" not in tried(admin, "preview", enabled="").partition("Daily")[2]


@pytest.mark.parametrize(
    ("locked", "says"),
    [
        (30, ("Object lock of cloud: An object is locked for 30 days, but this policy keeps backups for up to 7 days. "
             "What it deletes stays and is paid for until then. Shorten the lock, or keep backups as long.")),
        (5, ("Object lock of cloud: An object is locked for 5 days, but this policy keeps backups for up to 7 days. "
            "After that whoever holds the keys can delete a backup. Lengthen the lock where that must not be.")),
        (7, ""),
    ],
)  # fmt: skip
def test_a_lock_of_another_length_is_told_and_lets_the_policy_be_saved(
    cloud: Store, client_as: Callable[..., Client], locked: int, says: str
) -> None:
    cloud.lock_days = locked
    cloud.save()
    admin = client_as("admin")
    page = tried(admin, "preview")
    assert says in page
    assert ("Object lock of cloud" in page) == bool(says)
    tried(admin, "save")
    assert Policy.objects.get().name == "year"


def test_a_store_that_does_not_answer_leaves_its_rules_unknown_and_the_policy_can_be_saved(
    cloud: Store, client_as: Callable[..., Client]
) -> None:
    cloud.endpoint = "http://127.0.0.1:1"
    cloud.save()
    admin = client_as("admin")
    assert "Lifecycle rules of cloud: Unknown: " in tried(admin, "preview")
    tried(admin, "save")
    assert Policy.objects.get().name == "year"


def test_the_page_of_a_policy_opens_before_its_stores_answer(
    cloud: Store, client_as: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = client_as("admin")
    tried(admin, "save", monthly=12)
    asked: list[str] = []
    facts = S3Store.facts

    def asking(store: S3Store) -> Facts:
        asked.append(store.settings.bucket)
        return facts(store)

    monkeypatch.setattr(S3Store, "facts", asking)
    page = admin.get(reverse("policy", args=["year"])).content.decode()
    assert asked == []
    months = page.partition('id="id_monthly"')[2].partition('id="id_yearly"')[0]
    address = reverse("policy_stores", args=["year"])
    assert f'hx-get="{address}" hx-trigger="load"' in months
    assert "The stores are being asked whether they keep as long." in months
    told = admin.get(address).content.decode()
    assert asked == ["ruled"]
    assert "No store deletes earlier, or holds longer or shorter, than these rules." in told
    Store.objects.update(endpoint="http://127.0.0.1:1")
    assert (
        "Lifecycle rules of cloud: Unknown: it cannot be reached or does not answer; check its address and the network."
        in admin.get(address).content.decode()
    )
    assert client_as("operator").get(address).status_code == 403


@pytest.mark.servers
def test_what_is_deleted_from_a_bucket_that_keeps_versions_is_said_to_take_room_still(
    cloud: Store, client: Any, taken: Callable[..., Backup], server: Server
) -> None:
    older, _ = taken(store="cloud"), taken(store="cloud")
    run = carry_out(operation("delete_backup", server, backup=older.pk))
    stays = "The bucket of cloud keeps versions: what was removed stays there and is paid for "
    assert log_of(run)[-1] == f"{stays}until somebody deletes old versions."
    give(client, rule("old", "night/", NoncurrentVersionExpiration={"NoncurrentDays": 14}))
    another, _ = taken(store="cloud"), taken(store="cloud")
    run = carry_out(operation("delete_backup", server, backup=another.pk))
    assert log_of(run)[-1] == f"{stays}for 14 days more."
