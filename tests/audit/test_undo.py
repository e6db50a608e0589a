"""Recorded changes can be taken back, where nobody changed them since."""

import pytest

from audit.operations.undo_changes import UndoChanges
from dbadmin.operations import Refused

pytestmark = pytest.mark.servers


@pytest.fixture
def items(audit, execute):
    execute(
        "create table items (id int generated always as identity primary key, name text, data json, "
        "twice int generated always as (1 + 1) stored, at timestamptz)"
    )
    audit.watch("items")
    rows = """('a', '{"x":  1}', now()), ('b', null, 'infinity'), ('c', null, null)"""
    execute(f"insert into items (name, data, at) values {rows}")
    return audit


class Run:
    """What a step needs of the worker."""

    def __init__(self, connection):
        self.connection, self.lines = connection, []

    def connect(self, database=None):
        import contextlib

        return contextlib.nullcontext(self.connection)

    def log(self, text):
        self.lines.append(text)


def undo(audit, **params):
    steps = UndoChanges(audit.server, params).plan()
    run = Run(audit.session.connection)
    for step in steps:
        step.run(run)
    return run.lines


def content(execute):
    return execute("select id, name, data::text, at::text from items order by id").fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "update items set name = name || '!', data = '{}', at = '-infinity'",
        "delete from items",
        "insert into items (name) values ('new')",
        "update items set name = null where id = 2",
    ],
)
def test_takes_a_statement_back(items, execute, statement):
    before = content(execute)
    execute(statement)
    assert content(execute) != before
    undo(items, statement=items.statements()[-1].id)
    assert content(execute) == before


def test_takes_a_transaction_back_in_reverse_order(items, execute, target):
    before = content(execute)
    with target.connection.transaction():
        execute("update items set name = 'x' where id = 1")
        execute("update items set name = 'y' where id = 1")
        execute("delete from items where id = 1")
        execute("insert into items (name) values ('z')")
    assert undo(items, transaction=items.statements()[-1].xid) == ["Took back 4 changes."]
    assert content(execute) == before


def test_takes_one_row_back(items, execute):
    execute("update items set name = 'x'")
    undo(items, statement=items.statements()[-1].id, row=2)
    assert [row[1] for row in content(execute)] == ["x", "b", "x"]


def test_refuses_what_was_changed_again_or_leaves_it_out(items, execute):
    execute("update items set name = 'x'")
    number = items.statements()[-1].id
    execute("update items set name = 'later' where id = 3")
    with pytest.raises(Refused) as refusal:
        undo(items, statement=number)
    assert (
        str(refusal.value)
        == "The update of 3 was followed by another change. Undo that first, or leave it out."
    )
    assert undo(items, statement=number, leave_conflicts=True) == ["Took back 2 changes."]
    assert [row[1] for row in content(execute)] == ["a", "b", "later"]


def test_refuses_values_that_were_not_kept(audit, execute):
    execute("create table people (id int primary key, pin text)")
    audit.watch("people", masked="pin")
    execute("insert into people values (1, 'a')")
    execute("update people set pin = 'b'")
    with pytest.raises(Refused) as refusal:
        undo(audit, statement=audit.statements()[-1].id)
    assert str(refusal.value) == "pin of public.people 1: the log does not keep the value."


def test_an_undo_is_recorded_and_can_be_taken_back(items, execute):
    execute("update items set name = 'x' where id = 1")
    undo(items, statement=items.statements()[-1].id)
    undo(items, statement=items.statements()[-1].id)
    assert content(execute)[0][1] == "x"


def test_takes_an_afternoon_back_and_shows_what_others_changed_since(items, execute):
    execute("update items set name = 'before' where id = 3")
    since = execute(
        "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
    ).fetchone()[0]
    before = content(execute)
    execute("set app.current_user_id = 'maria'")
    execute("update items set name = name || '!' where id = 1")
    execute("update items set name = name || '?' where id = 1")
    execute("delete from items where id = 2")
    execute("update items set name = 'hers' where id = 3")
    execute("reset app.current_user_id")
    execute("update items set name = 'mine' where id = 3")
    params = {"person": "maria", "since": f"{since}+00:00"}
    assert UndoChanges(items.server, params).target() == f"changes by maria from {since}+00:00"
    with pytest.raises(Refused) as refusal:
        undo(items, **params)
    assert (
        str(refusal.value)
        == "The update of 3 was followed by another change. Undo that first, or leave it out."
    )
    (step,) = UndoChanges(items.server, {**params, "leave_conflicts": True}).plan()
    assert "-- Conflict, left out: the update of 3 was followed by another change" in str(step)
    assert undo(items, **params, leave_conflicts=True) == ["Took back 3 changes."]
    assert content(execute)[:2] == before[:2]
    assert content(execute)[2][1] == "mine"


@pytest.mark.parametrize(
    "params, message",
    [
        ({}, "Say which statement, which transaction, or whose changes since when."),
        ({"person": "maria"}, "Say from which moment on."),
        ({"person": "maria", "since": "noon"}, "noon is no moment. Write 2026-03-01T13:00."),
        ({"table": "nix", "since": "2026-01-01"}, "nix was never watched."),
        (
            {"person": "nobody", "since": "2026-01-01"},
            "There is no row to take back: truncates and definitions keep none.",
        ),
    ],
)
def test_says_what_it_needs_to_know(items, params, message):
    with pytest.raises(Refused) as refusal:
        UndoChanges(items.server, params).plan()
    assert str(refusal.value) == message
