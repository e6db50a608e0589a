"""Creating an index: nobody waits, and a build that does not end well leaves nothing."""

import threading
import time

import pytest

from dbadmin import runs
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

        canceller = threading.Thread(target=cancel_when_it_waits)
        canceller.start()
        from dbadmin import runner

        runner.execute(run.pk)
        canceller.join()
    run.refresh_from_db()
    assert (run.status, run.message) == ("cancelled", "Cancelled by the command line.")
    pid = old.info.backend_pid if not old.closed else 0
    assert any(line.startswith("waiting for writers before build: session ") for line in log_of(run)), pid
    assert indexes(users) == {}


def test_refuses_a_partitioned_table(target, server):
    target.rows("create table events (at date) partition by range (at)")
    with pytest.raises(Refused) as refusal:
        operation("create_index", server, table="events", columns="at").plan()
    assert str(refusal.value) == "public.events is a partitioned table, not a table or a materialized view."
