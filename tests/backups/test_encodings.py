"""A database in any encoding comes back byte for byte, also one whose text PostgreSQL does not check."""

from collections.abc import Callable

import pytest

from backups.models import Backup
from dbadmin.models import Run
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.mark.parametrize(
    ("encoding", "byte"), [("LATIN1", "e4"), ("EUC_JP", "b0a1"), ("SQL_ASCII", "c3a4"), ("SQL_ASCII", "ff")]
)
def test_it_comes_back_byte_for_byte_in_its_place_and_beside(
    encoding: str,
    byte: str,
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    postgres: Postgres,
    database: str,
) -> None:
    name = f"{database}_{encoding.lower()}"
    postgres.admin.execute(
        f"create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'"
    )
    bytes_of = (
        "select array_agg(encode(convert_to(word, current_setting('server_encoding')), 'hex')) from words"
    )
    with postgres.connect(name, client_encoding="SQL_ASCII") as connection:
        connection.execute("create table words (word text primary key); comment on table words is 'all'")
        connection.execute(f"insert into words select convert_from('\\x{byte}', getdatabaseencoding())")
        before = connection.execute(bytes_of).fetchone()
    backup = taken(database=name)
    for params in ({"into": "over", "database": name}, {"into": "new", "database": f"{name}_copy"}):
        done = run("restore_backup", backup=backup.pk, **params)
        assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
        assert done.result["differences"] == []
        with postgres.connect(params["database"], client_encoding="SQL_ASCII") as connection:
            assert connection.execute(bytes_of).fetchone() == before
            assert connection.execute("show server_encoding").fetchone() in [
                (encoding,),
                (encoding.encode(),),
            ]
    tables = run("restore_tables", backup=backup.pk, tables="words", database=name)
    if byte == "ff":  # what is text in no encoding has no place in a comparison
        assert tables.message == (
            f"Step 5 of 7 failed: public.words holds text that {name} cannot take or that nobody can show and compare: "
            'invalid byte sequence for encoding "UTF8": 0xff. Restore the backup as a new database, and copy from '
            "there."
        )
    else:
        assert (tables.status, tables.message) == (Run.Status.SUCCEEDED, "0 rows differ in 1 table.")


def test_the_encoding_of_a_databases_clients_is_not_that_of_its_backups(
    taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute("create table words as select '日本 ä' as word")
        connection.execute(f"alter database {database} set client_encoding = 'LATIN1'")
    backup = taken()
    for params in ({"into": "over", "database": database}, {"into": "new", "database": f"{database}_copy"}):
        done = run("restore_backup", backup=backup.pk, **params)
        assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
        assert done.result["differences"] == []
    tables = run("restore_tables", backup=backup.pk, tables="words", database=database)
    assert (tables.status, tables.message) == (Run.Status.SUCCEEDED, "0 rows differ in 1 table.")
