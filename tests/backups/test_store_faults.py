"""A store that is slow, silent, away, wrong, or does not know us any more: its own words, and nothing half done."""

from collections.abc import Callable

import pytest
from django.utils import timezone

from backups.models import Backup, BackupKey, Policy, Store
from backups.stores import StoreError
from dbadmin import runner
from dbadmin.models import Run, Server
from tests.backups.conftest import ROWS, queue
from tests.backups.cutting import Wire
from tests.backups.test_faults import DATA, assert_store_is_empty, databases, sessions, when, worker
from tests.backups.test_policies import FEW
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

EXPIRED = (
    '<?xml version="1.0"?><Error><Code>ExpiredToken</Code>'
    "<Message>The provided token has expired.</Message></Error>"
)
LEFT = " What it left is not removed yet; that is tried again until it succeeds."


def assert_tidied_later(run: Run, store: Store) -> None:
    """What the run owed is done when the store answers."""
    assert run.clean_up_due_at
    assert not run.cleaned_at
    runner.clean_up(run.pk)
    run.refresh_from_db()
    assert run.cleaned_at
    assert_store_is_empty(store)


def assert_unharmed(postgres: Postgres, database: str) -> None:
    assert databases(postgres, database) == [database]
    with postgres.connect(database) as connection:
        assert connection.execute("select count(*) from big").fetchone() == (ROWS,)


def test_a_backup_cancelled_while_its_store_is_silent_ends_at_once_and_is_tidied_when_it_answers(
    server: Server, held: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres
) -> None:
    store, made = held
    run = queue(server, "take_backup", {"database": huge, "store": store.name})
    process = worker(run)
    when(lambda: any("partNumber=1" in line for line in made.seen))
    made.is_silent = True
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now(), cancel_requested_by="tester")
    process.wait(60)  # with the patience that a part gets it took minutes, and the wire lets go after two
    assert not made.hold.is_set()
    run.refresh_from_db()
    assert (run.status, run.message) == (Run.Status.CANCELLED, f"Cancelled by tester.{LEFT}")
    assert log_of(run)[-1] == (
        f"The clean-up did not succeed: The store {store.endpoint}/{store.bucket} cannot be reached or does not "
        "answer. Check its address and the network."
    )
    assert sessions(postgres, run) == 0
    assert not Backup.objects.exists()
    made.hold_after, made.is_silent = 0, False
    assert store.open()._open_uploads("") != []  # type: ignore[attr-defined]
    assert_tidied_later(run, store)
    assert_unharmed(postgres, huge)


def test_credentials_that_expire_in_the_middle_are_named_and_what_was_sent_goes_when_there_are_new_ones(
    run: Callable[..., Run], wired: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres
) -> None:
    store, made = wired
    made.refuse_from, made.status, made.says = "partNumber=2", "400 Bad Request", EXPIRED
    done = run("take_backup", database=huge, store=store.name)
    words = (
        f"The store {store.endpoint}/{store.bucket} refused: The provided token has expired. "
        "The credentials have expired. Enter new ones in the store's settings."
    )
    assert (done.status, done.message) == (Run.Status.FAILED, f"Step 2 of 4 failed: {words}{LEFT}")
    made.refuse_from = made.refuse = ""
    assert_tidied_later(done, store)
    taken = run("take_backup", database=huge, store=store.name)
    assert taken.status == Run.Status.SUCCEEDED, taken.message
    made.refuse_from = f"GET .*{DATA}"
    done = run("restore_backup", backup=taken.result["backup"], into="over", database=huge)
    assert (done.status, done.message) == (Run.Status.FAILED, f"Step 1 of 6 failed: {words}")
    made.refuse_from = made.refuse = ""
    assert Backup.objects.get(pk=taken.result["backup"]).problem == ""
    assert_unharmed(postgres, huge)


def test_a_store_that_refuses_to_be_tidied_keeps_no_other_database_from_its_turn(
    run: Callable[..., Run], wired: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres
) -> None:
    store, made = wired
    made.refuse_from, made.status, made.says = "partNumber=2", "400 Bad Request", EXPIRED
    with postgres.connect() as connection:
        connection.execute("create database z_last")
        try:
            done = run("take_all_backups", store=store.name, leave_out="postgres")
        finally:
            connection.execute("drop database z_last with (force)")
    assert done.status == Run.Status.FAILED
    assert done.result["failed"] == [huge, "z_last"]  # it was tried, and found the store as it is
    assert done.message.startswith(f"Step 3 of 3 failed: 2 of 2 databases failed. {huge}: The store ")
    assert "The others are backed up." not in done.message
    assert done.message.endswith(LEFT)
    made.refuse_from = made.refuse = ""
    assert_tidied_later(done, store)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("500 Internal Server Error", "refused: Internal Server Error."),
        ("503 Slow Down", "refused: Service Unavailable."),
        ("", "cannot be reached or does not answer. Check its address and the network."),
    ],
)
def test_a_store_that_fails_in_the_middle_is_quoted_and_left_clean(
    run: Callable[..., Run], wired: tuple[Store, Wire], key: BackupKey, huge: str, postgres: Postgres,
    status: str, words: str,
) -> None:  # fmt: skip
    store, made = wired
    if status:
        made.refuse, made.status = "partNumber=2", status
    else:
        made.cut_after = 3 << 20
    done = run("take_backup", database=huge, store=store.name)
    assert (done.status, done.message) == (
        Run.Status.FAILED, f"Step 2 of 4 failed: The store {store.endpoint}/{store.bucket} {words}",
    )  # fmt: skip
    assert done.cleaned_at
    made.refuse, made.cut_after = "", 0
    assert_store_is_empty(store)
    assert_unharmed(postgres, huge)


def test_a_slow_store_is_waited_for(
    run: Callable[..., Run], wired: tuple[Store, Wire], key: BackupKey, big: str, postgres: Postgres
) -> None:
    store, made = wired
    made.bytes_per_second = 4 << 20
    done = run("take_backup", database=big, store=store.name)
    assert done.status == Run.Status.SUCCEEDED, done.message
    back = run("restore_backup", backup=done.result["backup"], into="new")
    assert back.status == Run.Status.SUCCEEDED, back.message
    with postgres.connect() as connection:
        connection.execute(f"drop database {back.result['database']}")
    assert_unharmed(postgres, big)


def test_a_download_that_is_cut_again_and_again_comes_whole_and_one_with_a_flipped_byte_not_at_all(
    run: Callable[..., Run], wired: tuple[Store, Wire], key: BackupKey, big: str, postgres: Postgres
) -> None:
    store, made = wired
    taken = run("take_backup", database=big, store=store.name).result["backup"]
    made.truncate_after = 1 << 20
    done = run("verify_backup", backup=taken, how="read")
    assert done.status == Run.Status.SUCCEEDED, done.message
    made.truncate_after, made.flip_at = 0, 1 << 20
    done = run("restore_backup", backup=taken, into="over", database=big)
    key_of = f"{Backup.objects.get(pk=taken).prefix}/{DATA}"
    says = f"{key_of} is not what was written: it cannot be decrypted (decryption error)."
    assert (done.status, done.message) == (Run.Status.FAILED, f"Step 1 of 6 failed: {says}")
    assert_unharmed(postgres, big)
    made.flip_at = 0
    done = run("verify_backup", backup=taken, how="read")
    assert done.status == Run.Status.SUCCEEDED, done.message


def test_credentials_that_expire_while_expired_backups_are_deleted_leave_nothing_behind_for_ever(
    run: Callable[..., Run], wired: tuple[Store, Wire], key: BackupKey, big: str, server: Server
) -> None:
    store, made = wired
    for _ in range(3):
        taken = run("take_backup", database=big, store=store.name)
        assert run("verify_backup", backup=taken.result["backup"], how="read").status == Run.Status.SUCCEEDED
    newest, middle, oldest = Backup.objects.all()
    Policy.objects.create(name="few", server=server, rules=FEW)
    made.refuse_from, made.status, made.says = f"DELETE .*{DATA}", "400 Bad Request", EXPIRED
    done = run("prune_backups")
    assert (done.status, done.message) == (
        Run.Status.FAILED,
        (f"Step 1 of 2 failed: The store {store.endpoint}/{store.bucket} refused: The provided token has expired. "
        f"The credentials have expired. Enter new ones in the store's settings.{LEFT}"),
    )  # fmt: skip
    gone = Backup.objects.exclude(deleted_at=None).get()
    made.refuse_from = made.refuse = ""
    assert list(store.open().items(f"{gone.prefix}/"))
    runner.clean_up(done.pk)
    done.refresh_from_db()
    assert done.cleaned_at
    assert list(store.open().items(f"{gone.prefix}/")) == []
    again = run("prune_backups")
    assert again.status == Run.Status.SUCCEEDED, again.message
    assert Backup.objects.present().get() == newest
    assert {item.key.rpartition("/")[0] for item in store.open().items()} == {newest.prefix}
    assert {middle.pk, oldest.pk} == set(Backup.objects.exclude(deleted_at=None).values_list("pk", flat=True))


def test_a_trial_that_fails_on_the_way_takes_its_object_away_or_says_that_it_could_not(
    wired: tuple[Store, Wire],
) -> None:
    store, made = wired
    made.refuse = "^GET .*/.dbadmin-test-"
    found = store.open().test()
    assert [(each.what, each.ok) for each in found] == [
        ("Write an object", True), ("List it", True), ("Read it back", False), ("Remove what was tried with", True),
    ]  # fmt: skip
    assert_store_is_empty(store)
    made.refuse = "^(GET|DELETE) .*/.dbadmin-test-"
    last = store.open().test()[-1]
    assert (last.what, last.ok) == ("Remove what was tried with", False)
    made.refuse = ""
    (left,) = store.open().items()
    assert left.key.startswith(".dbadmin-test-")


def test_an_answer_that_ends_in_its_head_is_no_empty_bucket_and_no_object_without_a_size(
    wired: tuple[Store, Wire],
) -> None:
    store, made = wired
    store.open().put("shop/one", b"content")
    made.truncate_after = 60
    for ask in (lambda: store.open().head("shop/one"), lambda: list(store.open().items("shop/"))):
        with pytest.raises(StoreError) as refused:
            ask()
        assert str(refused.value) == (
            f"The store {store.endpoint}/{store.bucket} cannot be reached or does not answer. Check its address and "
            "the network."
        )
    made.truncate_after = 0
    assert [item.key for item in store.open().items("shop/")] == ["shop/one"]
