"""Creating an index: nobody waits, and a build that does not end well leaves nothing."""

import threading
import time

import pytest
from django.db import connections

from dbadmin import runner, runs
from dbadmin.models import Run
from dbadmin.operations import Refused
from tests.carrying_out import carry_out, log_of, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def users(target):
    target.rows("create table users (id int, email text, name text, born date)")
    target.rows(
        "insert into users select n, n || '@example.org', 'n' || n, now() from generate_series(1, 1000) n"
    )
    return target


def indexes(target):
    return {
        row.indexrelid: row.indisvalid
        for row in target.rows(
            "select indexrelid::regclass::text, indisvalid from pg_index where indrelid = 'users'::regclass"
        )
    }


def create(server, **params):
    return operation("create_index", server, table="users", **params)


@pytest.mark.parametrize(
    "params,definition",
    [
        ({"columns": "email"}, "CREATE INDEX users_email_idx ON public.users USING btree (email)"),
        (
            {"columns": "email text_pattern_ops, born desc nulls last", "include": "name", "where": "id > 5"},
            (
                "CREATE INDEX users_email_born_idx ON public.users USING btree (email text_pattern_ops,"
                " born DESC NULLS LAST) INCLUDE (name) WHERE (id > 5)"
            ),
        ),
        (
            {"columns": "lower(email)", "index": "Möwe", "unique": "on"},
            'CREATE UNIQUE INDEX "Möwe" ON public.users USING btree (lower(email))',
        ),
        (
            {"columns": "born", "method": "brin"},
            "CREATE INDEX users_born_idx ON public.users USING brin (born)",
        ),
        (
            {"columns": "(id % 10), name", "where": "name like 'a, (%'"},
            (
                "CREATE INDEX users_expr_name_idx ON public.users USING btree (((id % 10)), name)"
                " WHERE (name ~~ 'a, (%'::text)"
            ),
        ),
    ],
)
def test_builds_what_was_asked_for(users, server, params, definition):
    run = carry_out(create(server, **params))
    assert run.status == "succeeded", run.message
    (made,) = indexes(users)
    assert users.value("select pg_get_indexdef(%s::regclass)", [made]) == definition
    assert run.message == f"Created the index public.{params.get('index') or made}."
    assert run.result["after"]["size_bytes"] > 0
    assert run.reverse[0].startswith('DROP INDEX CONCURRENTLY "public".')


def test_takes_a_free_name(users, server):
    carry_out(create(server, columns="email"))
    run = carry_out(create(server, columns="email", where="id > 1"))
    assert run.message == "Created the index public.users_email_idx1." or run.status == "succeeded", (
        run.message
    )
    with pytest.raises(Refused, match=r"^There is public.users_email_idx already\.$"):
        create(server, columns="email", index="users_email_idx").plan()


@pytest.mark.parametrize(
    "params,field,sentence",
    [
        ({"columns": "nothing"}, "columns", 'Column "nothing" does not exist.'),
        ({"columns": "email,"}, "columns", "A column is empty: look at the commas."),
        ({"columns": "lower(email"}, "columns", "A bracket or a quote is not closed."),
        (
            {"columns": "(1); drop table users"},
            "columns",
            (
                "'(1); drop table users' is not a column. Write: name, or (expression), then an operator class,"
                " ASC or DESC, NULLS FIRST or LAST."
            ),
        ),
        (
            {"columns": "id", "where": "true); drop table users; --"},
            "where",
            "Leave out comments and dollar quotes.",
        ),
        ({"columns": "id", "where": "true) or (id = 1"}, "where", "This is more than one expression."),
        ({"columns": "id", "where": "id in (select 1)"}, "where", "An index cannot hold a subquery."),
        ({"columns": "id", "where": "id > 'x'"}, "where", 'Invalid input syntax for type integer: "x".'),
        ({"columns": "id, name", "method": "hash"}, "columns", "A hash index has one column."),
        (
            {"columns": "id", "method": "brin", "include": "name"},
            "include",
            "An index of method brin cannot INCLUDE columns.",
        ),
        ({"columns": "id", "method": "gin", "unique": "on"}, "unique", "Only a btree index can be unique."),
    ],
)
def test_refuses_at_the_field_what_the_server_would_refuse(users, server, params, field, sentence):
    with pytest.raises(Refused) as refusal:
        create(server, **params).plan()
    assert (str(refusal.value), refusal.value.field) == (sentence, field)
    assert users.value("select count(*) from users") == 1000


def test_leaves_nothing_when_the_rows_are_not_unique(users, server):
    users.rows("insert into users select * from users limit 1")
    run = carry_out(create(server, columns="id", unique="on"))
    assert run.status == "failed"
    assert run.message == (
        'Could not create unique index "users_id_idx". Key (id)=(1) is duplicated.'
        " Remove the duplicates, then run it again."
    )
    assert indexes(users) == {}
    assert "Dropped the invalid index public.users_id_idx." in log_of(run)
    assert run.cleaned_at


def test_says_for_whom_it_waits_and_leaves_nothing_when_it_is_cancelled(users, server, postgres):
    with postgres.connect(users.database) as old:
        old.execute("begin")
        old.execute("update users set name = '' where id = 1")
        run = runs.start(create(server, columns="id"), None, Run.Door.COMMAND)

        def cancel_when_it_waits():
            while not any("waiting for writers" in line for line in log_of(run)):
                time.sleep(0.1)
            runs.cancel(run, None)
            time.sleep(1.5)
            old.execute("rollback")  # the clean-up must wait for it as well
            connections.close_all()

        canceller = threading.Thread(target=cancel_when_it_waits)
        canceller.start()
        runner.execute(run.pk)
        canceller.join()
    run.refresh_from_db()
    assert (run.status, run.message) == ("cancelled", "Cancelled by the command line.")
    pid = old.info.backend_pid if not old.closed else 0
    assert any(line.startswith("waiting for writers before build: session ") for line in log_of(run)), pid
    assert indexes(users) == {}


@pytest.fixture
def events(target):
    target.rows("create table events (at date, kind text) partition by range (at)")
    for month in (1, 2, 3):
        target.rows(
            f"create table events_{month} partition of events"
            f" for values from ('2026-0{month}-01') to ('2026-0{month + 1}-01')"
        )
    target.rows("insert into events select '2026-01-01'::date + n % 80, 'a' from generate_series(1, 1000) n")
    return target


def indexes_of_events(target):
    rows = target.rows(
        "select indexrelid::regclass::text as name, indisvalid from pg_index"
        " where indrelid::regclass::text like 'events%' order by 1"
    )
    return [(row.name, row.indisvalid) for row in rows]


def test_a_partitioned_table_gets_one_made_of_its_partitions(events, server):
    run = carry_out(operation("create_index", server, table="events", columns="kind"))
    assert run.status == "succeeded", run.message
    assert run.message == "Created the index public.events_kind_idx on 3 partitions."
    assert run.plan[0].splitlines()[-1] == (
        'CREATE INDEX "events_kind_idx" ON ONLY "public"."events" USING btree ("kind");'
    )
    assert run.plan[1] == (
        'CREATE INDEX CONCURRENTLY "events_1_kind_idx" ON "public"."events_1" USING btree ("kind");'
    )
    assert run.plan[-1].splitlines()[-1] == (
        'ALTER INDEX "public"."events_kind_idx" ATTACH PARTITION "public"."events_3_kind_idx";'
    )
    names = ["events_1_kind_idx", "events_2_kind_idx", "events_3_kind_idx", "events_kind_idx"]
    assert indexes_of_events(events) == [(name, True) for name in names]
    undone = carry_out(operation("reverse_run", server, run=run.pk))
    assert undone.status == "succeeded", undone.message
    assert indexes_of_events(events) == []


def test_a_partitioned_build_that_fails_leaves_nothing(events, server):
    events.rows("insert into events values ('2026-02-02', 'b'), ('2026-02-02', 'b')")
    events.rows("delete from events where kind = 'a'")
    run = carry_out(operation("create_index", server, table="events", columns="at", unique="on"))
    assert run.status == "failed"
    assert run.message.startswith('Step 3 of 7 failed: Could not create unique index "events_2_at_idx".')
    assert indexes_of_events(events) == []


def test_refuses_a_partition_that_is_partitioned_itself(events, server):
    events.rows(
        "create table events_4 partition of events for values from ('2026-04-01') to ('2026-05-01')"
        " partition by list (kind)"
    )
    with pytest.raises(Refused) as refusal:
        operation("create_index", server, table="events", columns="at").plan()
    assert str(refusal.value) == (
        "The partition events_4 is not a plain table: create the index on its parts first."
    )


def test_an_undo_waits_briefly_for_a_lock_so_that_nobody_queues_behind_it(events, server, postgres):
    run = carry_out(operation("create_index", server, table="events", columns="kind"))
    with postgres.connect(events.connection.info.dbname) as reader:
        reader.execute("begin; select from events")
        undo = runs.start(operation("reverse_run", server, run=run.pk), None, Run.Door.COMMAND)

        def stop_reading():
            for _ in range(300):
                if any(line.startswith("Somebody") for line in log_of(undo)):
                    break
                time.sleep(0.1)
            reader.execute("rollback")
            connections.close_all()

        other = threading.Thread(target=stop_reading)
        other.start()
        runner.execute(undo.pk)
        other.join()
    undo.refresh_from_db()
    assert undo.plan[-1] == (
        '-- tried up to 5 times\nSET lock_timeout = \'2s\';\nDROP INDEX "public"."events_kind_idx";'
    )
    assert undo.status == "succeeded", undo.message
    assert log_of(undo)[-2:] == ["Somebody holds a lock on it; attempt 2 of 5 follows.", "DROP INDEX"]
    assert indexes_of_events(events) == []
