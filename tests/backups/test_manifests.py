"""What earlier versions wrote is read for ever; what a later one wrote is told from damage."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from backups import catalogue
from backups.manifest import NAME, Manifest, NoManifest
from backups.models import Backup
from backups.physical.manifest import BaseManifest
from dbadmin.models import Run
from tests.backups.test_faults import refusal
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

LATER = (
    "A later version of dbadmin wrote this backup: its manifest has format 2, this one reads up to 1. Update dbadmin "
    "here, or take it back by its recovery kit."
)


def first(found: dict[str, Any]) -> None:
    """Before tablespaces were looked at, and large objects added up."""
    del found["findings"]["tablespaces"]
    for table in found["contents"]["tables"]:
        del table["sum256"]


def before_sums(found: dict[str, Any]) -> None:
    """Tablespaces are there, the sums of large objects are not."""
    for table in found["contents"]["tables"]:
        del table["sum256"]


def later(found: dict[str, Any]) -> None:
    """A later version adds what an earlier one does without."""
    found["weather"] = "fair"
    found["pieces"]["database"]["colour"] = "green"
    for part in (found["pieces"]["database"]["volumes"][0], *found["contents"]["tables"]):
        part["smell"] = None


@pytest.fixture
def rewritten(
    taken: Callable[..., Backup], postgres: Postgres, database: str
) -> Callable[[Callable[[dict[str, Any]], None]], Backup]:
    """A backup with rows and a large object, whose manifest has another form."""

    def rewrite(change: Callable[[dict[str, Any]], None]) -> Backup:
        with postgres.connect(database) as connection:
            connection.execute("create table kept as select n, md5(n::text) from generate_series(1, 500) n")
            connection.execute("select lo_from_bytea(0, 'something large')")
        backup = taken()
        place = backup.store.open()
        found = json.loads(place.get(f"{backup.prefix}/{NAME}"))
        change(found)
        place.put(f"{backup.prefix}/{NAME}", json.dumps(found, indent=1).encode())
        return backup

    return rewrite


@pytest.mark.parametrize("form", [first, before_sums, later])
def test_a_manifest_of_another_version_is_listed_verified_and_restored(
    form: Callable[[dict[str, Any]], None],
    rewritten: Callable[..., Backup],
    run: Callable[..., Run],
    postgres: Postgres,
    database: str,
) -> None:
    backup = rewritten(form)
    store, pk = backup.store, backup.pk
    assert catalogue.reread(store) == (1, 0, [])
    assert Backup.objects.present().get().pk == pk
    verified = run("verify_backup", backup=pk, how="read")
    assert verified.status == Run.Status.SUCCEEDED, (verified.message, log_of(verified))
    done = run("restore_backup", backup=pk, into="new", database=f"{database}_again")
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    with postgres.connect() as connection:
        connection.execute(f"drop database {database}_again")


def test_a_backup_of_a_later_version_is_refused_and_neither_damaged_nor_gone(
    server: Any, rewritten: Callable[..., Backup], run: Callable[..., Run]
) -> None:
    backup = rewritten(lambda found: found.update(format=2))
    assert refusal(server, "restore_backup", backup=backup.pk, into="new", database="again") == (
        f"The backup cannot be read: {LATER}"
    )
    assert catalogue.reread(backup.store) == (0, 0, [f"{backup.prefix}/{NAME}: {LATER}"])
    failed = run("verify_backup", backup=backup.pk, how="read")
    assert (failed.status, failed.message) == (Run.Status.FAILED, LATER)
    backup.refresh_from_db()
    assert (backup.problem, backup.deleted_at) == ("", None)


@pytest.mark.parametrize("kind", [Manifest, BaseManifest])
def test_what_is_no_manifest_is_said_to_be_none(kind: Any) -> None:
    for text, says in [
        (b'{"format": 2}', LATER),
        (b'{"format": "x"}', "The manifest has format 'x'; this version reads 1."),
        (b"{}", "The manifest has format None; this version reads 1."),
    ]:
        with pytest.raises(NoManifest) as refused:
            kind.load(text)
        assert str(refused.value) == says
