"""Triggers of the application's that write to their own table: each row's changes stand in the order they happened."""

import datetime as dt
from itertools import pairwise

import pytest

from audit import changes, comparing
from audit.moments import row_at

pytestmark = pytest.mark.servers

AGAIN = (
    "create function again() returns trigger language plpgsql as $$ begin if pg_trigger_depth() < 3 then {} end if;"
    " return null; end $$; create trigger again after {} on items for each {} execute function again()"
)
#: What a trigger does, after what, for each what -> what is written.
NESTED = [
    ("update items set name = new.name || '!' where id = new.id and name = new.name;", "insert", "row"),
    ("update items set name = name || '!';", "insert", "statement"),
    ("update items set name = new.name || '!' where id = new.id and name = new.name;", "update", "row"),
    ("delete from items where id = new.id and name = 'dead';", "update", "row"),
    ("update items set id = new.id + 100 where id = new.id and id < 100;", "insert", "row"),
]
WRITES = (
    "insert into items values (1, 'a'), (2, 'b')",
    "update items set name = 'x' where id = 1",
    "update items set name = name || 'y'",
    "update items set name = 'dead' where id = 2",
    "delete from items where id = 1",
    "insert into items values (3, 'c')",
)


def as_it_is(target):
    return {
        row.id: {"id": str(row.id), "name": row.name} for row in target.rows("select id, name from items")
    }


@pytest.mark.parametrize(("does", "event", "level"), NESTED, ids=range(len(NESTED)))
def test_a_row_is_what_its_last_change_left(items, execute, target, does, event, level):
    execute(AGAIN.format(does, event, level))
    (table,), before = items.state.active(), target.value("select clock_timestamp()")
    seen = [before]
    for write in WRITES:
        execute(write)
        seen.append(target.value("select clock_timestamp()"))
        there = as_it_is(target)
        for key in (1, 2, 3, 101, 102, 103):
            change = row_at(target.rows, items.state, table, str(key), seen[-1])
            assert (change.new if change else None) == there.get(key)
        found = comparing.between(target.rows, items.state, table, before, seen[-1])
        assert {int(change.new["id"]): change.new for change in found.changes} == there
        page = comparing.table_at(target.rows, items.state, table, seen[-1], "")
        assert {int(key): row for key, row in page.rows} == there
    for key in (1, 2):
        told = changes.life(target.rows, items.state, table, str(key))[::-1]
        assert all(one.new == after.old for one, after in pairwise(told))
        newest = changes.life(target.rows, items.state, table, str(key), limit=1)
        assert [(one.statement_id, one.new) for one in newest] == [(told[-1].statement_id, told[-1].new)]


def test_what_fits_nowhere_stays_where_the_log_has_it(items, execute, target):
    """A change that passed capture by, and a table that was emptied, break the chain."""
    execute("insert into items values (1, 'a'); update items set name = 'b'")
    execute("alter table items disable trigger all; update items set name = 'unseen'")
    execute("alter table items enable trigger all; update items set name = 'c'; truncate items")
    execute("insert into items values (1, 'a')")
    (table,) = items.state.active()
    told = changes.life(target.rows, items.state, table, "1")[::-1]
    assert [(one.old or {}).get("name") for one in told] == [None, "a", "unseen", None]
    assert [one.new["name"] for one in told] == ["a", "b", "c", "a"]
    found = comparing.between(
        target.rows, items.state, table, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime.now(dt.UTC)
    )
    assert [(one.old, one.new) for one in found.changes] == [(None, {"id": "1", "name": "a"})]


SWAP = "update items set id = id + 100; update items set id = 103 - id where id > 100"


@pytest.mark.parametrize("before", ["", "update items set id = id", "alter table items add more int"])
def test_rows_that_are_alike_and_change_places_are_both_there(audit, execute, target, before):
    execute("create table items (id int primary key deferrable initially deferred, name text)")
    execute("insert into items values (1, 'a'), (2, 'a')")
    audit.watch("items")
    if before:
        execute("update items set name = 'b'")
        execute(before)
    for _ in range(3):
        with target.connection.transaction():
            execute(SWAP)
        (table,), now = audit.state.active(), target.value("select clock_timestamp()")
        there = comparing.table_at(target.rows, audit.state, table, now, "").rows
        assert [key for key, _ in there] == ["1", "2"]


def test_a_row_that_was_kept_whole_many_times_hides_no_other(items, execute, target):
    execute("alter table items add more int; insert into items values (1, 'a'), (2, 'b'), (3, 'c')")
    for number in range(30):
        execute("update items set more = %s where id = 1", [number])
    (table,), now = items.state.active(), target.value("select clock_timestamp()")
    there = comparing.table_at(target.rows, items.state, table, now, "").rows
    assert [key for key, _ in there] == ["1", "2", "3"]


def test_the_page_of_a_row_loses_none_of_them_between_two_pages(items, execute, client_as, server):
    execute(AGAIN.format(NESTED[2][0], "update", "row"))
    execute("insert into items values (1, '')")
    for number in range(60):
        execute("update items set name = %s", [f"n{number}"])
    seen, query = [], "?key=1"
    while query:
        page = client_as("auditor").get(f"/servers/{server.name}/audit/row/public.items/{query}")
        seen += [one.statement_id for one, _ in page.context["changes"]]
        query = f"?key=1&before={page.context['older']}" if page.context["older"] else ""
    assert sorted(seen) == list(range(1, 182))


def test_a_row_that_got_another_key_is_no_longer_found_by_the_one_before(
    items, execute, target, client_as, server
):
    execute("insert into items values (1, 'a')")
    execute("update items set id = 7")
    (table,), now = items.state.active(), target.value("select clock_timestamp()")
    assert row_at(target.rows, items.state, table, "1", now).new is None
    assert row_at(target.rows, items.state, table, "7", now).new == {"id": "7", "name": "a"}
    assert comparing.table_at(target.rows, items.state, table, now, "").rows == [
        ("7", {"id": "7", "name": "a"})
    ]
    page = client_as("auditor").get(
        f"/servers/{server.name}/audit/row/public.items/?key=1&at=2999-01-01T00:00"
    )
    assert "It had been deleted, or had got another key." in page.content.decode()
