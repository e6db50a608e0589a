"""What real databases have and few tests think of comes back, word for word, in the whole catalogue."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backups import logical
from backups.models import Backup
from dbadmin.models import Run
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

HERE = Path(__file__).parent
ROLES = ("owner", "reader")


@pytest.fixture
def odd(postgres: Postgres, database: str) -> str:
    """A database with one of each, and with what belongs to it beside its contents."""
    later = sorted(HERE.glob("odd_contents.pg*.sql"), key=version)
    files = [HERE / "odd_contents.sql", *(path for path in later if version(path) <= postgres.major)]
    names = {name: f"odd_{name}_{database}" for name in ROLES}
    for name in names.values():
        postgres.admin.execute(f"create role {name}")
    with postgres.connect(database) as connection:
        for path in files:
            text = re.sub(r":(owner|reader)\b", lambda found: names[found[1]], path.read_text())
            for part in text.split("\n\n"):  # a new value of an enum is used in another transaction
                connection.execute(part)
        connection.execute(f"""
            alter database {database} set search_path = public, "Odd", "a ""b";
            alter database {database} set "ours.setting" = 'it''s';
            alter role {names["owner"]} in database {database} set datestyle = 'German, DMY';
            alter database {database} owner to {names["owner"]};
            grant temporary on database {database} to {names["reader"]} with grant option""")
    return database


def version(path: Path) -> int:
    return int(path.name.partition(".pg")[2].partition(".")[0])


def whole(postgres: Postgres, name: str) -> list[str]:
    """All that pg_dump tells of a database, with what belongs to it as a whole, under one name."""
    dsn, tools = postgres.dsn_for(name), logical.choose(postgres.major)
    command = [tools.path("pg_dump"), "--create", "--no-sync", f"--dbname={dsn}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told = [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict", "--"))]
    return [re.sub(rf"\b{name}\b", "the_database", line) for line in told]


def test_the_whole_catalogue_and_every_row_is_as_it_was(
    odd: str, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres
) -> None:
    before = whole(postgres, odd)
    done = run("restore_backup", backup=taken().pk, into="new", database=f"{odd}_again")
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    # An extension belongs to who creates it, and so do its members; that is told, and nothing is lost by it.
    assert done.result["differences"] == [
        "acl public.FUNCTION similarity(text, text): belongs to dbadmin_operate, not to postgres"
    ]
    assert whole(postgres, f"{odd}_again") == before
    assert whole(postgres, odd) == before
