"""Rows that were kept whole can be taken back where JSON holds each value exactly, and their columns are known."""

import pytest

from dbadmin.operations import Refused
from tests.audit.test_undo import undo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

CONTENT = "select id, wares::text from wares order by id"
WHY = (
    "public.wares had just been altered when this was written, and its rows were kept as JSON: {} Take it back by"
    " hand."
)


@pytest.fixture
def wares(audit, execute):
    """A table that was altered since capture was made."""
    execute("create type size as enum ('s', 'l'); create domain code as varchar(9) check (value <> '')")
    execute(
        "create table wares (id int primary key, name text, at timestamptz, price numeric(12, 2), ratio float8,"
        " short char(8), size size, code code, raw bytea, sure bool, doc jsonb, span interval, days daterange)"
    )
    audit.watch("wares")
    for number in (1, 2, 3):
        execute(
            "insert into wares values (%s, %s, '-infinity', 'NaN', '1e-300', 'x ', 'l', 'c', e'\\\\xff00',"
            " true, %s, '1 mon -3 days 04:05:06.7', '[2026-01-01,2026-01-09)')",
            [number, 'say "a\\b"\n', '{"a": [1.50, null]}'],
        )
    execute("alter table wares rename name to title")
    return audit


def last(audit):
    return audit.statements()[-1].id


EVERYTHING = (
    "title = 'x', at = now(), price = 1.50, ratio = 0.1, short = 'y', size = 's', code = 'd', raw = '', sure = null,"
    " doc = '\"text\"', span = '1 year', days = 'empty'"
)
CHANGES = (
    f"update wares set {EVERYTHING} where id < 3",
    "delete from wares",
    "insert into wares (id, title, doc) values (4, 'late', '{}'), (5, null, '[1, 2.00]')",
    "update wares set id = id + 10",
)


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("renewed", [False, True])
def test_what_was_kept_whole_is_taken_back(wares, execute, statement, renewed):
    before = execute(CONTENT).fetchall()
    execute(statement)
    number = last(wares)
    assert wares.statements()[-1].shape_id == 0
    if renewed:
        wares.watch("wares")
        execute("alter table wares rename title to label")
        execute("alter table wares rename label to title")
    undo(wares, statement=number)
    assert execute(CONTENT).fetchall() == before


def test_a_whole_row_that_was_changed_again_is_a_conflict(wares, execute):
    execute("update wares set title = 'x'")
    number = last(wares)
    execute("update wares set title = 'y' where id = 2")
    assert undo(wares, statement=number, leave_conflicts=True) == ["Took back 2 changes, left 1 out."]
    assert execute("select title = 'y' from wares order by id").fetchall() == [(False,), (True,), (False,)]


@pytest.mark.parametrize(
    "column, value, told",
    [
        ("json", "'{}'", "more (json)"),
        ("int[]", "'{1}'", "more (integer[])"),
        ("float8", "'-0'", "more (double precision)"),
        ("jsonb", "null", "more (jsonb)"),
        ("money", "'1'", "more (money)"),
    ],
)
def test_a_value_that_json_does_not_hold_exactly_is_refused_by_name(wares, execute, column, value, told):
    execute(f"alter table wares add more {column}")
    execute(f"update wares set more = {value}, title = 'x' where id = 1")
    with pytest.raises(Refused) as refusal:
        undo(wares, statement=last(wares))
    assert str(refusal.value) == WHY.format(f"JSON does not hold the value of {told} exactly.")


def test_a_table_that_was_altered_once_more_is_refused(wares, execute):
    execute("delete from wares where id = 1")
    execute("alter table wares rename code to code_was; alter table wares add code code")
    with pytest.raises(Refused) as refusal:
        undo(wares, statement=last_delete(wares))
    assert str(refusal.value) == WHY.format("it was altered once more before its capture was renewed.")


def last_delete(audit):
    return next(one.id for one in audit.statements()[::-1] if one.operation == "D")


def test_an_alteration_that_nobody_recorded_is_refused(wares, execute):
    execute("delete from dbadmin_audit.statement where operation = 'A'")
    execute("delete from wares where id = 1")
    with pytest.raises(Refused) as refusal:
        undo(wares, statement=last(wares))
    assert str(refusal.value) == WHY.format("no ALTER TABLE is recorded that tells which columns it had.")


def test_digests_of_hidden_columns_do_not_come_back(audit, execute):
    execute("create table people (id int primary key, pin text, town text)")
    audit.watch("people", masked="pin")
    execute("insert into people values (1, 'a', 'b')")
    execute("alter table people rename town to city")
    execute("update people set pin = 'b', city = 'c'")
    with pytest.raises(Refused) as refusal:
        undo(audit, statement=last(audit))
    assert str(refusal.value) == "pin of public.people 1: the log does not keep the value."
    execute("update people set city = 'd'")
    undo(audit, statement=last(audit))
    assert execute("select * from people").fetchall() == [(1, "b", "c")]


def test_rows_of_partitions_that_left_are_not_put_into_the_table(audit, execute):
    execute("create table parts (id int primary key, name text) partition by range (id)")
    execute("create table part_1 partition of parts for values from (0) to (10)")
    audit.watch("parts")
    execute("insert into parts values (1, 'a')")
    execute("alter table parts detach partition part_1")
    execute("delete from part_1")
    with pytest.raises(Refused) as refusal:
        undo(audit, statement=last(audit))
    assert str(refusal.value) == (
        "public.parts had just been altered when this was written, and its rows were kept as JSON: rows of a partition"
        " that left it cannot be told from its own. Take it back by hand."
    )
