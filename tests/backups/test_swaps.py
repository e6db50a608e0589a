"""A swap ends those who are in the way and may be ended, says who may not, and leaves every door as it was."""

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.utils import timezone

from backups import preflight, swap
from backups.models import Backup
from dbadmin import runner
from dbadmin.connections import Session
from dbadmin.models import Run, Server
from tests.backups.conftest import queue
from tests.backups.test_faults import when
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = pytest.mark.servers

KEEPER = """
create role keeper login createdb password '{password}';
grant pg_signal_backend to keeper;
create database shop owner keeper;
create database shop_new owner keeper"""


def nothing() -> None:
    """What a run does between two looks, where nobody wants it to end."""


@pytest.fixture
def cluster(new_postgres: Callable[..., Postgres]) -> Postgres:
    """A server whose autovacuum works slowly and all the time, with two databases of a role that is no superuser."""
    made = new_postgres(
        autovacuum_naptime="1s", autovacuum_vacuum_cost_delay="100ms", autovacuum_vacuum_cost_limit="1"
    )
    for statement in KEEPER.format(password=made.password).split(";\n"):
        made.admin.execute(statement)
    return made


@pytest.fixture
def keeper(cluster: Postgres) -> Iterator[psycopg.Connection]:
    """Its session, elsewhere."""
    with cluster.connect(user="keeper") as connection:
        yield connection


def doors(cluster: Postgres) -> list[tuple[str, bool]]:
    """Each database of the shop, and whether it takes connections."""
    return cluster.admin.execute(
        "select datname, datallowconn from pg_database where datname like 'shop%' order by 1"
    ).fetchall()


def test_an_autovacuum_worker_is_in_nobodys_way(cluster: Postgres, keeper: psycopg.Connection) -> None:
    with cluster.connect("shop") as connection:
        connection.execute("create table worn as select n, repeat('x', 500) from generate_series(1, 50000) n")
        connection.execute("delete from worn")
    works = "select pid from pg_stat_activity where datname = 'shop' and backend_type = 'autovacuum worker'"
    (pid,) = when(lambda: cluster.admin.execute(works).fetchone())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        keeper.execute("select pg_terminate_backend(%s)", [pid])
    with cluster.connect("shop", user="keeper"):
        ended = swap.swap(keeper, "shop", "shop_old", "shop_new", nothing)[1]
    assert ended == 1  # the session, not the worker
    assert doors(cluster) == [("shop", True), ("shop_old", False)]


def test_whoever_may_not_be_ended_is_named_and_nobody_is_disconnected(
    cluster: Postgres, keeper: psycopg.Connection
) -> None:
    with cluster.connect("shop") as superuser, cluster.connect("shop_new", user="keeper") as client:
        (check,) = [one for one in preflight.swap_checks(Session(keeper), "shop") if one.title == "Sessions"]
        assert check.state == "warning"
        assert check.message == (
            "postgres is in shop, whose sessions only a superuser may end. The swap disconnects nobody and fails "
            "while one is there."
        )
        with pytest.raises(swap.SwapFailed) as caught:
            swap.swap(keeper, "shop", "shop_old", "shop_new", nothing)
        assert str(caught.value) == (
            "keeper may not end the sessions of postgres in shop and shop_new. Nobody was disconnected. End them and "
            "do it again, or let dbadmin operate as a superuser."
        )
        assert superuser.execute("select 1").fetchone() == client.execute("select 1").fetchone()
    assert doors(cluster) == [("shop", True), ("shop_new", True)]


def test_every_door_is_afterwards_as_it_was_whether_the_swap_succeeds_or_not(
    cluster: Postgres, keeper: psycopg.Connection
) -> None:
    cluster.admin.execute("alter database shop_new allow_connections false")
    with cluster.connect("shop"), pytest.raises(swap.SwapFailed):
        swap.swap(keeper, "shop", "shop_old", "shop_new", nothing)
    assert doors(cluster) == [("shop", True), ("shop_new", False)]
    cluster.admin.execute("alter database shop allow_connections false")
    swap.swap(keeper, "shop", "shop_old", "shop_new", nothing)
    assert doors(cluster) == [("shop", False), ("shop_old", False)]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_was_closed_for_maintenance_is_restored_and_taken_back_without_anybody_let_in(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    backup = taken()
    server.seal_dsn("operate_dsn", postgres.dsn_for("postgres", "dbadmin_operate"))
    server.save()
    close, is_open = (
        f"alter database {database} allow_connections false",
        "select datallowconn from pg_database where datname = %s",
    )
    postgres.admin.execute(close)
    done = run("restore_backup", backup=backup.pk, into="over", database=database)
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    assert done.plan[-1].splitlines()[-2:] == ["-- it was closed and stays closed", "COMMIT;"]
    assert postgres.admin.execute(is_open, [database]).fetchone() == (False,)
    undone = run("undo_restore", kept=done.result["kept"])
    assert undone.status == Run.Status.SUCCEEDED, (undone.message, log_of(undone))
    assert postgres.admin.execute(is_open, [database]).fetchone() == (False,)


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_dies_behind_the_fence_leaves_a_closed_database_closed(
    server: Server, taken: Callable[..., Backup], postgres: Postgres, database: str
) -> None:
    run = queue(server, "restore_backup", {"backup": taken().pk, "into": "over", "database": database})
    now = timezone.now()
    facts = {"scratch": f"{database}__restore_1", "live": database, "was_open": False}
    Run.objects.filter(pk=run.pk).update(status="lost", finished_at=now, clean_up_due_at=now, facts=facts)
    postgres.admin.execute(f"alter database {database} allow_connections false")
    runner.clean_up(run.pk)
    assert f"{database} is as it was and takes none." in log_of(run)
    is_open = "select datallowconn from pg_database where datname = %s"
    assert postgres.admin.execute(is_open, [database]).fetchone() == (False,)


def test_who_holds_a_lock_on_the_database_shuts_nobody_out_for_long(cluster: Postgres) -> None:
    """In another database, so nobody ends it: behind the fence everybody would have waited with us."""
    with cluster.connect("postgres") as holder, cluster.connect("postgres") as swapping:
        holder.execute("begin; comment on database shop is 'under way'")
        began = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            swap.swap(swapping, "shop", "shop_old", "shop_new", nothing)
        assert time.monotonic() - began < 5
        assert doors(cluster) == [("shop", True), ("shop_new", True)]
        holder.execute("rollback; begin; comment on database shop_new is 'under way'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            swap.move_in(swapping, "shop_2", "shop_new", nothing)
        holder.execute("rollback")
        swap.move_in(swapping, "shop_2", "shop_new", nothing)
        assert doors(cluster) == [("shop", True), ("shop_2", True)]
