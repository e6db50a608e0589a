"""Triggers that were off for a while are told, also when they are on again and nobody looked meanwhile."""

from types import SimpleNamespace

import pytest

from audit.gaps import find_gaps
from audit.gaps import switched as gap_text
from dbadmin.connections import Session
from dbadmin.probes import PROBES
from tests.carrying_out import carry_out, log_of, operation

pytestmark = pytest.mark.servers


@pytest.fixture
def watched(audit, execute):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    execute("insert into items values (1, 'a')")
    return audit


@pytest.fixture
def switched(watched, execute, target):
    """One transaction, so that no look from outside ever sees a disabled trigger. What is to be said of it."""
    with target.connection.transaction():
        execute("alter table items disable trigger all")
        execute("delete from items")
        execute("alter table items enable trigger all")
        transaction = target.value("select pg_current_xact_id()::xid::text")
    return said(target, transaction)


def gaps(audit):
    return [(gap.state, gap.table, gap.problem, gap.remedy) for gap in find_gaps(audit.session.rows)]


def said(target, transaction, what="4 triggers"):
    at = ""
    if target.value("select current_setting('track_commit_timestamp')::bool"):
        moment = "pg_xact_commit_timestamp(%s::xid) at time zone 'UTC'"
        query = f"select to_char({moment}, ' (YYYY-MM-DD HH24:MI \"UTC)\"')"
        at = target.value(query, [transaction])
    return (
        f"Transaction {transaction}{at} switched {what} of items:"
        " what was written before it may not be recorded"
    )


#: ENABLE TRIGGER ALL makes usual ones of those that are for replicated changes.
USUAL_NOW = (
    "warning",
    "items",
    (
        "Triggers for replicated changes are off: what logical replication or"
        " session_replication_role = replica writes is not recorded"
    ),
    (
        "ALTER TABLE items ENABLE REPLICA TRIGGER dbadmin_audit_replica;"
        " ALTER TABLE items ENABLE REPLICA TRIGGER dbadmin_audit_replica_truncate;"
    ),
)


def test_triggers_that_were_off_and_are_on_again_are_told(watched, switched):
    assert gaps(watched) == [("critical", "items", switched, "seal_log"), USUAL_NOW]


def test_monitoring_alone_sees_it(watched, switched, postgres, target):
    with postgres.connect(target.database, "dbadmin_monitor") as connection:
        reading = PROBES["audit_gaps"].read(Session(connection))
    gap, _ = reading.rows
    assert (gap.problem, PROBES["audit_gaps"].state_of(gap)) == (switched, "critical")


def test_one_trigger_is_told_as_well(watched, execute, target):
    execute("alter table items disable trigger dbadmin_audit_delete")
    with target.connection.transaction():
        execute("alter table items enable always trigger dbadmin_audit_delete")
        transaction = target.value("select pg_current_xact_id()::xid::text")
    assert gaps(watched) == [("critical", "items", said(target, transaction, "a trigger"), "seal_log")]


def test_a_switch_is_a_line_of_the_log_that_a_later_one_adds_to(watched, switched, execute, target, server):
    run = carry_out(operation("seal_log", server))
    switched = switched.replace(" of items", " of public.items")
    assert f"Recorded a gap. {switched}." in log_of(run)
    assert target.rows("select kind, text from dbadmin_audit.gap") == [("switched", switched)]
    assert gaps(watched) == [USUAL_NOW, ("critical", "items", switched, "")]
    carry_out(operation("seal_log", server))
    assert target.value("select count(*) from dbadmin_audit.gap") == 1
    execute("alter table items disable trigger all")
    execute("alter table items enable trigger all")
    carry_out(operation("seal_log", server))
    assert target.value("select count(*) from dbadmin_audit.gap") == 2


def test_what_a_table_lives_through_otherwise_is_no_switch(watched, execute):
    execute("alter table items add note text, alter name type varchar(20)")
    execute("alter table items rename to things")
    execute(
        "alter table things enable trigger all; create index named on things (name); cluster things using named"
    )
    execute("begin; alter table things disable trigger all; rollback")
    for catalogue in ("pg_trigger", "pg_depend"):
        execute(f"vacuum (full, freeze) pg_catalog.{catalogue}")
    assert [gap for gap in gaps(watched) if "switched" in gap[2]] == []


def test_sessions_that_begin_with_triggers_off_are_told_where_an_older_capture_has_none_for_them(
    watched, execute, target
):
    execute(f'alter database "{target.database}" set session_replication_role = replica')
    assert gaps(watched) == []
    execute(
        "drop trigger dbadmin_audit_replica on items; drop trigger dbadmin_audit_replica_truncate on items"
    )
    execute("drop function dbadmin_audit.capture_row_1")
    text = "All sessions in this database begin with session_replication_role = replica: their changes are not recorded"
    remedy = f"ALTER DATABASE {target.database} RESET session_replication_role;"
    assert ("critical", "", text, remedy) in gaps(watched)
    execute(remedy)
    assert text not in str(gaps(watched))


def test_a_server_that_keeps_no_moments_is_told_the_transaction_alone():
    row = SimpleNamespace(at=None, triggers=2, transaction="734", member="items")
    assert gap_text(row) == (
        "Transaction 734 switched 2 triggers of items: what was written before it may not be recorded"
    )


#: What stands in the place of a trigger of ours, under its name and switched on: {} is the relation.
OTHERS = {
    "for each statement execute function nothing()": "calls another function",
    "referencing old table as old_rows for each statement when (session_user <> 'evil')"
    " execute function dbadmin_audit.capture_{}()": "fires under a condition",
}


@pytest.mark.parametrize("instead", OTHERS, ids=OTHERS.values())
@pytest.mark.parametrize("relation", ["items", "parts_1"])
def test_a_trigger_that_is_not_as_it_was_made_is_told_and_mended(watched, execute, relation, instead):
    execute("create table parts (id int, name text) partition by range (id)")
    execute("create table parts_1 partition of parts for values from (0) to (1000)")
    watched.watch("parts")
    execute("create function nothing() returns trigger language plpgsql as 'begin return null; end'")
    table, number = ("items", 1) if relation == "items" else ("parts", 2)
    execute(f"drop trigger dbadmin_audit_delete on {relation}")
    execute(f"create trigger dbadmin_audit_delete after delete on {relation} {instead.format(number)}")
    where = "" if relation == "items" else " of its partition parts_1"
    text = f"1 of 4 triggers{where} are not as they were made: changes are not recorded"
    assert gaps(watched) == [("critical", table, text, "watch_table")]
    watched.watch(table)
    assert gaps(watched) == []
    execute(f"insert into {relation} values (7)")
    execute(f"delete from {relation} where id = 7")
    assert watched.told(table=table)[-1] == ("delete", {"id": "7", "name": None}, None)


def test_each_missing_trigger_is_made_again(watched, execute):
    for trigger in ("update", "truncate", "replica"):
        execute(f"drop trigger dbadmin_audit_{trigger} on items")
        (gap,) = gaps(watched)
        assert gap[3] == "watch_table"
        watched.watch("items")
        assert gaps(watched) == []


def test_a_table_that_is_said_to_have_no_triggers_is_told_and_mended(watched, execute):
    """A superuser's edit of the catalog: the triggers stand there, and none fires."""
    execute(
        "set allow_system_table_mods = on; update pg_class set relhastriggers = false where relname = 'items'"
    )
    text = "4 of 4 triggers are not as they were made: changes are not recorded"
    assert gaps(watched)[0] == ("critical", "items", text, "watch_table")
    watched.watch("items")
    assert gaps(watched) == []
    execute("delete from items")
    assert watched.told()[-1][0] == "delete"


def test_a_table_that_inherits_from_a_watched_one_is_told_until_it_is_watched_too(watched, execute):
    execute("create table more (note text) inherits (items); create table most () inherits (more)")
    text = (
        "It inherits from public.items, which is watched, and is not: what is written to it directly is not recorded,"
        " though that table shows its rows"
    )
    assert gaps(watched) == [("warning", name, text, "watch_table") for name in ("more", "most")]
    watched.watch("more")
    watched.watch("most")
    assert gaps(watched) == []
    execute("insert into more values (5, 'direct', 'x'); update items set name = 'all'")
    assert [(kind, new["id"]) for kind, _, new in watched.told()[1:]] == [
        ("insert", "5"), ("update", "1"), ("update", "5"),
    ]  # fmt: skip
