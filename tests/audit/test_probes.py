"""Monitoring sees which tables are watched and where the log has gaps, and nothing of what is in it."""

import re

import psycopg
import pytest

from audit import gaps
from dbadmin.connections import Session
from dbadmin.probes import PROBES
from dbadmin.reading_store import in_words
from dbadmin.row_buttons import buttons_of
from monitoring.judging import name_of

pytestmark = pytest.mark.servers


@pytest.fixture
def monitor(postgres, target):
    with postgres.connect(target.database, "dbadmin_monitor") as connection:
        yield Session(connection)


@pytest.mark.parametrize("name", ["audited_tables", "audit_gaps"])
def test_has_nothing_to_tell_where_nothing_is_watched(monitor, name):
    reading = PROBES[name].read(monitor)
    assert (reading.rows, reading.problem) == ([], None)


def test_tells_watched_tables_and_gaps_to_the_monitoring_role(audit, execute, monitor):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    (row,) = PROBES["audited_tables"].read(monitor).rows
    assert (row.schema, row.table, row.key, row.versions) == ("public", "items", "id", 1)
    execute("drop trigger dbadmin_audit_delete on items")
    (gap,) = PROBES["audit_gaps"].read(monitor).rows
    assert gap.problem == "1 of 4 triggers are missing: some changes are not recorded"
    assert PROBES["audit_gaps"].state_of(gap) == "critical"


def test_offers_the_operation_that_mends_each_gap_and_no_other(
    audit, execute, monitor, user_as, server, monkeypatch
):
    execute("create table items (id int primary key)")
    execute("create table gone (id int primary key)")
    audit.watch("items")
    audit.watch("gone")
    execute("alter table items add name text")
    for (name,) in execute("select quote_ident(evtname) from pg_event_trigger").fetchall():
        execute(f"alter event trigger {name} disable")
    execute("drop table gone")
    monkeypatch.setattr(gaps, "VERSION", gaps.VERSION + 1)
    reading = PROBES["audit_gaps"].read(monitor)
    offered = {
        row.table: re.findall(r"/do/(\w+)/", buttons_of(reading, row, user_as("admin"), server))
        for row in reading.rows
    }
    shared = {key: ["upgrade_capture"] for key in ("capture", "dbadmin_audit_ddl", "dbadmin_audit_drop")}
    assert offered == {"items": ["watch_table"], "gone": ["unwatch_table"], **shared}
    outdated = next(row for row in reading.rows if row.table == "capture")
    assert in_words(reading, outdated, "missing") == (
        "dbadmin_audit.capture: The capture functions are of an older version of dbadmin"
    )


@pytest.mark.parametrize("table", ["statement", "loose", "rows_1", "pairs_1", "secret"])
def test_shows_nothing_of_the_log_to_the_monitoring_role(audit, execute, monitor, table):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        monitor.rows(f"select * from dbadmin_audit.{table}")


def test_an_alert_names_the_table_and_then_what_is_wrong_with_it(audit, execute, monitor):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    execute("drop trigger dbadmin_audit_delete on items")
    reading = PROBES["audit_gaps"].read(monitor)
    assert name_of(reading, reading.rows[0]) == (
        "public.items: 1 of 4 triggers are missing: some changes are not recorded"
    )
    whole = reading.rows[0]._replace(schema="", table="", problem="All sessions begin with triggers off")
    assert name_of(reading, whole) == "All sessions begin with triggers off"
