"""What a policy says is shown before it is done, and done as it was shown."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backups import catalogue, policies
from backups.models import Backup, KeptDatabase, Policy, SideSchema, Store
from dbadmin.connections import Session
from dbadmin.models import Run, Server
from dbadmin.work import Work
from tests.backups.test_faults import refusal
from tests.fixtures.servers import Postgres

pytestmark = pytest.mark.django_db(transaction=True)

FEW = {
    "last": 1,
    "daily": 0,
    "weekly": 0,
    "monthly": 0,
    "yearly": 0,
    "days": 0,
    "proven": 1,
    "time_zone": "UTC",
}


@pytest.fixture
def three(taken: Callable[..., Backup]) -> list[Backup]:
    """Three backups, of today and the two days before."""
    made = [taken() for _ in range(3)]
    for days, backup in enumerate(made):
        backup.started_at -= timedelta(days=days)
        backup.save()
    return made


def test_a_policy_is_tried_before_it_is_saved_and_then_deletes_what_it_showed(
    server: Server, three: list[Backup], run: Callable[..., Run], client_as: Callable[..., Client]
) -> None:
    admin = client_as("admin")
    form = {"name": "few", "enabled": "on", "server": server.pk, **FEW}
    page = admin.post(reverse("policy_add"), {**form, "action": "preview"}).content.decode()
    assert "2 of 3 backups would go now." in page
    assert "Goes: no rule keeps it." in page
    assert not Policy.objects.exists()
    assert refusal(server, "prune_backups") == (
        "Every backup of shop is kept by its policy, or has none. Nothing is to be deleted."
    )
    admin.post(reverse("policy_add"), {**form, "action": "save"})
    assert admin.get(reverse("policy", args=["few"])).status_code == 200
    assert "every database of shop" in admin.get(reverse("policies")).content.decode()
    done = run("prune_backups")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert [backup.pk for backup in Backup.objects.present()] == [three[0].pk]
    assert {item.key.rpartition("/")[0] for item in three[0].store.open().items()} == {three[0].prefix}


def test_a_policy_shows_no_database_that_a_more_particular_one_decides_about(
    server: Server,
    three: list[Backup],
    database: str,
    client_as: Callable[..., Client],
    run: Callable[..., Run],
) -> None:
    wide = Policy.objects.create(name="a-wide", rules=FEW)
    narrow = Policy.objects.create(name="narrow", server=server, database=database, rules={**FEW, "last": 9})
    admin = client_as("admin")
    going = "2 of 3 backups would go now."
    page = admin.get(reverse("policy", args=[wide.name])).content.decode()
    assert going not in page
    narrow.enabled = False
    narrow.save()
    page = admin.get(reverse("policy", args=[wide.name])).content.decode()
    assert going in page


def test_nothing_is_deleted_while_it_is_restored_or_while_backups_fail(
    server: Server, three: list[Backup], database: str
) -> None:
    Policy.objects.create(name="few", server=server, rules=FEW)
    one, other = (
        Work(Run.objects.create(server=server, server_name="shop", operation="restore_backup", target=which))
        for which in "ab"
    )
    for backup in three[1:]:
        backup.lease(one)
        backup.lease(other)
    assert refusal(server, "prune_backups").startswith("Every backup of shop is kept")
    for backup in three:
        backup.release(one)
        long_ago = (timezone.now() - timedelta(hours=1)).isoformat()  # of a restore that takes days
        Backup.objects.filter(pk=backup.pk).update(leases={str(other.run.pk): long_ago})
    assert refusal(server, "prune_backups").startswith("Every backup of shop is kept")  # the other reads on
    for backup in three:
        backup.release(other)
    Run.objects.create(
        server=server, server_name="shop", operation="take_backup", target=database, status=Run.Status.FAILED,
        title="Take a backup", risk="loads", queue="backups", door=Run.Door.COMMAND,
    )  # fmt: skip
    assert refusal(server, "prune_backups").startswith("Every backup of shop is kept")


def test_the_last_proven_backup_cannot_be_deleted_by_hand(
    server: Server, taken: Callable[..., Backup]
) -> None:
    backup = taken()
    assert refusal(server, "delete_backup", backup=backup.pk) == (
        f"{backup} is the only proven backup of {backup.database}. Take another first."
    )


def test_a_backup_of_a_part_stands_for_no_whole_one(
    server: Server,
    target: Session,
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    database: str,
    client_as: Callable[..., Client],
) -> None:
    target.rows("create table part (id int primary key)")
    whole = taken()
    part = taken(tables="public.part")
    page = client_as("admin").get(reverse("backups", args=[server.name]))
    (line,) = page.context["latest"]
    assert (line["newest"], line["good"], line["restored"]) == (whole, whole, None)
    assert "Backups of a part do not count here: they cannot bring the whole back." in page.content.decode()
    assert refusal(server, "delete_backup", backup=whole.pk) == (
        f"{whole} is the only proven backup of {database}. Take another first."
    )
    done = run("verify_backup", backup="", database=database, how="restore")
    assert done.status == Run.Status.SUCCEEDED, done.message
    whole.refresh_from_db()
    part.refresh_from_db()
    assert (whole.rung, part.rung) == (Backup.Rung.RESTORED, Backup.Rung.READ)
    done = run("delete_backup", backup=part.pk)
    assert done.status == Run.Status.SUCCEEDED, done.message


def test_a_policy_that_covers_no_backup_says_so_when_it_is_asked(client_as: Callable[..., Client]) -> None:
    form = {
        **FEW,
        "name": "soon",
        "time_zone": "UTC",
        "enabled": "on",
        "database": "later",
        "action": "preview",
    }
    page = client_as("admin").post(reverse("policy_add"), form).content.decode()
    assert (
        "It covers no backup that there is: nothing would go. Either none was taken yet of what it names, or a more "
        "particular policy has them. What the next 90 days bring can be told after the first backup."
    ) in page
    assert "It covers no backup" not in client_as("admin").get(reverse("policy_add")).content.decode()


def test_a_policy_is_removed_by_its_name_and_says_what_would_go_then(
    server: Server, three: list[Backup], database: str, client_as: Callable[..., Client]
) -> None:
    Policy.objects.create(name="all", rules=FEW)
    Policy.objects.create(name="long", server=server, rules={**FEW, "last": 9})
    admin, address = client_as("admin"), reverse("policy_remove", args=["long"])
    page = admin.get(reverse("policy", args=["long"])).content.decode()
    assert f"{database} of shop: the policy all holds then, and 2 of 3 backups would go." in page
    answer = admin.post(address, {"typed": "all"}, follow=True)
    assert "Not removed: type long to confirm." in answer.content.decode()
    admin.post(address, {"typed": "long"})
    assert [each.name for each in Policy.objects.all()] == ["all"]
    page = admin.get(reverse("policy", args=["all"])).content.decode()
    assert f"{database} of shop: no policy covers it then, and every backup is kept." in page


def test_the_newest_backup_is_proven_by_a_restore_that_leaves_nothing(
    server: Server, three: list[Backup], run: Callable[..., Run], database: str, postgres: Postgres
) -> None:
    done = run("verify_backup", backup="", database=database, how="restore")
    assert done.status == Run.Status.SUCCEEDED, done.message
    three[0].refresh_from_db()
    assert three[0].rung == Backup.Rung.RESTORED
    assert three[0].restored_seconds is not None
    with postgres.connect() as connection:
        left = connection.execute(
            "select datname from pg_database where datname like %s", [f"{database}\\_%"]
        )
        assert left.fetchall() == []


def test_all_databases_of_a_server_are_backed_up(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], database: str
) -> None:
    taken()
    done = run("take_all_backups", store="shelf", leave_out="postgres")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert Backup.objects.filter(database=database).count() == 2


def test_replaced_databases_go_when_their_time_is_over(
    server: Server, run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    name = f"{database}__before_1"
    with postgres.connect() as connection:
        connection.execute(f"create database {name}")
    kept = KeptDatabase.objects.create(
        server=server, name=name, original=database, expires_at=timezone.now() + timedelta(hours=1)
    )
    assert refusal(server, "drop_expired_databases") == "No replaced database of shop has expired."
    kept.expires_at = timezone.now()
    kept.save()
    assert run("drop_expired_databases").status == Run.Status.SUCCEEDED
    with postgres.connect() as connection:
        assert connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None


def test_chosen_tables_are_backed_up_alone_and_never_put_in_place_of_the_whole(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute("create table one as select 1 as n; create table two as select 2 as n")
    backup = taken(tables="public.one")
    assert [table.label for table in backup.manifest().contents.tables] == ["public.one"]
    says = refusal(server, "restore_backup", backup=backup.pk, into="over", database=database)
    assert says == (
        f"The backup holds only a part of {database}; in its place the rest would be gone. Restore to a new name."
    )
    done = run("restore_backup", backup=backup.pk, into="new", database=f"{database}_part")
    assert done.status == Run.Status.SUCCEEDED, done.message
    with postgres.connect(f"{database}_part") as connection:
        assert connection.execute("select n from one").fetchone() == (1,)
    with postgres.connect() as connection:
        connection.execute(f"drop database {database}_part")


def test_what_another_dbadmin_took_of_a_server_of_the_same_name_goes_by_no_rule_and_counts_for_none(
    server: Server, three: list[Backup], store: Store, run: Callable[..., Run]
) -> None:
    first = three[0]
    Backup.objects.filter(pk=first.pk).delete()
    Server.objects.filter(pk=server.pk).update(key=uuid4())  # so all are of another dbadmin's server
    assert catalogue.reread(store) == (3, 0, [])
    theirs = Backup.objects.get(prefix=first.prefix)
    assert (theirs.server, theirs.keep) == (server, True)
    Backup.objects.filter(pk=theirs.pk).update(started_at=timezone.now())
    Policy.objects.create(name="few", server=server, rules=FEW)
    assert run("prune_backups").status == Run.Status.SUCCEEDED
    assert {backup.pk for backup in Backup.objects.present()} == {theirs.pk, three[2].pk}


def test_a_clock_of_this_host_that_runs_ahead_makes_no_backup_too_old(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy.objects.create(
        name="month", server=server, store=store, rules={"most_days": 30, "daily": 99}
    )
    now = timezone.now()
    for days in range(0, 50, 5):
        at = now - timedelta(days=days)
        Backup.objects.create(
            server=server, server_name=server.name, database="shop", store=store, prefix=f"shop/{days}",
            started_at=at, finished_at=at, written_at=at, read_at=at, server_version="18.0", tool="pg_dump 18.0",
            stored_bytes=1, plain_bytes=1, tables_count=1, total_rows=1,
        )  # fmt: skip
    going = [backup.prefix for backup, _ in policies.judge(server, "shop", policy).going]
    assert going == ["shop/30", "shop/35", "shop/40", "shop/45"]
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=365))
    assert [backup.prefix for backup, _ in policies.judge(server, "shop", policy).going] == going


def test_a_clock_of_this_host_that_runs_ahead_ends_nothing_that_is_kept_for_a_while(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = timezone.now() + timedelta(hours=24)
    KeptDatabase.objects.create(server=server, name=f"{database}_old", original=database, expires_at=soon)
    SideSchema.objects.create(
        server=server, database=database, name="side", label="as it was", expires_at=soon
    )
    monkeypatch.setattr(timezone, "now", lambda: soon + timedelta(hours=1))
    assert refusal(server, "drop_expired_databases") == "No replaced database of shop has expired."
    assert refusal(server, "drop_expired_schemas") == "No tables brought back on shop have expired."
