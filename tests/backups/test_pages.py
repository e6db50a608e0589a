"""The rooms of backups show what is there, to those who may see it."""

import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backups import logical
from backups.models import Backup, BackupKey, Drill, PointInTime, Policy, Store
from backups.recovery_kit import TRANSACTION_TIMEOUT_FROM, aws, reach
from dbadmin import runs
from dbadmin.models import ApiToken, Event, Grant, Role, Run, Server
from dbadmin.operations import REGISTRY
from tests.backups.stock_tools import programs, reaching
from tests.fixtures.servers import Postgres, server_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def shop(postgres: Postgres, database: str) -> str:
    """A small database."""
    with postgres.connect(database) as connection:
        connection.execute(
            "create table orders as select n, 'order ' || n as text from generate_series(1, 321) n"
        )
    return database


def test_an_empty_catalogue_says_what_to_do_first(server: Server, client_as: Callable[..., Client]) -> None:
    page = client_as("admin").get(reverse("backups", args=[server.name])).content.decode()
    assert "Backups need a place: a directory of the worker or a bucket." in page
    assert "No backup of this server yet. Take the first one." in page


def test_a_backup_that_is_kept_twice_is_kept(
    server: Server, shop: str, taken: Callable[..., Backup], client_as: Callable[..., Client]
) -> None:
    backup = taken()
    for _ in range(2):
        client_as("admin").post(reverse("keep_backup", args=[server.name, backup.pk]), {"to": "on"})
    backup.refresh_from_db()
    assert backup.keep


def test_a_backup_is_listed_with_its_proof_and_opened(
    server: Server, shop: str, taken: Callable[..., Backup], client_as: Callable[..., Client]
) -> None:
    backup = taken()
    page = client_as("viewer").get(reverse("backups", args=[server.name])).content.decode()
    assert backup.get_absolute_url() in page
    assert "Read back" in page
    assert reverse("operate", args=[server.name, "restore_backup"]) not in page
    page = client_as("viewer").get(backup.get_absolute_url()).content.decode()
    assert "public.orders" in page
    assert "321" in page
    assert "Every one of " in page
    assert reverse("download_backup", args=[server.name, backup.pk, "database"]) not in page


def test_only_those_who_may_download_get_the_bytes_and_it_is_recorded(
    server: Server, shop: str, taken: Callable[..., Backup], client_as: Callable[..., Client]
) -> None:
    backup = taken()
    address = reverse("download_backup", args=[server.name, backup.pk, "database"])
    assert client_as("operator").get(address).status_code == 403
    answer = client_as("admin").get(address)
    assert b"".join(answer.streaming_content).startswith(b"age-encryption.org/v1")
    assert Event.objects.filter(kind="backup.download", server=server).count() == 1


@pytest.mark.parametrize("name", ["stores", "store_add", "backup_keys"])
@pytest.mark.parametrize(
    ("role", "status"), [("admin", 200), ("operator", 403), ("viewer", 403), ("auditor", 403)]
)
def test_settings_are_for_admins(client_as: Callable[..., Client], name: str, role: str, status: int) -> None:
    assert client_as(role).get(reverse(name)).status_code == status


def test_a_store_is_tried_before_it_is_kept(client_as: Callable[..., Client], tmp_path: Path) -> None:
    admin = client_as("admin")
    form = {
        "name": "shelf",
        "kind": "local",
        "directory": str(tmp_path / "new"),
        "lock_days": 0,
        "enabled": "on",
    }
    page = admin.post(reverse("store_add"), {**form, "action": "test"}).content.decode()
    assert "Read a part of it" in page
    assert not Store.objects.exists()
    assert list(tmp_path.iterdir()) == []
    admin.post(reverse("store_add"), {**form, "action": "save"})
    assert Store.objects.get().test_problem == ""
    page = admin.post(reverse("store_add"), {**form, "name": "bad", "directory": "/proc/x", "action": "test"})
    assert (
        "The directory /proc/x cannot be made: No such file or directory. Enter another, or make it yourself."
    ) in page.content.decode()


@pytest.mark.parametrize("action", ["test", "save"])
@pytest.mark.parametrize("where", ["old", "old/in/it", "link", "."])
def test_two_stores_cannot_be_one_place_so_that_a_copy_is_never_the_same_object(
    client_as: Callable[..., Client], tmp_path: Path, where: str, action: str
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "old")
    Store.objects.create(name="first", directory=str(tmp_path / "old"))
    form = {
        "name": "second",
        "kind": "local",
        "directory": str(tmp_path / where),
        "lock_days": 0,
        "enabled": "on",
    }
    answer = client_as("admin").post(reverse("store_add"), {**form, "action": action})
    assert answer.status_code == 422
    assert (
        f"The store first is there: {tmp_path}/old. What lies in both would pass for two copies and be one. "
        "Enter a place that is neither in the other nor around it."
    ) in answer.content.decode()
    assert not list((tmp_path / "old").iterdir())
    form["directory"] = str(tmp_path / "older")
    client_as("admin").post(reverse("store_add"), {**form, "action": "save"})
    assert Store.objects.get(name="second").test_problem == ""


def test_a_store_that_is_switched_off_tells_who_counts_on_it(
    client_as: Callable[..., Client], store: Store, server: Server
) -> None:
    PointInTime.objects.create(server=server, store=store, slot="dbadmin_shop", enabled=True)
    Policy.objects.create(name="night", store=store)
    Policy.objects.create(name="twice").copies.add(store)
    form = {"name": store.name, "kind": "local", "directory": store.directory, "lock_days": 0}
    answer = client_as("admin").post(
        reverse("store", args=[store.name]), {**form, "action": "save"}, follow=True
    )
    assert [str(each) for each in answer.context["messages"]][-1] == (
        "shelf is switched off. Backups of the policy night go there, and are refused. The policy twice makes no more "
        "copies there. The WAL of shop goes there all the same. Name another store there."
    )


def test_a_key_shows_its_private_half_once_and_comes_back_only_with_the_right_one(
    client_as: Callable[..., Client],
) -> None:
    admin = client_as("admin")
    page = admin.post(reverse("backup_keys"), {"name": "paper"})
    identity = re.search(r"AGE-SECRET-KEY-1\w+", page.content.decode())
    assert identity
    assert page["Cache-Control"] == "no-store"
    key = BackupKey.objects.get()
    assert key.identity == ""
    assert identity[0] not in admin.get(reverse("backup_keys")).content.decode()
    other = BackupKey.make("other", keep=True)[1]
    wrong = admin.post(reverse("backup_key", args=["paper"]), {"action": "bring", "identity": other})
    assert "This is the private half of another key, not of paper." in wrong.content.decode()
    admin.post(reverse("backup_key", args=["paper"]), {"action": "bring", "identity": identity[0]})
    key.refresh_from_db()
    assert key.identity == identity[0]


@pytest.mark.parametrize("place", ["store", "bucket"])
def test_stock_tools_alone_bring_it_back_by_the_printed_kit(
    server: Server,
    shop: str,
    taken: Callable[..., Backup],
    client_as: Callable[..., Client],
    postgres: Postgres,
    tmp_path: Path,
    place: str,
    request: pytest.FixtureRequest,
) -> None:
    store = request.getfixturevalue(place)
    reached = reaching(store, tmp_path)
    page = client_as("admin").get(reverse("recovery_kit", args=[server.name, taken(store=store.name).pk]))
    assert ("AWS_ACCESS_KEY_ID" in page.content.decode()) == (place == "bucket")
    follow(page.context["lines"], postgres, shop, tmp_path / "elsewhere", reached)


def test_the_kit_tells_aws_where_a_bucket_has_a_host_of_its_own() -> None:
    bucket = Store(kind=Store.Kind.S3, endpoint="https://s3.example.org", bucket="b", region="eu central")
    assert aws(bucket, "cp") == "aws s3 cp --endpoint-url https://s3.example.org --region 'eu central'"
    assert reach([bucket]) == []
    bucket.path_style = False
    assert reach([bucket]) == ["aws configure set default.s3.addressing_style virtual"]
    bucket.endpoint = ""
    assert reach([bucket]) == []


def test_the_kit_of_an_archive_by_newer_programs_passes_over_what_the_server_does_not_know(
    server: Server,
    shop: str,
    taken: Callable[..., Backup],
    client_as: Callable[..., Client],
    postgres: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newest = logical.installed()[-1]
    if not postgres.major < TRANSACTION_TIMEOUT_FROM <= newest.major:
        pytest.skip("needs a server before PostgreSQL 17 and client programs of 17 or later")
    monkeypatch.setattr(logical, "installed", lambda: (newest,))  # a worker that has no others
    admin = client_as("admin")
    address = reverse("recovery_kit", args=[server.name, taken().pk])
    page = admin.get(address)
    assert f"the client programs of PostgreSQL {newest.major} (psql" in page.content.decode()
    follow(page.context["lines"], postgres, shop, tmp_path / "elsewhere", {})


def test_unpacking_by_the_kit_fails_where_a_byte_is_flipped_and_leaves_no_half_file(
    server: Server, taken: Callable[..., Backup], client_as: Callable[..., Client], tmp_path: Path
) -> None:
    """Somebody in a hurry passes over the check of the sums."""
    backup = taken()
    lines = dict(
        client_as("admin").get(reverse("recovery_kit", args=[server.name, backup.pk])).context["lines"]
    )
    found = backup.store.path / backup.prefix / "database.dump.zst.age"
    content = found.read_bytes()
    found.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    (tmp_path / "key.txt").write_text(BackupKey.objects.get().identity + "\n")
    kept = ["Fetch the objects", "Unpack them"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(line for title in kept for line in lines[title])], cwd=tmp_path, text=True,
        env={"PATH": ":".join(programs())}, capture_output=True,
    )  # fmt: skip
    assert (done.returncode, "age: error: " in done.stderr) == (1, True), done.stderr
    assert (tmp_path / "globals.sql").exists()
    assert not (tmp_path / "database.dump").exists()


def follow(
    kit: list[tuple[str, list[str]]],
    postgres: Postgres,
    shop: str,
    folder: Path,
    reached: dict[str, str],
) -> None:
    """Lose the database, and do what the kit says in an empty directory, as far as the last line."""
    folder.mkdir()
    (folder / "key.txt").write_text(BackupKey.objects.get().identity + "\n")
    with postgres.connect() as connection:
        connection.execute(f"drop database {shop} with (force)")
    # On the server's own host lie programs of the version that made the backup.
    client = logical.choose(postgres.major).folder
    environment = {
        **reached,
        "PATH": ":".join([str(client), *programs(), reached.get("PATH", "")]),
        "PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.superuser,
        "PGPASSWORD": postgres.password,
    }  # fmt: skip
    for title, lines in kit:
        done = subprocess.run(
            ["bash", "-ec", "\n".join(lines)], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (title, done.stderr)
    with postgres.connect(shop) as connection:
        assert connection.execute("select count(*) from orders").fetchone() == (321,)


def test_the_catalogue_is_made_again_from_the_store(
    server: Server, shop: str, taken: Callable[..., Backup], client_as: Callable[..., Client]
) -> None:
    backup = taken()
    Backup.objects.all().delete()
    admin = client_as("admin")
    admin.post(reverse("store_reread", args=["shelf"]))
    found = Backup.objects.get()
    assert (found.prefix, found.rung, found.server) == (backup.prefix, Backup.Rung.READ, server)
    (found.store.path / found.prefix / "manifest.json").unlink()
    admin.post(reverse("store_reread", args=["shelf"]))
    found.refresh_from_db()
    assert found.deleted_why == "Its manifest is no longer in the store."


def test_the_probe_knows_the_age_of_every_database(
    server: Server, shop: str, taken: Callable[..., Backup], postgres: Postgres
) -> None:
    from dbadmin.connections import Session
    from dbadmin.probes import PROBES

    taken()
    with psycopg.connect(postgres.dsn_for(shop), autocommit=True) as connection:
        reading = PROBES["backup_age"].read(Session(connection, server))
    assert reading.problem is None
    rows = {row.database: row for row in reading.rows}
    assert rows[shop].proven_seconds < 60
    assert rows["postgres"].written_seconds is None


def test_an_admin_of_one_server_alone_cannot_bring_another_servers_data_there(
    server: Server, shop: str, taken: Callable[..., Backup], postgres: Postgres
) -> None:
    backup = taken()
    own = server_row("own", postgres)
    user = User.objects.create_user("narrow")
    Grant.objects.create(user=user, role=Role.ADMIN, server=own)
    params = {"backup": backup.pk, "into": "new", "database": "stolen"}
    with pytest.raises(PermissionDenied) as refusal:
        runs.start(REGISTRY["restore_backup"](own, params), user, Run.Door.PAGE)
    assert str(refusal.value) == "This needs the role admin on shop."
    client = Client()
    client.force_login(user)
    preview = client.get("/servers/own/do/restore_backup/", {**params, "preview": "1"})
    assert preview.status_code == 403  # nor what it would bring
    token = ApiToken.make(user, "ci", ApiToken.Scope.OPERATE).text
    dry = client.post(
        "/api/servers/own/operations/restore_backup/", {"params": params, "dry_run": True}, "application/json",
        HTTP_AUTHORIZATION=f"Bearer {token}",
    )  # fmt: skip
    assert (dry.status_code, "needs the role admin on shop" in dry.content.decode()) == (403, True)
    assert shop not in client.get("/servers/own/do/restore_backup/").content.decode()
    assert shop not in client.get("/servers/own/restore/").content.decode()
    Grant.objects.create(user=user, role=Role.ADMIN, server=server)
    user = User.objects.get(pk=user.pk)
    assert shop in client.get("/servers/own/restore/").content.decode()
    assert runs.start(REGISTRY["restore_backup"](own, params), user, Run.Door.PAGE).status == "queued"


def test_a_new_database_gets_a_name_that_is_free(
    server: Server,
    shop: str,
    taken: Callable[..., Backup],
    client_as: Callable[..., Client],
    postgres: Postgres,
) -> None:
    address = f"/servers/{server}/do/restore_backup/?backup={taken().pk}&into=new&preview=1"
    admin = client_as("admin")
    assert f"Name the proven database {shop}_restored. " in admin.get(address).content.decode()
    with postgres.connect() as connection:
        connection.execute(f"create database {shop}_restored")
    try:
        assert f"Name the proven database {shop}_restored_2. " in admin.get(address).content.decode()
        asked = admin.get(f"{address}&database={shop}").content.decode()
        assert f"{server} has a database {shop} already. Choose another name." in asked
    finally:
        with postgres.connect() as connection:
            connection.execute(f"drop database {shop}_restored")


def test_drills_are_drawn_over_time_once_there_are_two(
    server: Server, client_as: Callable[..., Client]
) -> None:
    def drawn() -> Any:
        return client_as("viewer").get(reverse("recovery", args=[server.name])).context["trend"]

    now = timezone.now()
    for days, problem in ((2, ""), (1, "The WAL segment 00000001 is missing."), (0, "")):
        run = Run.objects.create(
            server=server, server_name="shop", operation="drill_recovery", status="succeeded"
        )
        Drill.objects.create(
            server=server, run=run, at=now - timedelta(days=days), moment=now, problem=problem,
            rto_seconds=None if problem else 10.0 + days, rpo_seconds=3.0,
        )  # fmt: skip
        if days == 2:
            assert drawn() is None
    trend = drawn()
    assert [[value for _, value in line.points] for line in trend.lines] == [
        [12.0, None, 10.0],
        [3.0, 3.0, 3.0],
    ]
    assert [mark.text for mark in trend.marks] == ["Failed: The WAL segment 00000001 is missing."]


def test_the_wizard_leads_to_the_plan_on_the_chosen_server(
    server: Server, taken: Callable[..., Backup], postgres: Postgres, client_as: Callable[..., Client]
) -> None:
    backup, other = taken(), server_row("other", postgres)
    admin, page = client_as("admin"), reverse("restore", args=[server.name])
    text = admin.get(page, {"backup": backup.pk}).content.decode()
    assert f'<option value="{backup.pk}" selected>' in text
    assert text.count('type="radio"') == 3
    for into, on, address in (
        ("new", server, f"restore_backup/?backup={backup.pk}&into=new"),
        ("over", other, f"restore_backup/?backup={backup.pk}&into=over"),
        ("tables", server, f"restore_tables/?backup={backup.pk}"),
    ):
        answer = admin.get(page, {"backup": backup.pk, "into": into, "on": on.name})
        assert answer["Location"] == f"/servers/{on}/do/{address}"
    wrong = admin.get(page, {"backup": "x", "into": "elsewhere", "on": "nowhere"})
    assert wrong.status_code == 200
    assert "Select a valid choice. elsewhere is not one of the available choices." in wrong.content.decode()


def test_only_what_destroys_is_drawn_in_its_red_and_promises_no_button_that_is_not_there(
    server: Server, taken: Callable[..., Backup], database: str, client_as: Callable[..., Client]
) -> None:
    backup, admin = taken(), client_as("admin")
    page = admin.get(backup.get_absolute_url()).content.decode()
    do = f"/servers/{server}/do/restore_backup/?backup={backup.pk}&amp;into="
    assert f'<a class="button" href="{do}new">Restore beside…</a>' in page
    assert f'<a class="button danger" href="{do}over">Restore in place…</a>' in page
    proof = reverse("operate", args=[server.name, "verify_backup"])
    proof_page = admin.get(proof, {"backup": backup.pk, "how": "read", "preview": 1}).content.decode()
    assert "<dd>nothing needed: it changes nothing</dd>" in proof_page
    address = reverse("operate", args=[server.name, "restore_backup"])
    beside = admin.get(address, {"backup": backup.pk, "into": "new", "preview": 1}).content.decode()
    assert "is disconnected once" not in beside
    assert "<dd>hand, as each step says</dd>" in beside
    over = admin.get(address, {"backup": backup.pk, "into": "over", "database": database, "preview": 1})
    assert f"Everyone in {database} is disconnected once" in over.content.decode()
    assert "<dd>a button on the run&#x27;s page</dd>".replace("&#x27;", "'") in over.content.decode()
