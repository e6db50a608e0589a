"""Rebuilding an index: smaller after, valid after, and no half-built twin stays."""

import pytest

from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def test_a_bloated_index_is_smaller_after(target, server):
    target.rows("create table queue (id int primary key)")
    target.rows("insert into queue select generate_series(1, 20000)")
    target.rows("delete from queue where id % 100 > 0")
    run = carry_out(operation("reindex_index", server, index="queue_pkey"))
    assert run.status == "succeeded", run.message
    assert run.plan == ['REINDEX INDEX CONCURRENTLY "public"."queue_pkey";']
    assert run.result["after"]["size_bytes"] < run.result["before"]["size_bytes"]


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
