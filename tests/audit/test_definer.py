"""The owner of a watched table cannot get code of theirs run as the owner of the log."""

import pytest

from audit.operations.undo_changes import UndoChanges

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
