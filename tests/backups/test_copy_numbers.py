"""Rows that were copied back leave no key for an insert to meet: sequences go on behind their values."""

import threading
from collections.abc import Callable

import pytest
from psycopg import sql

from backups.row_places import TableName
from backups.row_sequences import move_behind
from dbadmin.connections import Session
from dbadmin.models import Run, Server
from tests.backups.beside import Compared
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

NUMBERED = """
create table orders (
    id int generated always as identity primary key, ticket serial, name text,
    down int not null default 0, odd bigint not null default 0);
create sequence downwards increment -1 minvalue -1000 maxvalue -1;
create sequence odds increment 2 maxvalue 50;
alter table orders alter down set default nextval('downwards'), alter odd set default nextval('odds');
insert into orders (name) select 'n' || n from generate_series(1, 20) n;
update orders set odd = 40 where id = 20;
"""
NEXT = "insert into orders (name) values ('new') returning id, ticket, down, odd"


def stands(target: Session) -> dict[str, int]:
    """Where each sequence stands."""
    rows = target.rows("select sequencename, last_value from pg_sequences order by 1")
    return {row.sequencename: row.last_value for row in rows}


def test_the_next_insert_meets_no_key_that_was_copied_back_after_its_sequence_began_anew(
    compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    found = compared(NUMBERED, "orders", "truncate orders restart identity; alter sequence downwards restart")
    target.connection.execute("alter sequence odds restart; insert into orders (name) values ('first')")
    assert run("compare_side_schema", side=found.side_id).status == Run.Status.SUCCEEDED
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert "Sequences that stand before the copied values are moved behind them: " in done.plan[0]
    assert (
        "The sequence public.orders_id_seq was moved from 1 to 20, behind the copied values of id."
        in log_of(done)
    )
    assert (
        "The sequence public.downwards was moved from -1 to -20, behind the copied values of down."
        in log_of(done)
    )
    # It gives odd numbers, as somebody else gives the even ones: it goes on with the first odd one behind 40.
    assert stands(target) == {"downwards": -20, "odds": 41, "orders_id_seq": 20, "orders_ticket_seq": 20}
    assert target.row(NEXT) == (21, 21, -21, 43)
    assert run("undo_copy_rows", run=done.pk).status == Run.Status.SUCCEEDED
    assert target.row(NEXT) == (22, 22, -22, 45)


def test_a_sequence_that_is_behind_the_copied_values_stays_where_it_is(
    compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    found = compared(NUMBERED, "orders", "delete from orders where id in (3, 4)")
    before = stands(target)
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert stands(target) == before
    assert not [line for line in log_of(done) if "sequence" in line]


def test_a_sequence_whose_values_end_before_the_copied_ones_is_not_moved_beyond_its_end(
    compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    found = compared(
        NUMBERED + "update orders set odd = 99 where id = 5",
        "orders",
        "truncate orders; alter sequence odds restart",
    )
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert stands(target)["odds"] == 41


def test_a_copy_that_fails_moves_no_sequence(
    compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    found = compared(
        NUMBERED, "orders", "truncate orders restart identity; alter table orders add check (id < 20)"
    )
    before = stands(target)
    assert run("copy_rows", comparison=found.pk, kind="missing").status == Run.Status.FAILED
    assert stands(target) == before


def test_a_partition_takes_its_numbers_from_the_sequence_of_its_table_which_is_named_once(
    compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    found = compared(
        "create table sales (n serial primary key) partition by range (n);"
        "create table sales_1 partition of sales for values from (1) to (100);"
        "insert into sales select from generate_series(1, 9)",
        "sales_1", "truncate sales restart identity",
    )  # fmt: skip
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert "moved behind them: public.sales_n_seq. They stay" in done.plan[0]
    assert target.value("insert into sales default values returning n") == 10


def test_a_sequence_is_set_far_ahead_only_while_nobody_can_take_a_number_of_it(
    compared: Compared, target: Session, run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    """Between the look where it stands and the setting others could get further, and were given numbers twice."""
    found = compared(
        "create table orders (id bigserial primary key); insert into orders values (5000000000)",
        "orders", "truncate orders restart identity",
    )  # fmt: skip
    with postgres.connect(database) as other:
        other.execute("begin; insert into orders default values")
        failed = run("copy_rows", comparison=found.pk, kind="missing")
        assert failed.status == Run.Status.FAILED
        assert "lock timeout" in failed.message
        other.execute("rollback")
    assert target.value("select count(*) from orders") == 0
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert (
        "The sequence public.orders_id_seq was moved from 1 to 5000000000, behind the copied values of id."
        in log_of(done)
    )
    assert target.value("insert into orders default values returning id") == 5_000_000_001


def test_numbers_that_others_take_while_a_sequence_is_moved_are_not_given_twice(
    target: Session, postgres: Postgres, database: str
) -> None:
    """Two hundred moves, while somebody else asks it as fast as it answers."""
    target.connection.execute("create table orders (id bigserial)")
    asks = "select nextval('orders_id_seq') from generate_series(1, 2000)"
    taken: list[int] = []
    done = threading.Event()

    def take() -> None:
        with postgres.connect(database) as other:
            while not done.is_set():
                taken.extend(number for (number,) in other.execute(asks))

    taker = threading.Thread(target=take)
    taker.start()
    rows = sql.SQL("(select last_value + 1 as id from orders_id_seq) l")
    for _ in range(200):
        move_behind(target.connection, TableName("public", "orders"), ["id"], rows)
    done.set()
    taker.join()
    assert taken == sorted(set(taken))
