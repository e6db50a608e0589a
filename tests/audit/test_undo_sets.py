"""Any number of recorded changes can be taken back at once, with the same promises as one row."""

import os
import subprocess
import threading
import time

import psycopg
import pytest

from audit.operations import undo_changes
from audit.operations.undo_changes import UndoChanges
from dbadmin.operations import Refused
from tests.audit.test_undo import Run, undo
from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

MANY = 3000
CONTENT = "select id, name, data::text, mood::text, at::text from shop.goods order by id"


@pytest.fixture
def goods(audit, execute):
    """A table of many rows, of several types; one name is awkward."""
    execute("create schema shop; create type shop.mood as enum ('good', 'bad')")
    execute(
        "create table shop.goods (id int generated always as identity primary key, name varchar(60), data json,"
        ' mood shop.mood, twice int generated always as (1 + 1) stored, at timestamptz, "taken""; --" text)'
    )
    audit.watch("shop.goods")
    execute(
        "insert into shop.goods (name, data, mood, at) select 'n' || i, json_build_object('a', i), 'good',"
        f" timestamptz '2026-01-01' + i * interval '1 s' from generate_series(1, {MANY}) i"
    )
    return audit


def last(audit):
    return audit.statements()[-1].id


@pytest.mark.parametrize(
    "statement",
    [
        "update shop.goods set name = name || '!', data = '{}', at = '-infinity', mood = 'bad'",
        'update shop.goods set name = case when id % 2 = 0 then null else name end, "taken""; --" = \'x\'',
        "delete from shop.goods",
        "insert into shop.goods (name, mood) select 'new', 'bad' from generate_series(1, 2000)",
    ],
)
def test_takes_a_statement_of_many_rows_back(goods, execute, statement):
    before = execute(CONTENT).fetchall()
    count = execute(statement).rowcount
    assert execute(CONTENT).fetchall() != before
    execute("set timezone = 'Asia/Tokyo'")
    assert undo(goods, statement=last(goods)) == [f"Took back {count:,} changes."]
    execute("reset timezone")
    assert execute(CONTENT).fetchall() == before
    assert execute('select count(*) from shop.goods where "taken""; --" is not null').fetchone() == (0,)


def test_an_undo_in_sets_is_recorded_and_can_be_taken_back(goods, execute):
    execute("update shop.goods set name = 'x'")
    undo(goods, statement=last(goods))
    assert goods.statements()[-1].images == 2 * MANY
    undo(goods, statement=last(goods))
    assert execute("select distinct name from shop.goods").fetchall() == [("x",)]


def test_the_worker_does_what_was_previewed(goods, execute, server):
    before = execute(CONTENT).fetchall()
    execute("update shop.goods set name = 'x'")
    run = carry_out(operation("undo_changes", server, statement=last(goods)))
    assert (run.status, run.message) == ("succeeded", "Took back 3,000 changes.")
    assert execute(CONTENT).fetchall() == before


def test_no_function_of_a_user_runs_in_the_place_of_the_servers_own(goods, execute):
    before = execute(CONTENT).fetchall()
    for kind in ("int", "text", "json", "timestamptz", '"char"', "bool"):
        execute(
            f"create function shop.fail({kind}, {kind}) returns {kind} language plpgsql"
            " as $$ begin raise 'ran'; end $$;"
            f"create aggregate public.lead({kind}) (sfunc = shop.fail, stype = {kind});"
            f"create aggregate public.first_value({kind}) (sfunc = shop.fail, stype = {kind})"
        )
    execute("update shop.goods set name = 'x', mood = null")
    undo(goods, statement=last(goods))
    assert execute(CONTENT).fetchall() == before


def test_many_statements_are_taken_back_newest_first(goods, execute, target):
    before = execute(CONTENT).fetchall()
    with target.connection.transaction():
        for number in range(1, 1101):
            execute("update shop.goods set name = 'x' where id = %s", [number])
        execute("update shop.goods set name = name || 'y', mood = null where id < 500")
        execute("delete from shop.goods where id < 300")
        execute("insert into shop.goods (name) values ('late')")
    xid = str(goods.statements()[-1].xid)
    assert undo(goods, transaction=xid) == ["Took back 1,899 changes."]  # 1100 + 499 + 299 + 1
    assert execute(CONTENT).fetchall() == before


def test_what_a_person_did_all_afternoon_is_taken_back(goods, execute):
    before = execute(CONTENT).fetchall()
    execute("set app.current_user_id = 'maria'")
    for number in range(1, 1101):
        execute("update shop.goods set name = 'hers' where id = %s", [number])
    execute("reset app.current_user_id")
    execute("update shop.goods set name = 'mine' where id = 1100")
    lines = undo(goods, person="maria", since="2026-01-01", leave_conflicts=True)
    assert lines == ["Took back 1,099 changes, left 1 out."]
    after = execute(CONTENT).fetchall()
    assert [new for old, new in zip(before, after, strict=True) if new != old] == [
        (1100, "mine", *before[1099][2:])
    ]


def test_conflicts_are_named_and_the_others_counted_or_all_left_out(goods, execute):
    execute("update shop.goods set name = 'x'")
    number = last(goods)
    execute("update shop.goods set mood = 'bad' where id = 1")  # another column: no conflict
    execute("update shop.goods set name = 'later' where id > 2000")
    with pytest.raises(Refused) as refusal:
        undo(goods, statement=number)
    told = str(refusal.value).splitlines()
    later = goods.statements()[-1]
    moment = f"{later.at:%Y-%m-%d %H:%M:%S} UTC"
    assert (
        told[0] == "1,000 of 3,000 changes were followed by others. Undo those first, or leave the rows out:"
    )
    assert told[1] == (
        f"the update of shop.goods 2001: changed again by postgres at {moment}, statement {later.id}"
    )
    assert len(told) == 22
    assert told[-1] == "and 980 more"
    assert execute("select count(*) from shop.goods where name = 'x'").fetchone() == (2000,)
    lines = undo(goods, statement=number, leave_conflicts=True)
    assert lines == ["Took back 2,000 changes, left 1,000 out."]
    assert execute(
        "select name, count(*) from shop.goods where name in ('x', 'later') group by 1"
    ).fetchall() == [("later", 1000)]
    with pytest.raises(Refused) as refusal:
        undo(goods, statement=number, leave_conflicts=True)
    assert str(refusal.value).splitlines()[0] == "Each of them was followed by another change:"


def test_older_changes_of_a_row_in_the_way_stay_too(goods, execute, target):
    with target.connection.transaction():
        execute("update shop.goods set name = 'one'")
        execute("update shop.goods set name = 'two'")
    xid = str(goods.statements()[-1].xid)
    execute("update shop.goods set name = 'one' where id = 7")  # as the first had left it, but by another
    lines = undo(goods, transaction=xid, leave_conflicts=True)
    assert lines == ["Took back 5,998 changes, left 2 out."]
    assert execute("select id from shop.goods where name <> 'n' || id").fetchall() == [(7,)]


def test_a_row_that_changes_between_preview_and_run_stops_all_of_it(goods, execute):
    execute("update shop.goods set name = 'x'")
    (step,) = UndoChanges(goods.server, {"statement": last(goods)}).plan()
    execute("update shop.goods set name = 'meanwhile' where id = 9")
    with pytest.raises(Refused) as refusal:
        step.run(Run(goods.session.connection))
    assert str(refusal.value) == (
        "Nothing was taken back: 2999 of 3,000 changes still fit, the others were followed by other changes while this"
        " ran. Look at a new plan."
    )
    assert execute("select count(*) from shop.goods where name = 'x'").fetchone() == (2999,)


def in_psql(goods, text, folder):
    """Run a script, with a taste of its own for times."""
    (folder / "undo.sql").write_text(text)
    options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(folder / "undo.sql")]
    done = subprocess.run(
        ["psql", *options, "-d", goods.server.dsn("operate", None)],
        env={**os.environ, "PGTZ": "Asia/Tokyo", "PGDATESTYLE": "german"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("rows", [2, MANY])
def test_the_preview_runs_as_it_is_in_psql(goods, execute, tmp_path, rows):
    before = execute(CONTENT).fetchall()
    execute(
        "update shop.goods set name = e'x\\n; drop table shop.goods; --', at = now() where id <= %s", [rows]
    )
    (step,) = UndoChanges(goods.server, {"statement": last(goods)}).plan()
    in_psql(goods, str(step), tmp_path)
    assert execute(CONTENT).fetchall() == before


def test_the_preview_of_many_rows_is_short_and_shows_the_first(goods, execute):
    execute("update shop.goods set name = e'x\\n; drop table shop.goods; --'")
    (step,) = UndoChanges(goods.server, {"statement": last(goods)}).plan()
    text = str(step)
    assert len(text) < 8000
    assert "\n-- 3,000 changes. The first of them, as they would be taken back alone:\n-- UPDATE" in text
    assert not any(line.startswith("; drop") for line in text.splitlines())


def test_a_lock_is_not_waited_for_long(goods, execute):
    execute("update shop.goods set name = 'x'")
    (step,) = UndoChanges(goods.server, {"statement": last(goods)}).plan()
    with psycopg.connect(goods.server.dsn("operate", None)) as other:
        other.execute("select from shop.goods where id = 5 for update")
        began = time.monotonic()
        with pytest.raises(Refused) as refusal:
            step.run(Run(goods.session.connection))
        assert 9 < time.monotonic() - began < 30
    assert str(refusal.value) == (
        "Nothing was taken back: another session holds a lock on a row or a table of it for more than 10 s. Look who"
        " blocks, and start this again."
    )


@pytest.fixture
def families(audit, execute):
    execute("create table parents (id int primary key, name text)")
    execute("create table children (id int primary key, parent int references parents on delete cascade)")
    execute("create table toys (id int primary key, child int references children on delete set null)")
    for table in ("parents", "children", "toys"):
        audit.watch(table)
    execute("insert into parents select i, 'p' || i from generate_series(1, 1500) i")
    execute("insert into children select i, (i + 1) / 2 from generate_series(1, 3000) i")
    execute("insert into toys select i, i from generate_series(1, 3000) i")
    return audit


def test_a_delete_of_many_rows_that_cascaded_is_taken_back_whole(families, execute):
    execute("delete from parents")
    assert execute("select count(*) from children").fetchone() == (0,)
    lines = undo(families, transaction=str(families.statements()[-1].xid))
    assert lines == ["Took back 7,500 changes."]
    assert execute("select count(*) from toys where child = id").fetchone() == (3000,)
    assert execute("select count(*), sum(parent) from children").fetchone() == (3000, 1500 * 1501)
    assert execute("select count(*) from parents where name = 'p' || id").fetchone() == (1500,)


def test_inserts_are_not_taken_back_where_rows_of_others_would_go_with_them(families, execute, target):
    with target.connection.transaction():
        execute("insert into parents select i, 'q' from generate_series(2001, 4000) i")
        execute("insert into children values (9001, 2001), (9002, 2002)")
    xid = str(families.statements()[-1].xid)
    execute("insert into children values (9003, 2003)")
    with pytest.raises(Refused) as refusal:
        undo(families, transaction=xid)
    assert str(refusal.value).splitlines() == [
        "1 of 2,002 changes were followed by others. Undo those first, or leave the rows out:",
        "the insert of public.parents 2003: rows of public.children refer to it, which would not stay as they are",
    ]
    assert undo(families, transaction=xid, leave_conflicts=True) == ["Took back 2,001 changes, left 1 out."]
    assert execute("select id from parents where id > 2000").fetchall() == [(2003,)]
    assert execute("select id from children where id > 9000").fetchall() == [(9003,)]


@pytest.mark.parametrize("rows", [2, MANY])
def test_a_row_that_others_write_meanwhile_does_not_go_with_what_it_refers_to(families, execute, rows):
    execute("insert into parents select i, 'q' from generate_series(5001, 5000 + %s) i", [rows])
    (step,) = UndoChanges(families.server, {"statement": last(families)}).plan()
    with psycopg.connect(families.server.dsn("operate", None)) as other:
        other.execute("insert into children values (9001, 5001)")
        ending = threading.Timer(1, other.commit)
        ending.start()
        with pytest.raises(Refused) as refusal:
            step.run(Run(families.session.connection))
        ending.join()
    assert str(refusal.value).startswith("Nothing was taken back: ")
    assert execute("select parent from children where id = 9001").fetchall() == [(5001,)]


@pytest.mark.parametrize("rows", [2, MANY])
@pytest.mark.parametrize("kind", ["varchar(20)", "grade"])
def test_no_operator_of_a_user_compares_keys(audit, execute, kind, rows):
    """Whoever may create in public would be run with the rights of dbadmin."""
    names = ", ".join(f"'{number}'" for number in range(1, MANY + 1))
    execute(f"create type grade as enum ({names})")
    execute(f"create table leveled (id {kind} primary key, name varchar(10))")
    execute(f"create table below (id int primary key, above {kind} references leveled on delete cascade)")
    audit.watch("leveled")
    for one, other in (("varchar", "varchar"), ("varchar", "text"), ("grade", "grade")):
        execute(
            f"create function mine({one}, {other}) returns bool language plpgsql"
            " as $$ begin raise 'ran'; end $$;"
            f"create operator public.= (function = mine, leftarg = {one}, rightarg = {other})"
        )
    execute(f"insert into leveled select i::text::{kind}, 'a' from generate_series(1, %s) i", [rows])
    execute("update leveled set name = 'b'")
    undo(audit, statement=last(audit))
    assert execute("select distinct name::text from leveled").fetchall() == [("a",)]
    execute("delete from leveled")
    undo(audit, statement=last(audit))
    assert execute("select count(*) from leveled").fetchone() == (rows,)
    undo(audit, statement=audit.statements()[0].id, leave_conflicts=True)
    assert execute("select count(*) from leveled").fetchone() == (0,)


def test_a_row_that_was_changed_again_is_told_as_such_though_rows_refer_to_it(families, execute, target):
    with target.connection.transaction():
        execute("insert into parents select i, 'q' from generate_series(2001, 4000) i")
        execute("insert into children values (9001, 2001)")
    xid = str(families.statements()[-1].xid)
    execute("update parents set name = 'r' where id = 2001")
    later = families.statements()[-1]
    moment = f"{later.at:%Y-%m-%d %H:%M:%S} UTC"
    with pytest.raises(Refused) as refusal:
        undo(families, transaction=xid)
    assert str(refusal.value).splitlines()[1] == (
        f"the insert of public.parents 2001: changed again by postgres at {moment}, statement {later.id}"
    )


def test_many_moved_keys_are_refused_by_name(goods, execute):
    execute("update shop.goods set id = default")
    with pytest.raises(Refused) as refusal:
        undo(goods, statement=last(goods))
    assert str(refusal.value) == (
        "3,000 updates of shop.goods moved keys. That is taken back only one by one, 1,000 rows at once at most: undo"
        " fewer statements."
    )


def test_values_that_were_not_kept_or_have_no_column_any_more_are_refused(audit, execute):
    execute("create table people (id int primary key, pin text, town text)")
    audit.watch("people", masked="pin")
    execute("insert into people select i, 'a', 'b' from generate_series(1, 1100) i")
    execute("update people set pin = 'c'")
    masked = last(audit)
    execute("update people set town = 'd'")
    execute("alter table people rename town to city")
    with pytest.raises(Refused) as refusal:
        undo(audit, statement=masked)
    assert str(refusal.value) == "pin of public.people: the log does not keep the value."
    with pytest.raises(Refused) as refusal:
        undo(audit, statement=masked + 1)
    assert str(refusal.value) == (
        "town of public.people is not there any more, or has another name: its updates cannot be taken back as they"
        " were."
    )


def test_types_that_changed_and_casts_of_users_give_the_same_values(audit, execute):
    execute("create type pair as (a int, b text); create domain code as varchar check (value <> '')")
    execute("create function loud(text) returns pair language sql as $$ select row(0, 'cast')::pair $$")
    execute("create cast (text as pair) with function loud(text) as assignment")
    execute("create table things (id code primary key, number int, pair pair, pairs pair[], codes code[])")
    audit.watch("things")
    execute(
        "insert into things select 'k' || i, i, row(i, 'b')::pair, array[row(i, 'c')::pair], array['d']::code[]"
        " from generate_series(1, 1200) i"
    )
    before = execute('select * from things order by id collate "C"').fetchall()
    execute("update things set number = 0, pair = null, pairs = null, codes = null")
    number = last(audit)
    execute("alter table things alter number type bigint")
    undo(audit, statement=number)
    assert execute('select * from things order by id collate "C"').fetchall() == before


def test_a_preview_that_takes_too_long_ends_with_what_to_do_instead(goods, execute, monkeypatch):
    monkeypatch.setattr(undo_changes, "PATIENCE", 0.02)
    execute("update shop.goods set name = name || '!'")
    with pytest.raises(Refused) as refusal:
        undo(goods, statement=last(goods))
    assert str(refusal.value) == (
        "Looking at so many rows took longer than 0.02 seconds and was given up; nothing was changed. Take less back at"
        " once: one statement, or a shorter time."
    )


def test_more_than_a_million_rows_are_refused(audit, execute):
    execute("create table much (id int primary key)")
    audit.watch("much")
    execute("insert into much select generate_series(1, 2)")
    execute("update dbadmin_audit.statement set images = 1000001")
    with pytest.raises(Refused) as refusal:
        undo(audit, statement=last(audit))
    assert str(refusal.value) == "1,000,001 rows are more than the 1,000,000 that one undo takes back."


def test_changes_under_two_versions_of_the_columns_are_taken_back_together(audit, execute):
    execute("create table wares (id int primary key, name text)")
    audit.watch("wares")
    execute("insert into wares select i, 'n' || i from generate_series(1, 1200) i")
    before = execute("select * from wares order by id").fetchall()
    since = execute("select to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')").fetchone()[0]
    execute("update wares set name = 'first'")
    execute("alter table wares add price int")
    audit.watch("wares")
    execute("update wares set name = 'second', price = 5 where id <= 700")
    execute("delete from wares where id <= 20")
    execute("insert into wares values (5, 'again', 6)")
    lines = undo(audit, table="public.wares", since=f"{since}+00:00")
    assert lines == ["Took back 1,921 changes."]
    assert execute("select id, name from wares order by id").fetchall() == before
    assert execute("select count(price) from wares").fetchone() == (0,)


def test_many_rows_of_a_partitioned_table_are_taken_back(audit, execute):
    execute("create table days (day int, id int, note text, primary key (day, id)) partition by range (day)")
    for low in (0, 10):
        execute(f"create table days_{low} partition of days for values from ({low}) to ({low + 10})")
    audit.watch("days")
    execute("insert into days select i % 20, i, 'x' from generate_series(1, 3000) i")
    before = execute("select * from days order by id").fetchall()
    execute("update days set note = 'y'")
    update = str(audit.statements()[-1].xid)
    execute("delete from days where id > 1500")
    for transaction in (str(audit.statements()[-1].xid), update):
        undo(audit, transaction=transaction)
    assert execute("select * from days order by id").fetchall() == before
