"""Rebuilding an index: smaller after, valid after, and no half-built twin stays."""

import re
import threading
import time

import pytest
from django.db import connections

from dbadmin import runner, runs
from dbadmin.models import Run
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.runtime import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def test_a_bloated_index_is_smaller_after(target, server):
    target.rows("create table queue (id int primary key)")
    target.rows("insert into queue select generate_series(1, 20000)")
    target.rows("delete from queue where id % 100 > 0")
    run = carry_out(operation("reindex_index", server, index="queue_pkey"))
    assert run.status == "succeeded", run.message
    assert run.plan == ['REINDEX INDEX CONCURRENTLY "public"."queue_pkey";']
    assert run.result["after"]["size_bytes"] < run.result["before"]["size_bytes"]
    assert re.fullmatch(r"Finished in .+: size 16 KiB, was 456 KiB\.", run.message), run.message


def test_an_invalid_index_is_valid_after(target, server):
    target.rows("create table queue (id int)")
    target.rows("insert into queue values (1), (1)")
    with pytest.raises(Exception, match="duplicated"):
        target.rows("create unique index concurrently queue_id on queue (id)")
    target.rows("truncate queue")
    assert carry_out(operation("reindex_index", server, index="queue_id")).status == "succeeded"
    assert target.value("select indisvalid from pg_index where indexrelid = 'queue_id'::regclass") is True


def test_a_rebuild_that_fails_leaves_no_twin(target, server):
    target.rows("create table queue (id int)")
    target.rows("insert into queue values (1), (1)")
    with pytest.raises(Exception, match="duplicated"):
        target.rows("create unique index concurrently queue_id on queue (id)")
    run = carry_out(operation("reindex_index", server, index="queue_id"))
    assert run.status == "failed"
    assert run.message.startswith("Could not create unique index")
    names = target.rows(
        "select indexrelid::regclass::text as name from pg_index where indrelid = 'queue'::regclass"
    )
    assert [row.name for row in names] == ["queue_id"]


@pytest.mark.parametrize("name", ["reindex_index", "drop_index"])
def test_a_cancel_in_the_middle_leaves_nothing_half_done(target, server, postgres, name):
    target.rows("create table queue (id int)")
    target.rows("create index queue_id on queue (id)")

    def indexes():
        rows = target.rows(
            "select indexrelid::regclass::text as name, indisvalid as valid from pg_index"
            " where indrelid = 'queue'::regclass order by 1"
        )
        return {row.name: row.valid for row in rows}

    with postgres.connect(target.database) as old:
        old.execute("begin")
        old.execute("insert into queue values (1)")
        run = runs.start(operation(name, server, index="queue_id"), None, Run.Door.COMMAND)
        half_done = {"queue_id", "queue_id_ccnew"} if name == "reindex_index" else {"queue_id"}

        def cancel_in_the_middle():
            until(lambda: set(indexes()) == half_done and not all(indexes().values()))
            runs.cancel(run, None)
            time.sleep(2)
            old.execute("commit")  # the clean-up has to wait for it as well
            connections.close_all()

        thread = threading.Thread(target=cancel_in_the_middle)
        thread.start()
        runner.execute(run.pk)
        thread.join()
    run.refresh_from_db()
    assert (run.status, run.message) == ("cancelled", "Cancelled by the command line.")
    assert indexes() == ({"queue_id": True} if name == "reindex_index" else {})
    assert log_of(run)[-1].startswith("Dropped the invalid index public.queue_id")
