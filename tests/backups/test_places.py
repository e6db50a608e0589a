"""Where a restored database lies: where the one whose place it takes does now, and never where nobody can put it."""

from collections.abc import Callable, Iterator

import pytest

from backups.models import Backup, KeptDatabase, SideSchema
from dbadmin.models import Run, Server
from tests.backups.test_before_restore import looked, tablespace
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]
OF = "select spcname from pg_tablespace t join pg_database d on d.dattablespace = t.oid where datname = %s"


@pytest.fixture
def space(postgres: Postgres, database: str) -> Iterator[str]:
    """A tablespace that nothing lies in yet."""
    with tablespace(postgres, database) as name:
        with postgres.connect(database) as connection:
            connection.execute("create table goods as select n from generate_series(1, 20) n")
        yield name
        postgres.admin.execute(f"drop tablespace if exists {name}")


def move(postgres: Postgres, database: str, space: str) -> None:
    postgres.admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [database]
    )
    postgres.admin.execute(f"alter database {database} set tablespace {space}")


def place_of(postgres: Postgres, database: str) -> str:
    (found,) = postgres.admin.execute(OF, [database]).fetchone()  # type: ignore[misc]
    return str(found)


def drop_kept(postgres: Postgres) -> None:
    for kept in KeptDatabase.objects.all():
        postgres.admin.execute(f'drop database "{kept.name}"')


def test_a_database_that_moved_since_is_restored_to_where_it_lies_now(
    space: str, server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:  # fmt: skip
    backup = taken()
    move(postgres, database, space)
    checks, _ = looked(server, "restore_backup", backup=backup.pk, into="over", database=database)
    assert (
        checks["Place of the database"].message
        == f"In {space}, as it is now; in the backup it lay in pg_default."
    )
    assert f"{postgres.data.name}-{database}  # on the host of shop" in checks["Space on the server"].remedy
    done = run("restore_backup", backup=backup.pk, into="over", database=database)
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert place_of(postgres, database) == space
    drop_kept(postgres)
    move(postgres, database, "pg_default")


def test_a_tablespace_that_is_gone_keeps_nobody_from_what_lies_elsewhere_now(
    space: str, server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:  # fmt: skip
    """In the place of the original, when all is to lie together; and without a word where it is only for a while."""
    move(postgres, database, space)
    backup = taken()
    move(postgres, database, "pg_default")
    postgres.admin.execute(f"drop tablespace {space}")
    checks, refusal = looked(server, "restore_backup", backup=backup.pk, into="over", database=database)
    assert refusal.startswith(f"shop has no tablespace {space}, where a part of {database} lay.")
    fix = checks["Tablespaces"].fix
    assert fix
    done = run("restore_backup", **{k: v for k, v in fix.params.items() if k != "preview"})
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert place_of(postgres, database) == "pg_default"
    drop_kept(postgres)
    proof = run("verify_backup", backup=backup.pk, how="restore")
    assert proof.status == Run.Status.SUCCEEDED, proof.message
    beside = run("restore_tables", backup=backup.pk, tables="goods", database=database)
    assert beside.status == Run.Status.SUCCEEDED, beside.message
    assert SideSchema.objects.get().tables[0]["rows"] == 20
