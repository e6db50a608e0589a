"""The owner of a watched table cannot get code of theirs run as the owner of the log."""

import pytest

from audit.operations.undo_changes import UndoChanges
from tests.audit.conftest import letters

pytestmark = pytest.mark.servers

SPY = """
create table caught (who name, how text);
grant all on caught to public;
create function spied(value {type}) returns {target} language plpgsql as $$
begin insert into public.caught values (current_user, '{type} to {target}'); return {result}; end $$;
create cast ({type} as {target}) with function spied({type}) as {context};
"""
CHANGES = "insert into t values (1, {a}); update t set v = {b}; update t set id = 2; delete from t"


@pytest.fixture
def mallory(execute):
    """A role that owns a schema's tables and nothing else."""
    execute("create role mallory; grant all on schema public to mallory; set role mallory")
    yield execute
    execute("reset role")
    execute("drop owned by mallory cascade; drop role mallory")


def spy(execute, kind, target="text", result="'spied'", context="implicit"):
    """A cast of a type of theirs that tells as whom it ran."""
    execute(SPY.format(type=kind, target=target, result=result, context=context))


def watch(audit, execute, table="t", **params):
    """By the one who looks after the server, not by the tables' owner."""
    execute("reset role")
    audit.watch(table, **params)
    execute("set role mallory")


def caught(execute):
    return execute("select who, how from caught").fetchall()


@pytest.mark.parametrize("rule", ["", "hashed", "masked"])
@pytest.mark.parametrize(
    ("made", "kind", "before", "after"),
    [
        ("create type mood as enum ('sad', 'glad')", "mood", "sad", "glad"),
        ("create type pair as (a int, b text)", "pair", "(1,)", '(2,"x y")'),
        ("create type mood as enum ('sad', 'glad'); create domain dom as mood", "dom", "sad", "glad"),
        ("create type span as range (subtype = int)", "span", "[1,3)", "[2,4)"),
    ],
)
def test_a_cast_of_the_owners_is_not_run_for_values(audit, mallory, rule, made, kind, before, after):
    mallory(made)
    spy(mallory, "mood" if kind == "dom" else kind)
    mallory(f"create table t (id int primary key, v {kind})")
    watch(audit, mallory, **({rule: "v"} if rule else {}))
    mallory(CHANGES.format(a=f"'{before}'", b=f"'{after}'"))
    mallory(f"insert into t values (7, null), (8, '{before}'); update t set v = '{after}'")
    assert caught(mallory) == []
    mallory("reset role")
    told = audit.told()
    assert [kind for kind, _, _ in told][:5] == ["insert", "update", "update", "delete", "insert"]
    assert len(told) == 8
    if not rule:
        assert told[0][2] == {"id": "1", "v": before}
        assert told[1][1:] == ({"id": "1", "v": before}, {"id": "1", "v": after})
        assert told[4][2] == {"id": "7", "v": None}


def test_a_cast_of_the_owners_is_not_run_for_keys(audit, mallory):
    mallory("create type mood as enum ('sad', 'glad', 'odd')")
    spy(mallory, "mood")
    mallory("create table t (id mood primary key, v int)")
    watch(audit, mallory)
    mallory(
        "insert into t values ('sad', 1), ('glad', 2); update t set v = v + 1; update t set v = 9 where v = 2"
    )
    mallory("delete from caught; update t set id = 'odd' where v = 9")
    assert caught(mallory) == []
    mallory("reset role")
    assert [s.operation for s in audit.statements(table="t", key="odd")] == ["U"]


@pytest.mark.parametrize("wanted", ["json", "jsonb", "text"])
def test_a_cast_of_the_owners_is_not_run_when_the_table_was_altered(audit, mallory, wanted):
    mallory("create table t (id int primary key, w timestamptz)")
    watch(audit, mallory)
    mallory("create type mood as enum ('sad', 'glad')")
    spy(mallory, "mood", wanted, "'null'")
    mallory(
        "alter table t drop column w, add v mood, add moods mood[], add at timestamptz default '2026-01-01 00:00+00'"
    )
    mallory("set timezone = 'Asia/Tokyo'")
    mallory("insert into t values (1, 'sad', '{sad}'); update t set v = 'glad'; delete from t")
    mallory("reset timezone")
    assert caught(mallory) == []
    mallory("reset role")
    at = "2026-01-01T00:00:00+00:00"
    first = {"id": "1", "v": "sad", "moods": "{sad}", "at": at}
    assert audit.told() == [
        ("insert", None, first),
        ("update", first, first | {"v": "glad"}),
        ("delete", first | {"v": "glad"}, None),
    ]


def test_a_cast_of_the_owners_is_not_run_for_a_partition_that_left_the_table(audit, mallory):
    mallory("create table t (id int, v int) partition by range (id)")
    mallory("create table t_1 partition of t for values from (0) to (100)")
    watch(audit, mallory)
    mallory("insert into t values (1, 1); insert into t_1 values (2, 2)")
    mallory("create type mood as enum ('sad', 'glad')")
    spy(mallory, "mood", "int", "1", "assignment")
    mallory("alter table t detach partition t_1; alter table t_1 drop column v, add v mood")
    mallory("insert into t_1 values (3, 'sad')")
    assert caught(mallory) == []
    mallory("reset role")
    assert [new for _, _, new in audit.told()] == [
        {"id": "1", "v": "1"}, {"id": "2", "v": "2"}, {"id": "3", "v": "sad"},
    ]  # fmt: skip


def test_a_cast_of_the_owners_is_not_run_when_a_change_is_taken_back(audit, mallory):
    mallory("create type mood as enum ('sad', 'glad'); create table t (id int primary key, v mood, w mood)")
    spy(mallory, "mood", context="assignment")
    watch(audit, mallory)
    mallory("insert into t values (1, 'sad', null); update t set v = 'glad'")
    mallory("reset role")
    for kind in "UI":
        (statement,) = [each for each in audit.statements() if each.operation == kind][:1]
        (step,) = UndoChanges(audit.server, {"statement": statement.id}).plan()
        for one in step.reversals:
            assert audit.session.connection.execute(one.statement).rowcount == 1
    assert mallory("select * from t").fetchall() == []
    assert caught(mallory) == []


#: What stands in the way of names and operators that say no schema.
TRAPS = """
create schema trap; create table trap.caught (who name); grant all on schema trap, public to public;
grant all on trap.caught to public;
create function trap.spy() returns boolean language plpgsql as $$
begin insert into trap.caught values (current_user); return true; end $$;
create domain trap.text as pg_catalog.text check (trap.spy());
create domain trap.timestamptz as pg_catalog.timestamptz check (trap.spy());
create domain trap.oid as pg_catalog.oid check (trap.spy());
create domain trap."char" as pg_catalog."char" check (trap.spy());
create function trap.current_setting(text, boolean) returns text language sql as $$select trap.spy()::text$$;
create function trap.current_setting(text) returns text language sql as $$select trap.spy()::text$$;
create function trap.nextval(regclass) returns bigint language sql as $$select trap.spy()::int::bigint$$;
create function trap.clock_timestamp() returns timestamptz language sql as $$select trap.spy()::text::timestamptz$$;
create function trap.inet_client_addr() returns inet language sql as $$select trap.spy()::text::inet$$;
create function trap.current_query() returns text language sql as $$select trap.spy()::text$$;
create function trap.pg_current_xact_id() returns xid8 language sql as $$select trap.spy()::text::xid8$$;
create function trap.pg_partition_root(regclass) returns regclass language sql as $$select trap.spy()::text::regclass$$;
create function trap.pg_typeof("any") returns regtype language internal as 'pg_typeof';
create function trap.left(text, integer) returns text language sql as $$select trap.spy()::text$$;
create function trap.concat(anyelement) returns text language sql as $$select trap.spy()::text$$;
create function trap.hashint8extended(bigint, bigint) returns bigint language sql as $$select trap.spy()::int::bigint$$;
create function trap.hashtextextended(text, bigint) returns bigint language sql as $$select trap.spy()::int::bigint$$;
create function trap.eq(text, text) returns boolean language sql as $$select trap.spy()$$;
create function trap.eq(bigint, bigint) returns boolean language sql as $$select trap.spy()$$;
create function trap.eq(oid, oid) returns boolean language sql as $$select trap.spy()$$;
create function trap.eq(numeric, numeric) returns boolean language sql as $$select trap.spy()$$;
create function trap.eq(boolean, boolean) returns boolean language sql as $$select trap.spy()$$;
create function trap.eq(record, record) returns boolean language plpgsql as $$begin return trap.spy(); end$$;
create function trap.glue(text, text) returns text language sql as $$select trap.spy()::text$$;
create operator trap.|| (leftarg = text, rightarg = text, function = trap.glue);
"""
OPERATORS = (("=", "text bigint oid numeric boolean"), ("<>", "text bigint oid boolean"), ("*<>", "record"))


@pytest.mark.parametrize("choice", ["", "continue"])
def test_the_search_path_of_whoever_writes_leads_to_nothing_of_theirs(audit, execute, mallory, choice):
    mallory("reset role")
    mallory(TRAPS)
    for name, kinds in OPERATORS:
        for kind in kinds.split():
            mallory(f"create operator trap.{name} (leftarg = {kind}, rightarg = {kind}, function = trap.eq)")
    mallory("create type public.mood as enum ('sad', 'glad')")
    mallory("create table t (id bigint primary key, v numeric, w public.mood); grant all on t to mallory")
    mallory("create table u (id text primary key, v text); grant all on u to mallory")
    for table in "tu":
        audit.watch(table, query_text=True, on_failure=choice or "fail")
    mallory("set role mallory; set search_path = trap, pg_catalog, public")
    mallory("insert into public.t values (1, 1.0, 'sad'), (2, 2, null); update public.t set v = 7")
    mallory("update public.t set w = 'glad' where id operator(pg_catalog.=) 1")
    mallory("update public.t set id = 3 where id operator(pg_catalog.=) 1; update public.t set id = id;")
    mallory(
        "insert into public.u values ('a', 'b'); update public.u set v = 'c'; update public.u set id = 'd'"
    )
    mallory("reset role; alter table public.t add z pg_catalog.text default 'z'; set role mallory")
    mallory("update public.t set z = 'y'; delete from public.t; truncate public.u")
    mallory("reset search_path; reset role")
    assert execute("select * from trap.caught").fetchall() == []
    assert letters(audit) == "I2 U2 U1 U1 U2 I1 U1 U1 A0 U2 D2 T0"
    execute("drop schema trap cascade")
