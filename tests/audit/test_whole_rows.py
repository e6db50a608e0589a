"""What is written between an ALTER TABLE and the renewal of capture is found like all else."""

import datetime as dt

import pytest

from audit import changes, comparing, inside, listing, search
from audit.moments import row_at
from dbadmin import runs
from dbadmin.models import Run
from dbadmin.operations import Refused
from tests.carrying_out import operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def altered(audit, execute, target):
    """A table that was written to before, between and after a column's renaming and the renewal of its capture."""
    execute("create table shop (id int primary key, name text, at timestamptz default '2026-01-01 00:00+00')")
    execute("create table other (id text primary key)")
    audit.watch("public.shop")
    audit.watch("public.other")
    execute("alter table other add note text")
    execute("insert into other values ('x')")
    execute("insert into shop values (1, 'old'), (2, 'two')")
    execute("alter table shop rename name to title")
    execute("update shop set title = 'between' where id = 1")
    execute("insert into shop values (3, 'three')")
    moment = target.value("select clock_timestamp()")
    execute("delete from shop where id = 2")
    audit.watch("public.shop")
    execute("update shop set title = 'after' where id = 1")
    return moment


def test_the_life_of_a_row_has_it(audit, altered, target):
    state = audit.state
    table = state.table("public", "shop")

    def told(key):
        found = changes.life(target.rows, state, table, key)
        assert {str(change.key["id"]) for change in found} == {key}
        return [(change.kind, (change.new or {}).get("title")) for change in found]

    assert told("1") == [("update", "after"), ("update", "between"), ("insert", None)]
    assert told("2") == [("delete", None), ("insert", None)]
    assert told("3") == [("insert", "three")]
    first, *_ = changes.life(target.rows, state, table, "1")
    older = changes.life(target.rows, state, table, "1", before=first.statement_id)
    assert [change.kind for change in older] == ["update", "insert"]
    with pytest.raises(search.BadFilter) as refusal:
        changes.life(target.rows, state, table, "x")
    assert str(refusal.value) == 'Invalid input syntax for type integer: "x".'


def test_a_row_and_its_table_are_shown_as_they_were(audit, altered, target):
    state = audit.state
    table = state.table("public", "shop")
    assert row_at(target.rows, state, table, "1", altered).new["title"] == "between"
    page = comparing.table_at(target.rows, state, table, altered, "")
    assert [key for key, _ in page.rows] == ["1", "2", "3"]
    later = comparing.table_at(target.rows, state, table, dt.datetime.now(dt.UTC), "")
    assert [(key, row["title"]) for key, row in later.rows] == [("1", "after"), ("3", "three")]
    assert [key for key, _ in comparing.table_at(target.rows, state, table, altered, "1").rows] == ["2", "3"]


def test_a_search_by_key_has_it_and_the_list_shows_what_changed(audit, altered, target):
    state = audit.state
    page = inside.find(target.rows, state, search.Filter(table="public.shop", key="1"), limit=10)
    assert [search.OPERATIONS[each.operation] for each in page.statements] == ["update", "update", "insert"]
    lines = listing.lines_of(target.rows, state, page.statements)
    assert lines[1].change.key == {"id": "1"}
    assert [(line.name, [piece.text for piece in line.pieces]) for line in lines[1].brief] == [
        ("title", ["old", "between"])
    ]


def test_a_column_that_only_they_have_is_searched_and_shown(audit, items, execute, target):
    execute("insert into items values (1, 'a')")
    execute("alter table items add extra text")
    execute("update items set extra = 'first' where id = 1")
    state, table = audit.state, audit.state.table("public", "items")
    (changed,) = audit.statements(table="items", column="extra")
    assert audit.statements(of="extra", value="irs") == [changed]
    assert audit.statements(column="name") == []
    page = comparing.table_at(target.rows, state, table, dt.datetime.now(dt.UTC), "")
    assert comparing.columns(table, page.rows) == ["id", "name", "extra"]


def test_a_value_that_jsonb_cannot_hold_does_not_fail_the_write(audit, execute, target, server):
    execute("create table texts (id int primary key, body text, tags text[], other bytea)")
    audit.watch("texts")
    execute("alter table texts add note numeric default 1.50")
    execute("insert into texts values (1, repeat('é', 150000000), array['a', 'b'], '\\xff')")
    execute("delete from texts")
    (inserted, deleted) = audit.changes()
    digest = target.value("select md5(repeat('é', 150000000))")
    body = f"{'é' * 20_000}... (cut: 300000000 bytes, MD5 {digest})"
    assert inserted.new == {"id": "1", "body": body, "tags": '["a", "b"]', "other": "\\xff", "note": "1.50"}
    assert deleted.old == inserted.new
    number = audit.statements()[-1].id
    with pytest.raises(Refused) as refusal:
        runs.start(operation("undo_changes", server, statement=number), None, Run.Door.COMMAND)
    assert "JSON does not hold the value of body (text), tags (text[]) exactly." in str(refusal.value)
