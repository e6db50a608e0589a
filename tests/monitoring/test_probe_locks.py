"""Sessions, waits and locks: two sessions make a real lock, and the readings name both."""

import pytest

from dbadmin.connections import Session
from dbadmin.probes import PROBES
from dbadmin.reading_store import action_of
from tests.fixtures.runtime import until

pytestmark = pytest.mark.servers


@pytest.fixture
def seats(make):
    make(
        "create table seats (id int primary key, taken bool); insert into seats values (1, false), (2, false)"
    )


def wait_for(postgres, database, question):
    """Until the server says that it is so."""
    with postgres.connect(database) as connection:
        until(lambda: connection.execute(question).fetchone()[0])


@pytest.fixture
def blocked(seats, connection, postgres, database):
    """A session that holds a row, and one that waits for it."""
    holder, waiter = connection(), connection()
    holder.execute("update seats set taken = true where id = 1")
    waiter.execute("select 1")
    waiter.pgconn.send_query(b"update seats set taken = false where id = 1")
    waiting = f"select wait_event_type = 'Lock' from pg_stat_activity where pid = {waiter.info.backend_pid}"
    wait_for(postgres, database, waiting)
    return holder, waiter


def test_names_the_session_that_blocks(blocked, read):
    holder, waiter = blocked
    (row,) = read("blocked_sessions").rows
    assert row.pid == waiter.info.backend_pid
    assert row.blocked_by == [holder.info.backend_pid]
    assert row.front_pid == holder.info.backend_pid
    assert row.lock_kind == "transactionid"
    assert row.query == "update seats set taken = false where id = 1"
    assert 0 <= row.wait_seconds < 10


def test_what_mends_it_is_the_end_of_the_session_at_the_front(blocked, read, connection, postgres, database):
    """Also of who waits for a waiter: to cancel that one would help nobody."""
    holder, waiter = blocked
    third = connection()
    third.pgconn.send_query(b"update seats set taken = null where id = 1")
    wait_for(postgres, database, "select count(*) = 2 from pg_stat_activity where wait_event_type = 'Lock'")
    reading = read("blocked_sessions")
    found = {row.pid: (row.blocked_by, row.front_pid) for row in reading.rows}
    front = holder.info.backend_pid
    assert found == {
        waiter.info.backend_pid: ([front], front),
        third.info.backend_pid: ([waiter.info.backend_pid], front),
    }
    mends = {"operation": "terminate_backend", "params": {"pid": front}}
    assert [action_of(reading, row) for row in reading.rows] == [mends, mends]


def test_tree_shows_the_holder_first_with_those_it_holds_up(blocked, read):
    holder, waiter = blocked
    rows = read("blocking_tree").rows
    assert [(row.pid, row.depth, row.waiters_count) for row in rows] == [
        (holder.info.backend_pid, 0, 1),
        (waiter.info.backend_pid, 1, 0),
    ]
    assert rows[0].state == "idle in transaction"
    assert {row.root_pid for row in rows} == {holder.info.backend_pid}


def test_tree_of_a_long_queue_stays_short(seats, connection, postgres, database, read):
    """Each waiter waits for all before it: paths through them would double with every session."""
    holder = connection()
    holder.execute("lock table seats in access exclusive mode")
    waiters = [connection() for _ in range(25)]
    for waiter in waiters:
        waiter.pgconn.send_query(b"begin; lock table seats in access exclusive mode")
    wait_for(postgres, database, "select count(*) = 25 from pg_stat_activity where wait_event_type = 'Lock'")
    reading = read("blocking_tree")
    assert len(reading.rows) == 26
    assert reading.rows[0].waiters_count == 25
    assert reading.took_ms < 1000


def test_prepared_transaction_that_blocks_is_shown_as_one(seats, connection, postgres, database, read):
    with connection() as holder:
        holder.execute("update seats set taken = true where id = 1")
        holder.execute("prepare transaction 'forgotten'")
    waiter = connection()
    waiter.pgconn.send_query(b"update seats set taken = false where id = 1")
    wait_for(postgres, database, "select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock'")
    root = read("blocking_tree").rows[0]
    (prepared,) = read("prepared_transactions").rows
    waiter.cancel_safe()
    with postgres.connect(database) as superuser:
        superuser.execute("rollback prepared 'forgotten'")
    assert (root.pid, root.state) == (0, "prepared transaction")
    assert (prepared.name, prepared.database) == ("forgotten", database)
    assert prepared.locks_count > 0


def test_finds_the_session_that_idles_in_a_transaction(seats, connection, read):
    idler = connection()
    idler.execute("update seats set taken = true where id = 2")
    (row,) = [row for row in read("idle_in_transaction").rows if row.pid == idler.info.backend_pid]
    assert row.has_written
    assert row.last_query == "update seats set taken = true where id = 2"
    assert row.application == "someone"


def test_counts_states_that_nobody_is_in_as_zero(read, connection):
    idler = connection()
    idler.execute("select 1")
    counts = {row.state: row.connections_count for row in read("connections_by_state").rows}
    assert counts["idle in transaction"] >= 1
    assert counts["idle in transaction (aborted)"] == 0
    assert next(iter(counts)) == "active"


def test_who_keeps_dead_rows_is_named(seats, connection, read):
    keeper = connection()
    keeper.execute("begin isolation level repeatable read; select count(*) from seats")
    held = {row.pid: row for row in read("xmin_horizon").rows}
    assert held[keeper.info.backend_pid].kind == "session"
    assert held[keeper.info.backend_pid].remedy == "end its transaction"


def test_newcomer_is_told_the_right_instead_of_half_the_truth(postgres, database):
    with postgres.connect() as superuser:
        superuser.execute(f"create role stranger login password '{postgres.password}'")
    try:
        with postgres.connect(database, "stranger") as connection:
            reading = PROBES["sessions"].read(Session(connection))
    finally:
        with postgres.connect() as superuser:
            superuser.execute("drop role stranger")
    assert reading.rows == []
    assert reading.problem.message == "stranger may not see this: it is not a member of pg_monitor."
    assert reading.problem.remedy == 'GRANT pg_monitor TO "stranger";'
