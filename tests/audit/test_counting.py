"""Changes that passed capture by, in whatever way, show in PostgreSQL's own counters."""

import datetime as dt
import re
from dataclasses import replace

import psycopg
import pytest
from django.db.models import F

from audit.counting import Counters, Look, State, Told, compare, sentence
from audit.gaps import find_gaps
from audit.models import CountedTable
from dbadmin.connections import Session
from dbadmin.probes import PROBES
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.runtime import until

pytestmark = pytest.mark.servers

WITHOUT_TRIGGERS = "set session_replication_role = replica; {}; set session_replication_role = origin"


@pytest.fixture
def watched(audit, execute):
    """Once looked at; replica triggers are off, as where nothing is captured of such a session.

    An analyze between two looks makes what is told less certain: the server's own may come at any moment.
    """
    execute("create table items (id int primary key, name text) with (autovacuum_enabled = false)")
    audit.watch("items")
    execute("alter table items disable trigger dbadmin_audit_replica")
    execute("insert into items select n, 'a' from generate_series(1, 100) n")
    return audit


@pytest.fixture
def compared(watched, server, target, execute):
    """Do something, then look again as a schedule would; what is told of the table.

    now: rows inserted, updated and deleted in all, as PostgreSQL counts them.
    """

    def do(*statements, now):
        for statement in statements:
            execute(statement)
        settle(target, now)
        return look(server)

    settle(target, [100, 0, 0])
    assert look(server) == ("unknown", 0, "it is new")
    return do


def counted(target):
    query = (
        "select pg_stat_clear_snapshot()::text, pg_stat_get_tuples_inserted(c),"
        " pg_stat_get_tuples_updated(c), pg_stat_get_tuples_deleted(c) from cast('items'::regclass as oid) c"
    )
    return list(target.rows(query)[0][1:])


def settle(target, expected):
    """Until the session has handed over what it counted."""
    if target.connection.info.server_version >= 150000:
        target.rows("select pg_stat_force_next_flush()")
    until(lambda: counted(target) == expected)


def look(server):
    run = carry_out(operation("seal_log", server))
    assert run.status == "succeeded", run.message
    kept = CountedTable.objects.get(server=server)
    return kept.state, kept.rows, kept.why


def later():
    """The suspicion is of a minute ago."""
    CountedTable.objects.update(suspected_at=F("suspected_at") - dt.timedelta(seconds=61))


def test_what_is_captured_is_complete(compared):
    assert compared("insert into items values (101, 'b')", now=[101, 0, 0]) == ("complete", 0, "")
    assert compared("update items set name = 'c'", now=[101, 101, 0]) == ("complete", 0, "")
    assert compared("delete from items where id < 11", now=[101, 101, 10]) == ("complete", 0, "")


def test_deletes_without_triggers_are_a_line_of_the_log_and_an_alert(compared, server, target, postgres):
    passed = WITHOUT_TRIGGERS.format("delete from items where id < 8")
    assert compared(passed, now=[100, 0, 7]) == ("missing", 7, "")
    assert target.value("select count(*) from dbadmin_audit.gap") == 0
    later()
    run = carry_out(operation("seal_log", server))
    (text,) = [row.text for row in target.rows("select text from dbadmin_audit.gap where kind = 'uncounted'")]
    assert f"Recorded a gap. {text}." in log_of(run)
    assert text.startswith("Between ")
    assert text.partition(" UTC ")[2] == (
        "PostgreSQL counted 0 rows inserted, 0 updated and 7 deleted, and 0 row images in the log:"
        " at least 7 changes are not recorded"
    )
    with postgres.connect(target.database, "dbadmin_monitor") as connection:
        reading = PROBES["audit_gaps"].read(Session(connection))
    assert ("items", text, 1) in [(row.table, row.problem, row.missing) for row in reading.rows]
    assert look(server) == ("complete", 0, "")
    assert [gap.problem for gap in find_gaps(target.rows)].count(text) == 1


def test_what_is_captured_meanwhile_hides_nothing(compared):
    assert compared(
        WITHOUT_TRIGGERS.format("insert into items select n, 'x' from generate_series(201, 300) n"),
        "insert into items select n, 'x' from generate_series(301, 900) n",
        now=[800, 0, 0],
    ) == ("missing", 100, "")


def test_rolled_back_rows_are_none(compared):
    undone = "begin; insert into items values (500, 'x'); rollback"
    assert compared(undone, now=[101, 0, 0]) == ("complete", 0, "")


def test_statements_that_failed_are_none(compared):
    """They fire no trigger, and are counted all the same."""
    failing = "insert into items select n, 'x' from generate_series(300, 1, -1) n"
    block = "do $$ begin {}; exception when unique_violation then null; end $$"
    assert compared(block.format(failing), now=[301, 0, 0]) == ("complete", 0, "")


def test_after_an_analyze_failed_statements_leave_it_open(compared, execute):
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute("insert into items values (500, 'x'), (1, 'x')")
    why = "statements that failed may have written them"
    assert compared("analyze items", now=[102, 0, 0]) == ("unknown", 2, why)


def test_after_an_analyze_many_rows_are_told_with_what_they_may_be(compared):
    passed = WITHOUT_TRIGGERS.format("insert into items select n, 'x' from generate_series(201, 400) n")
    why = ", unless statements that failed within savepoints wrote them"
    assert compared(passed, "analyze items", now=[300, 0, 0]) == ("missing", 200, why)


def test_updates_that_change_nothing_leave_it_open(compared):
    why = "updates that changed nothing or were rolled back are not recorded"
    assert compared("update items set name = name where id = 1", now=[100, 1, 0]) == ("unknown", 1, why)


def test_updates_without_triggers_are_told_where_all_are_recorded(compared, audit, server):
    audit.watch("items", skip_unchanged=False)
    audit.session.rows("alter table items disable trigger dbadmin_audit_replica")
    look(server)
    passed = WITHOUT_TRIGGERS.format("update items set name = 'z' where id <= 5")
    assert compared("update items set name = name where id = 9", passed, now=[100, 6, 0]) == (
        "missing",
        5,
        "",
    )


def test_counters_that_began_anew_tell_nothing(compared):
    passed = WITHOUT_TRIGGERS.format("insert into items values (500, 'x')")
    assert compared("select pg_stat_reset()", passed, now=[1, 0, 0]) == (
        "unknown",
        0,
        "the counters began anew",
    )


MOMENT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
BEFORE = Look(MOMENT, "1", 0, 0, {"1": Counters(10, 0, 0, 10, 0)}, {"2": Counters(10, 0, 0, 10, 0)})


def after(table, log, **facts):
    return replace(BEFORE, at=MOMENT + dt.timedelta(hours=1), table=table, log=log, **facts)


def test_a_server_that_crashed_or_was_replaced_tells_nothing():
    assert compare(BEFORE, after({"1": Counters(2, 0, 0, 2, 0)}, BEFORE.log), True) == Told(
        State.UNKNOWN, 0, "the counters began anew"
    )
    assert compare(BEFORE, after(BEFORE.table, BEFORE.log, epoch="2"), True).why == "the counters began anew"


def test_a_partition_that_came_with_rows_is_counted_from_then_on():
    attached = BEFORE.table | {"3": Counters(1000, 0, 0, 1000, 0)}
    assert compare(BEFORE, after(attached, BEFORE.log), True) == Told(State.COMPLETE)


def test_a_month_of_the_log_that_came_counts_whole():
    table, log = {"1": Counters(15, 0, 0, 15, 0)}, BEFORE.log | {"4": Counters(5, 0, 0, 5, 0)}
    assert compare(BEFORE, after(table, log), True) == Told(State.COMPLETE)


def test_a_few_lost_races_of_on_conflict_are_no_gap():
    table, log = {"1": Counters(1012, 0, 2, 1014, 0)}, {"2": Counters(1010, 0, 0, 1010, 0)}
    assert compare(BEFORE, after(table, log), True) == Told(
        State.UNKNOWN, 4, "inserts that lost a race of ON CONFLICT may have written them"
    )


def test_one_change_is_told_as_one():
    now = after({"1": Counters(11, 0, 0, 11, 0)}, BEFORE.log)
    assert sentence(BEFORE, now, compare(BEFORE, now, True)) == (
        "Between 2026-03-01 12:00 and 2026-03-01 13:00 UTC PostgreSQL counted 1 row inserted, 0 updated and"
        " 0 deleted, and 0 row images in the log: at least 1 change is not recorded"
    )


def test_capture_shows_what_was_found_last(compared, client_as):
    compared(WITHOUT_TRIGGERS.format("delete from items where id < 8"), now=[100, 0, 7])
    page = client_as("auditor").get("/servers/shop/audit/capture/").content.decode()
    text = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert "not recorded 7 " in text
    assert "Counters compared at " in text
    assert "unknown" not in text
