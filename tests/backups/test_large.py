"""Many tables, much load, roles with few rights: nothing changes but the time it takes."""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from backups.models import Backup
from dbadmin.models import Run, Server
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers, pytest.mark.slow]

TABLES = 2_500


@pytest.fixture
def many(postgres: Postgres, database: str) -> str:
    """So many that their list is longer than any portion of the stream."""
    with postgres.connect(database) as connection:
        for start in range(0, TABLES, 500):
            connection.execute(f"""
                do $$ begin for n in {start}..{start + 499} loop
                    execute format('create table t%s (a int primary key, b text)', n);
                    execute format('insert into t%s values (1, ''x'')', n);
                end loop; end $$""")
    return database


def test_thousands_of_tables_are_given_back(
    many: str, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres
) -> None:
    backup = taken()
    assert (backup.tables_count, backup.total_rows) == (TABLES, TABLES)
    done = run("verify_backup", backup=backup.pk, how="restore")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert done.result["differences"] == []


@pytest.fixture
def busy(postgres: Postgres, database: str) -> Iterator[str]:
    """Accounts between which money moves all the time; the sum never changes."""
    with postgres.connect(database) as connection:
        connection.execute(
            "create table accounts as select n as id, 100 as money from generate_series(1, 50000) n"
        )
        connection.execute(
            "alter table accounts add primary key (id); create table moves (at timestamptz, n int)"
        )
    stop = threading.Event()

    def move() -> None:
        with psycopg.connect(postgres.dsn_for(database)) as connection:
            while not stop.is_set():
                connection.execute(
                    "with a as (select (random() * 49998)::int + 1 as id), "
                    "m as (update accounts set money = money + case when accounts.id = a.id then -1 else 1 end "
                    "from a where accounts.id in (a.id, a.id + 1) returning 1) "
                    "insert into moves select now(), count(*) from m"
                )
                connection.commit()

    movers = [threading.Thread(target=move, daemon=True) for _ in range(2)]
    for mover in movers:
        mover.start()
    yield database
    stop.set()
    for mover in movers:
        mover.join()


def test_a_backup_under_load_is_one_moment(
    busy: str, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres
) -> None:
    backup = taken()
    done = run("restore_backup", backup=backup.pk, into="new", database=f"{busy}_then")
    assert done.status == Run.Status.SUCCEEDED, done.message
    with postgres.connect(f"{busy}_then") as connection:
        assert connection.execute("select sum(money), count(*) from accounts").fetchone() == (
            5_000_000,
            50_000,
        )
        assert connection.execute("select bool_and(n = 2) from moves").fetchone() in ((True,), (None,))
    with postgres.connect() as connection:
        connection.execute(f"drop database {busy}_then")


def test_a_role_that_is_no_superuser_can_do_it_all(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute(f"create role keeper login createdb password '{postgres.password}'")
        connection.execute("create role house; grant house, pg_read_all_data, pg_signal_backend to keeper")
        connection.execute(f"drop extension pg_stat_statements; alter database {database} owner to house")
        connection.execute("grant all on schema public to house; set role house")
        connection.execute("create table owned as select n from generate_series(1, 100) n")
    server.seal_dsn("operate_dsn", postgres.dsn_for("postgres", "keeper"))
    server.save()
    try:
        backup = taken()
        done = run("restore_backup", backup=backup.pk, into="over", database=database)
        assert done.status == Run.Status.SUCCEEDED, (done.message, [line.text for line in done.lines.all()])
        undone = run("undo_restore", kept=done.result["kept"])
        assert undone.status == Run.Status.SUCCEEDED, undone.message
    finally:
        with postgres.connect() as connection:
            names = connection.execute(
                "select datname from pg_database where datname like %s", [f"{database}%"]
            )
            for (name,) in names.fetchall():
                connection.execute(f'drop database "{name}" with (force)')
            connection.execute("drop owned by house cascade; drop role keeper, house")
