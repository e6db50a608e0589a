"""What fires no usual trigger is recorded as well: logical replication, and sessions that are set like it."""

from contextlib import contextmanager

import psycopg
import pytest

from audit.gaps import find_gaps
from audit.operations.unwatch_table import UnwatchTable
from dbadmin.connections import Session
from tests.audit.conftest import Watcher
from tests.fixtures.runtime import until
from tests.fixtures.servers import server_row

pytestmark = pytest.mark.servers


@pytest.fixture
def as_replica(execute):
    @contextmanager
    def session():
        execute("set session_replication_role = replica")
        try:
            yield
        finally:
            execute("reset session_replication_role")

    return session


def operations(audit):
    """Without those of definitions."""
    return "".join(each.operation for each in audit.statements() if each.operation != "A")


def gaps(audit):
    return [(gap.state, gap.table, gap.problem, gap.remedy) for gap in find_gaps(audit.session.rows)]


def test_a_session_without_usual_triggers_is_recorded_row_by_row(audit, execute, as_replica):
    execute("create table items (id int primary key, name text, price numeric)")
    audit.watch("items")
    with as_replica():
        execute("insert into items select g, 'n' || g, g from generate_series(1, 2) g")
        execute("update items set price = price + 1 where id = 2")
        execute("update items set price = price")
        execute("update items set id = 3 where id = 2")
        execute("delete from items where id = 1")
        execute("truncate items")
    assert audit.told() == [
        ("insert", None, {"id": "1", "name": "n1", "price": "1"}),
        ("insert", None, {"id": "2", "name": "n2", "price": "2"}),
        ("update", {"id": "2", "name": "n2", "price": "2"}, {"id": "2", "name": "n2", "price": "3"}),
        ("update", {"id": "2", "name": "n2", "price": "3"}, {"id": "3", "name": "n2", "price": "3"}),
        ("delete", {"id": "1", "name": "n1", "price": "1"}, None),
    ]
    assert operations(audit) == "IIUUDT"
    assert gaps(audit) == []


def test_usual_sessions_are_recorded_once_whatever_was_switched_on(audit, execute, as_replica):
    execute("create table items (id int primary key, name text)")
    audit.watch("items")
    for word in ("", " always"):
        names = ("insert", "update", "delete", "truncate", "replica", "replica_truncate")
        for name in names:
            execute(f"alter table items enable{word} trigger dbadmin_audit_{name}")
        execute("insert into items values (1, 'a'); truncate items")
    assert operations(audit) == "IT" * 2
    with as_replica():
        execute("insert into items values (1, 'a'); truncate items")
    assert operations(audit) == "IT" * 3


def test_partitions_and_those_of_later_too(audit, execute, as_replica):
    execute("""
        create table events (id int, at date, body text) partition by range (at);
        create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01')
            partition by list (id);
        create table events_1_rest partition of events_1 default;
    """)
    audit.watch("events")
    execute("create table events_2 partition of events for values from ('2026-02-01') to ('2026-03-01')")
    with as_replica():
        execute("insert into events values (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b')")
        execute("update events set at = '2026-02-07' where id = 1")
        execute("delete from events_2 where id = 2")
    rows = [(kind, (old or new)["id"], (new or old)["at"]) for kind, old, new in audit.told()]
    assert rows == [
        ("insert", "1", "2026-01-05"),
        ("insert", "2", "2026-02-05"),
        ("delete", "1", "2026-01-05"),
        ("insert", "1", "2026-02-07"),
        ("delete", "2", "2026-02-05"),
    ]
    assert gaps(audit) == []


def test_rules_hold_and_altered_tables_are_kept_whole(audit, execute, as_replica):
    execute("create type mood as enum ('sad', 'glad')")
    execute("create table users (id int primary key, password text, email text, mood mood)")
    audit.watch("users", excluded="password", masked="email")
    execute("alter table users add born date, drop column mood")
    with as_replica():
        execute("insert into users values (1, 'secret', 'a@b.example', '2000-01-01')")
        execute("update users set email = 'c@b.example'")
        execute("delete from users")
    told = audit.told()
    assert [kind for kind, _, _ in told] == ["insert", "update", "delete"]
    assert "secret" not in str(told)
    assert "b.example" not in str(told)
    assert (told[0][2]["born"], told[1][1]["id"], told[2][1]["born"]) == ("2000-01-01", "1", "2000-01-01")


def test_missing_and_switched_off_triggers_for_it_are_told_with_what_mends_them(audit, execute):
    execute("create table items (id int primary key)")
    audit.watch("items")
    text = "what logical replication or session_replication_role = replica writes is not recorded"
    execute("alter table items disable trigger dbadmin_audit_replica")
    mend = "ALTER TABLE items ENABLE REPLICA TRIGGER dbadmin_audit_replica;"
    off = ("warning", "items", f"Triggers for replicated changes are off: {text}", mend)
    assert gaps(audit) == [off]
    execute(mend)
    assert [" switched a trigger of items" in gap[2] for gap in gaps(audit)] == [True]
    execute(
        "drop trigger dbadmin_audit_replica on items; drop trigger dbadmin_audit_replica_truncate on items"
    )
    missing = ("warning", "items", f"Triggers for replicated changes are missing: {text}", "watch_table")
    assert gaps(audit) == [missing]
    audit.watch("items")
    assert gaps(audit) == []


def test_what_logical_replication_applies_is_recorded(new_postgres, db):
    source, sink = new_postgres(wal_level="logical"), new_postgres(wal_level="logical")
    table = "create table items (id int primary key, name text)"
    with source.connect() as there, sink.connect() as here:
        audit = Watcher(server_row("sink", sink, "postgres"), Session(here))
        for each in (there, here):
            each.execute(table)
        audit.watch("items")
        there.execute("create publication all_of_it for all tables")
        there.execute("insert into items values (1, 'copied')")
        here.execute(f"create subscription feed connection '{source.dsn}' publication all_of_it")
        until(audit.told)
        there.execute("insert into items values (2, 'b')")
        there.execute("update items set name = 'c' where id = 2")
        there.execute("delete from items where id = 1")
        there.execute("truncate items")
        until(lambda: operations(audit).endswith("T"))
        assert audit.told() == [
            ("insert", None, {"id": "1", "name": "copied"}),
            ("insert", None, {"id": "2", "name": "b"}),
            ("update", {"id": "2", "name": "b"}, {"id": "2", "name": "c"}),
            ("delete", {"id": "1", "name": "copied"}, None),
        ]
        assert gaps(audit) == []
        here.execute("alter table items disable trigger dbadmin_audit_replica")
        assert [gap[0] for gap in gaps(audit)] == ["critical"]
        with pytest.raises(psycopg.errors.Error):
            here.execute("select dbadmin_audit.capture_row_1()")
        here.execute("drop subscription feed")


def test_nothing_stays_at_a_table_that_is_not_watched_any_more(audit, execute, as_replica):
    execute("create table items (id int primary key)")
    audit.watch("items")
    audit.run(UnwatchTable(audit.server, audit.params("items")).plan())
    ours = "select count(*) from {} where {} like '{}'"
    assert execute(ours.format("pg_trigger", "tgname", "dbadmin\\_audit\\_%")).fetchone() == (0,)
    assert execute(ours.format("pg_proc", "proname", "capture\\_%")).fetchone() == (0,)
    with as_replica():
        execute("insert into items values (1)")
    assert audit.told() == []
