"""Recorded changes can be taken back, where nobody changed them since."""

import pytest

from audit.operations.undo_changes import UndoChanges
from dbadmin.operate import preview_url
from dbadmin.operations import Refused
from dbadmin.runs import undo_url
from tests.audit.test_chains import AGAIN, NESTED
from tests.carrying_out import carry_out, operation

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

    def connect(self, database=None, own_path=True):
        import contextlib

        return contextlib.nullcontext(self.connection)

    def committing(self, connection):
        pass

    def log(self, text):
        self.lines.append(text)

    say = log


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
    last = items.statements()[-1]
    moment = f"{last.at:%Y-%m-%d %H:%M:%S} UTC"
    assert str(refusal.value).splitlines() == [
        "1 of 3 changes were followed by others. Undo those first, or leave the rows out:",
        f"the update of public.items 3: changed again by postgres at {moment}, statement {last.id}",
    ]
    assert undo(items, statement=number, leave_conflicts=True) == ["Took back 2 changes, left 1 out."]
    assert [row[1] for row in content(execute)] == ["a", "b", "later"]
    with pytest.raises(Refused) as refusal:
        undo(items, statement=number, row=3, leave_conflicts=True)
    assert str(refusal.value).splitlines()[0] == "Each of them was followed by another change:"


def test_rows_of_two_tables_with_the_same_key_are_judged_apart(items, execute):
    execute("create table notes (id int primary key, text text)")
    items.watch("notes")
    execute("insert into notes values (3, 'a')")
    execute("set app.current_user_id = 'maria'")
    execute("update notes set text = 'hers' where id = 3")
    execute("update items set name = 'hers' where id = 3")
    execute("reset app.current_user_id")
    execute("update notes set text = 'mine' where id = 3")
    params = {"person": "maria", "since": "2026-01-01"}
    with pytest.raises(Refused) as refusal:
        undo(items, **params)
    assert [line.partition(":")[0] for line in str(refusal.value).splitlines()[1:]] == [
        "the update of public.notes 3"
    ]
    assert undo(items, **params, leave_conflicts=True) == ["Took back 1 change, left 1 out."]
    assert content(execute)[2][1] == "c"
    assert execute("select text from notes").fetchone() == ("mine",)


def test_older_changes_of_a_row_that_somebody_else_has_changed_since_stay(items, execute):
    execute("set app.current_user_id = 'maria'")
    execute("update items set name = 'one' where id = 3")
    execute("update items set name = 'two' where id = 3")
    execute("update items set name = 'hers' where id = 1")
    execute("reset app.current_user_id")
    execute("update items set name = 'one' where id = 3")  # as her first change had left it, but by me
    lines = undo(items, person="maria", since="2026-01-01", leave_conflicts=True)
    assert lines == ["Took back 1 change, left 2 out."]
    assert [row[1] for row in content(execute)] == ["a", "b", "one"]


def test_a_row_that_was_changed_behind_the_log_is_told_as_such(items, execute):
    execute("update items set name = 'x' where id = 3")
    number = items.statements()[-1].id
    execute("alter table items disable trigger user")
    execute("update items set name = 'unseen' where id = 3")
    with pytest.raises(Refused) as refusal:
        undo(items, statement=number)
    assert str(refusal.value).splitlines()[1] == (
        "the update of public.items 3: its row is another, by no change that the log has"
    )


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


def test_the_run_of_an_undo_offers_to_take_it_back(items, execute):
    execute("update items set name = 'x' where id = 1")
    database = items.session.connection.info.dbname
    wanted = {"database": database, "statement": items.statements()[-1].id}
    run = carry_out(operation("undo_changes", items.server, **wanted))
    assert (run.message, content(execute)[0][1]) == ("Took back 1 change.", "a")
    name, params = UndoChanges(items.server, run.params).undo(run)
    assert undo_url(run) == preview_url(items.server.name, name, params)
    carry_out(operation(name, items.server, **params))
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
    assert str(refusal.value).splitlines()[0] == (
        "1 of 4 changes were followed by others. Undo those first, or leave the rows out:"
    )
    (step,) = UndoChanges(items.server, {**params, "leave_conflicts": True}).plan()
    assert "\n-- Conflict, left out: the update of public.items 3: changed again by postgres at " in str(step)
    assert undo(items, **params, leave_conflicts=True) == ["Took back 3 changes, left 1 out."]
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


def test_a_delete_that_cascaded_is_taken_back_whole(audit, execute):
    execute("create table parents (id int primary key)")
    execute("create table children (id int primary key, parent int references parents on delete cascade)")
    execute(
        "create table grandchildren (id int primary key, child int references children on delete set null)"
    )
    for table in ("parents", "children", "grandchildren"):
        audit.watch(table)
    execute("insert into parents values (1), (2)")
    execute("insert into children values (10, 1), (11, 1), (20, 2)")
    execute("insert into grandchildren values (100, 10), (101, 11), (200, 20)")
    execute("delete from parents where id = 1")
    undo(audit, transaction=str(audit.statements()[-1].xid))
    assert execute("select count(*) from parents").fetchone() == (2,)
    assert execute("select id, parent from children order by id").fetchall() == [(10, 1), (11, 1), (20, 2)]
    assert execute("select id, child from grandchildren order by id").fetchall() == [
        (100, 10),
        (101, 11),
        (200, 20),
    ]


def test_keys_that_moved_on_one_after_the_other_move_back(audit, execute):
    execute("create table places (id int primary key, name text)")
    audit.watch("places")
    execute("insert into places values (1, 'a'), (2, 'b'), (3, 'c')")
    execute("begin; update places set id = id - 1; update places set id = id - 3 where id > 0; commit")
    undo(audit, transaction=str(audit.statements()[-1].xid))
    assert execute("select id, name from places order by id").fetchall() == [(1, "a"), (2, "b"), (3, "c")]


def test_keys_that_changed_places_change_back(audit, execute):
    execute("create table places (id int primary key deferrable, name text)")
    audit.watch("places")
    execute("insert into places values (1, 'a'), (2, 'b')")
    execute("update places set id = 3 - id")
    undo(audit, statement=audit.statements()[-1].id)
    assert execute("select id, name from places order by id").fetchall() == [(1, "a"), (2, "b")]


def test_a_key_that_others_followed_goes_back_with_them(audit, execute):
    execute("create table parents (id int primary key)")
    execute("create table children (id int primary key, parent int references parents on update cascade)")
    audit.watch("parents")
    audit.watch("children")
    execute("insert into parents values (1), (2)")
    execute("insert into children values (10, 1), (20, 2)")
    execute("update parents set id = 5 where id = 1")
    undo(audit, transaction=str(audit.statements()[-1].xid))
    assert execute("select id from parents order by id").fetchall() == [(1,), (2,)]
    assert execute("select id, parent from children order by id").fetchall() == [(10, 1), (20, 2)]


def test_a_tree_that_came_in_one_statement_goes_and_comes_back(audit, execute):
    execute("create table tree (id int primary key, above int references tree)")
    audit.watch("tree")
    execute("insert into tree values (1, 2), (2, 3), (3, null), (4, 1)")
    number = audit.statements()[-1].id
    undo(audit, statement=number)
    assert execute("select count(*) from tree").fetchone() == (0,)
    undo(audit, transaction=str(audit.statements()[-1].xid))
    assert execute("select id, above from tree order by id").fetchall() == [(1, 2), (2, 3), (3, None), (4, 1)]


def test_rows_that_refer_by_a_key_that_is_not_enforced_are_in_nobodys_way(since_18, audit, execute):
    execute("create table parents (id int primary key)")
    execute("create table children (parent int references parents on delete cascade not enforced)")
    audit.watch("parents")
    execute("insert into parents values (1)")
    execute("insert into children values (1)")
    undo(audit, statement=audit.statements()[-1].id)
    assert execute("select (select count(*) from parents), (select count(*) from children)").fetchone() == (
        0,
        1,
    )


@pytest.mark.parametrize("action", ["cascade", "set null", "set default"])
def test_an_insert_is_not_taken_back_where_rows_of_others_would_go_with_it(audit, execute, action):
    execute("create table parents (id int primary key)")
    execute(f"create table children (id int primary key, parent int references parents on delete {action})")
    audit.watch("parents")
    audit.watch("children")
    execute("begin; insert into parents values (1), (2); insert into children values (10, 1); commit")
    number = str(audit.statements()[-1].xid)
    execute("insert into children values (11, 1)")
    with pytest.raises(Refused) as refusal:
        undo(audit, transaction=number)
    assert str(refusal.value).splitlines() == [
        "1 of 3 changes were followed by others. Undo those first, or leave the rows out:",
        "the insert of public.parents 1: rows of public.children refer to it, which would not stay as they are",
    ]
    assert undo(audit, transaction=number, leave_conflicts=True) == ["Took back 2 changes, left 1 out."]
    assert execute("select id from parents").fetchall() == [(1,)]
    assert execute("select id, parent from children").fetchall() == [(11, 1)]


@pytest.fixture
def pairs(audit, execute):
    """A row that was deleted, one that was changed, and one that came."""
    execute("create table pairs (id int primary key, a text, b text)")
    audit.watch("pairs")
    execute("insert into pairs values (1, 'a1', 'b1'), (2, 'a2', 'b2')")
    execute("delete from pairs where id = 1")
    execute("update pairs set a = 'x', b = 'y' where id = 2")
    execute("insert into pairs values (3, 'a3', 'b3')")
    return audit


GONE = "b of public.pairs is not there any more, or has another name: the {} of {} cannot be taken back as it was."
MIXED = (
    "Columns of public.pairs have each other's names by now, or were made anew: what the log has of them would come"
    " into others. Take it back by hand."
)
ALTERED = {
    "alter table pairs rename b to c": (GONE.format("delete", 1), GONE.format("update", 2), None),
    "alter table pairs drop b": (GONE.format("delete", 1), GONE.format("update", 2), None),
    "alter table pairs rename a to z; alter table pairs rename b to a; alter table pairs rename z to b": (
        MIXED,
    )
    * 3,
    "alter table pairs drop a; alter table pairs add a text": (MIXED,) * 3,
    "alter table pairs add c text default 'new'": (None, None, None),
}


@pytest.mark.parametrize("statement", ALTERED)
def test_no_value_comes_back_into_another_column_or_is_lost_in_silence(pairs, execute, statement):
    numbers = [each.id for each in pairs.statements()[-3:]]
    execute(statement)
    for number, refused in zip(numbers, ALTERED[statement], strict=True):
        if refused:
            with pytest.raises(Refused) as refusal:
                undo(pairs, statement=number)
            assert str(refusal.value) == refused
        else:
            assert undo(pairs, statement=number) == ["Took back 1 change."]
    if not any(ALTERED[statement]):
        assert execute("select * from pairs order by id").fetchall() == [
            (1, "a1", "b1", "new"), (2, "a2", "b2", "new"),
        ]  # fmt: skip


def test_nothing_comes_back_into_a_table_that_was_made_anew(pairs, execute):
    number = pairs.statements()[-3].id
    execute("alter table pairs rename to old_pairs; create table pairs (id int primary key, a text, b text)")
    with pytest.raises(Refused) as refusal:
        undo(pairs, statement=number)
    assert str(refusal.value) == (
        "public.pairs is another table by now than the one whose changes were recorded. Watch it again, and look at"
        " what would be taken back."
    )
    assert execute("select count(*) from pairs").fetchone() == (0,)


#: What an application's own trigger writes to the row that was just written; not what does so whatever is written:
#: that would change what is put back, too.
WRITTEN_AGAIN = [
    *((AGAIN.format(does, event, level)) for does, event, level in NESTED if event == "insert"),
    AGAIN.format("update items set name = 'new' where id = new.id and new.name = 'x';", "update", "row"),
    AGAIN.format("delete from items where id = new.id and new.name = 'x';", "update", "row"),
    AGAIN.format("insert into items overriding system value values (old.id, 'again');", "delete", "row"),
]


@pytest.mark.parametrize("trigger", WRITTEN_AGAIN, ids=range(len(WRITTEN_AGAIN)))
def test_what_a_trigger_wrote_to_the_same_row_once_more_is_taken_back_first(audit, execute, target, trigger):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    execute("insert into items values (1, 'a'), (2, 'b'), (3, 'c')")
    execute(trigger)
    before = execute("select * from items order by id").fetchall()
    with target.connection.transaction():
        execute("insert into items values (7, 'new')")
        execute("update items set name = 'x' where id = 1")
        execute("delete from items where id = 2")
    execute("drop trigger again on items")
    (transaction,) = {row.xid for row in audit.statements() if row.xid != audit.statements()[0].xid}
    undo(audit, transaction=transaction)
    assert execute("select * from items order by id").fetchall() == before


def test_a_row_that_a_trigger_wrote_once_more_is_told_as_changed_by_it(audit, execute):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    execute(AGAIN.format(*NESTED[0]))
    execute("insert into items values (1, 'a')")
    inner, outer = audit.statements()
    with pytest.raises(Refused) as refusal:
        undo(audit, statement=outer.id)
    assert str(refusal.value).splitlines()[1] == (
        f"the insert of public.items 1: changed again by postgres at {inner.at:%Y-%m-%d %H:%M:%S} UTC, statement"
        f" {inner.id}"
    )
