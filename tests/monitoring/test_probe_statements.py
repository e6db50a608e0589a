"""Statements: read without their texts, kept apart as the server does, with the columns that it has."""

import os
import signal
from contextlib import ExitStack

import psycopg
import pytest

from dbadmin.connections import Session, limit
from dbadmin.probes import PROBES
from monitoring.rounds import Round
from monitoring.texts import fingerprint
from tests.monitoring.test_epochs import scratch_forget

pytestmark = pytest.mark.servers


def ids_of(read, text, postgres, database):
    with postgres.connect(database) as connection:
        found = connection.execute("select queryid from pg_stat_statements where query like %s", [text])
        return {row[0] for row in found}


def test_statement_inside_a_function_is_kept_apart(make, read, postgres, database):
    make("""
        create table marks (id int);
        create function mark() returns void language sql as 'insert into marks values (7)';
    """)
    with postgres.connect(database) as connection:
        connection.execute("set pg_stat_statements.track = 'all'")
        connection.execute("insert into marks values (1)")
        connection.execute("select mark()")
    ids = ids_of(read, "insert into marks values%", postgres, database)
    rows = [row for row in read("statements").rows if row.query_id in ids]
    assert sorted((row.toplevel, row.calls_total) for row in rows) == [(False, 1), (True, 1)]
    assert len({(row.user_id, row.database_id, row.query_id, row.toplevel) for row in rows}) == 2


def test_reading_statements_spills_nothing_and_texts_are_asked_for_by_number(make, read, postgres, database):
    make("create table marks (id int)")
    with postgres.connect(database) as connection:
        for number in range(150):
            connection.execute(f"select id as a{number}, '{'x' * 2000}' from marks where id = {number}")
    first = read("statements")
    assert first.problem is None
    read("statements")
    ours = ids_of(read, "%max_exec_time%pg_stat_statements%", postgres, database)
    rows = [row for row in read("statements").rows if row.query_id in ours]
    assert rows
    assert {row.temp_written_blocks_total for row in rows} == {0}
    some = next(row for row in first.rows if row.calls_total)
    texts = read("statement_texts", ids=[some.query_id]).rows
    assert {text.query_id for text in texts} == {some.query_id}
    assert all(text.query for text in texts)


def test_extension_is_found_in_any_schema(make, read):
    make("create schema tools; alter extension pg_stat_statements set schema tools")
    for name in ("statements", "statement_texts", "statement_store", "own_cost"):
        reading = read(name)
        assert reading.problem is None
        assert reading.rows


def test_missing_extension_is_named_with_its_remedy(make, read, database):
    make("drop extension pg_stat_statements")
    problem = read("statements").problem
    assert problem.kind == "extension"
    assert problem.message == f"The extension pg_stat_statements is not installed in database {database}."
    assert problem.remedy == "CREATE EXTENSION pg_stat_statements;"
    make(problem.remedy)
    assert read("statements").problem is None


def test_library_that_is_not_loaded_is_added_beside_the_others(new_postgres):
    server = new_postgres(shared_preload_libraries="auto_explain")
    with server.connect() as connection:
        problem = PROBES["statements"].read(Session(connection)).problem
        advice = {row.check: row for row in PROBES["readiness"].read(Session(connection)).rows}
        assert problem.remedy == (
            "ALTER SYSTEM SET shared_preload_libraries = 'auto_explain', 'pg_stat_statements';"
            " -- then restart the server"
        )
        assert advice["pg_stat_statements is loaded"].remedy == problem.remedy
        connection.execute(problem.remedy)
        connection.execute("checkpoint")
    server.stop()
    server.start()
    with server.connect() as connection:
        assert PROBES["statements"].read(Session(connection)).problem is None


def test_hidden_statements_are_counted_not_left_out(postgres, database):
    with postgres.connect() as superuser:
        superuser.execute(f"create role stranger login password '{postgres.password}'")
    try:
        with postgres.connect(database, "stranger") as connection:
            problem = PROBES["statements"].read(Session(connection)).problem
    finally:
        with postgres.connect() as superuser:
            superuser.execute("drop role stranger")
    assert problem.kind == "privilege"
    assert int(problem.message.split(" ")[0]) > 0
    assert problem.message.endswith(" statements of other roles are hidden from stranger.")
    assert problem.remedy == 'GRANT pg_read_all_stats TO "stranger";'


def test_time_of_reads_is_unknown_where_it_is_not_taken(target):
    target.connection.execute("set track_io_timing = off")
    assert {row.read_seconds_total for row in PROBES["statements"].read(target).rows} == {None}


def test_old_columns_of_an_extension_that_was_not_updated_are_read(make, read):
    make("drop extension pg_stat_statements; create extension pg_stat_statements version '1.8'")
    rows = read("statements").rows
    assert rows
    assert {row.toplevel for row in rows} == {None}
    assert {row.since_at for row in rows} == {None}


def test_our_own_cost_is_that_of_our_role(postgres, database):
    with postgres.connect(database, "dbadmin_monitor") as connection:
        limit(connection)
        PROBES["databases"].read(Session(connection))
        (row,) = PROBES["own_cost"].read(Session(connection)).rows
    assert row.role == "dbadmin_monitor"
    assert row.calls_total > 0
    assert row.share_ratio is None or 0 < row.share_ratio < 1
    assert row.core_ratio is None or 0 < row.core_ratio < 0.5


def test_our_share_of_next_to_nothing_is_no_share(postgres, database):
    with postgres.connect(database) as busy, postgres.connect(database, "dbadmin_monitor") as connection:
        limit(connection)
        busy.execute("select pg_stat_statements_reset()")
        PROBES["databases"].read(Session(connection))
        (row,) = PROBES["own_cost"].read(Session(connection)).rows
        assert row.share_ratio is None
        busy.execute("select pg_sleep(1.3)")
        (row,) = PROBES["own_cost"].read(Session(connection)).rows
    assert 0 < row.share_ratio < 0.5


def test_our_share_is_that_since_the_counting_began_which_a_restart_does_not_end(new_postgres, monkeypatch):
    postgres = new_postgres()

    def share():
        with postgres.connect(user="dbadmin_monitor") as connection:
            limit(connection)
            (row,) = PROBES["own_cost"].read(Session(connection)).rows
            return row.share_ratio, row.core_ratio

    with postgres.connect() as busy:
        busy.execute("select pg_stat_statements_reset()")
    with postgres.connect(user="dbadmin_monitor") as connection:
        connection.execute("select pg_sleep(0.5)")
    assert share() == (None, None)
    os.kill(postgres.pid, signal.SIGINT)
    postgres.running.process.wait()
    scratch_forget(postgres)
    postgres.start()
    assert share() == (None, None)
    monkeypatch.setattr(PROBES["own_cost"].module, "LEAST", 0)
    whole, core = share()
    assert 0.9 < whole <= 1
    assert 0 < core < 1, "half a second of what passed since the counting began"


def test_readiness_names_every_missing_right_with_a_statement_that_works(postgres, database):
    with postgres.connect() as superuser:
        superuser.execute(f"create role stranger login password '{postgres.password}'")
    try:
        with postgres.connect(database, "stranger") as stranger, postgres.connect(database) as superuser:
            superuser.execute("drop extension pg_stat_statements")
            for _ in range(4):
                rows = PROBES["readiness"].read(Session(stranger)).rows
                wanting = [row for row in rows if row.state in {"missing", "unknown"}]
                for row in wanting:
                    try:
                        superuser.execute(row.remedy)
                    except psycopg.errors.DuplicateObject:
                        pass
            assert wanting == []
    finally:
        with postgres.connect() as superuser:
            superuser.execute("drop role stranger")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("select * from t where id in ($1, $2, $3)", "SELECT * FROM t WHERE id IN ($1 /*, ... */)"),
        ("select * from t where id in ($1, $2)", "select * from t where id in ($1, $2, $3, $4)"),
        ("insert into t values ($1, $2)", "insert into t values ($1, $2), ($3, $4)"),
        ("set work_mem = '5MB'", "set work_mem = $1"),
        ("/* app */ select 1", "select 2 -- other"),
    ],
)
def test_a_statement_is_known_again_after_an_upgrade_that_counts_it_otherwise(before, after):
    assert fingerprint(before) == fingerprint(after)
    assert fingerprint(before) != fingerprint(after.replace("t", "u", 1) + " limit 1")


@pytest.mark.django_db(transaction=True)
def test_our_own_cost_says_how_often_the_server_is_read_with_our_role(server):
    with ExitStack() as stack:
        rows = []
        for _ in range(2):
            one = Round(server, lambda batch: rows.extend(batch.readings))
            stack.callback(one.close)
            one.run()
        first, second = [row for each in rows if each.probe.name == "own_cost" for row in each.rows]
    assert second.readers_count == first.readers_count + 1
