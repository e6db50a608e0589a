"""What an older version installed is read, goes on recording, and is upgraded under load without a lost change."""

import threading
from pathlib import Path

import psycopg
import pytest

from audit import changes
from audit.capture import VERSION
from audit.gaps import find_gaps
from audit.operations.upgrade_capture import UpgradeCapture
from audit.tables import describe
from dbadmin.operations import Refused
from tests.carrying_out import carry_out, operation
from tests.fixtures.runtime import until

pytestmark = pytest.mark.servers

TABLES = """
create type mood as enum ('sad', 'glad');
create table users (id int primary key, name text, mood mood);
create table items (id int primary key, name text)
"""
OLD = "The capture functions are of an older version of dbadmin"


@pytest.fixture
def old(audit, execute):
    """Two tables that version 1 watches."""
    execute(TABLES)
    script = (Path(__file__).parent / "capture_1.sql").read_text()
    for name in ("users", "items"):
        table = describe(audit.session.rows, "public", name)
        script = script.replace(f"{{{name}}}", str(table.relid)).replace(
            f"{{{name} signature}}", table.signature
        )
    execute(script)
    return audit


def upgrade(audit):
    return UpgradeCapture(audit.server, {})


def versions(execute):
    return execute(
        "select distinct substring(prosrc from 'audit capture (.)') from pg_proc where proname like 'capture\\_%'"
    ).fetchall()


def test_what_the_older_version_recorded_stays_readable(old, execute):
    execute("insert into users values (1, 'a', 'sad'); update users set mood = 'glad'; delete from users")
    before = old.told()
    assert [kind for kind, _, _ in before] == ["insert", "update", "delete"]
    old.run(upgrade(old).plan())
    execute("insert into users values (2, 'b', 'sad'); update users set name = 'c'")
    row = {"id": "2", "name": "b", "mood": "sad"}
    assert old.told() == [*before, ("insert", None, row), ("update", row, row | {"name": "c"})]
    assert execute("select b2, c2 from dbadmin_audit.pairs_1").fetchall() == [("b", "c")]
    life = changes.life(old.session.rows, old.state, old.state.watched[1], "2")
    assert [change.kind for change in life] == ["update", "insert"]


def test_an_older_version_is_named_as_a_finding_until_it_is_upgraded(old, execute):
    assert [
        (gap.table, gap.problem, gap.remedy)
        for gap in find_gaps(old.session.rows)
        if gap.table in {"capture", "users", "items"}
    ] == [("capture", OLD, "upgrade_capture")]
    old.run(upgrade(old).plan())
    assert [gap for gap in find_gaps(old.session.rows) if gap.table in {"capture", "users", "items"}] == []
    assert versions(execute) == [(str(VERSION),)]
    with pytest.raises(Refused) as refusal:
        upgrade(old).plan()
    assert str(refusal.value) == f"Capture is of version {VERSION} already, for every watched table."


def test_watching_again_with_the_same_choices_upgrades_too(old, execute):
    old.watch("users")
    assert [table.name for table in old.state.active()] == ["users", "items"]
    assert sorted(versions(execute), key=str) == [(str(VERSION),), (None,)]


def test_the_log_of_a_newer_dbadmin_is_left_alone(old, execute):
    execute("comment on schema dbadmin_audit is 'dbadmin audit log, version 10'")
    with pytest.raises(Refused) as refusal:
        upgrade(old).plan()
    assert str(refusal.value) == (
        f"Capture here is of version 10, made by a newer dbadmin; this one knows {VERSION}. Upgrade dbadmin."
    )


def test_a_table_that_was_altered_gets_its_new_columns_in_the_upgrade(old, execute):
    execute("alter table items add more int; insert into items values (1, 'a', 7)")
    old.run(upgrade(old).plan())
    execute("insert into items values (2, 'b', 8)")
    last = old.statements(table="items")[-1]
    assert [column.name for column in old.state.shapes[last.shape_id].columns] == ["id", "name", "more"]
    assert [new["more"] for _, _, new in old.told(table="items")] == ["7", "8"]


def test_who_may_not_upgrade_it_is_told_the_rights_that_are_lacking(old, execute, postgres, target, server):
    """No superuser, as on managed servers."""
    execute(f"create role plain login password '{postgres.password}'; create role shop nologin")
    execute("alter table users owner to shop; alter table items owner to shop")
    server.seal_dsn("operate_dsn", postgres.dsn_for(target.database, "plain"))
    server.save()
    try:
        for lacking in ("GRANT dbadmin_audit TO plain;", "GRANT shop TO plain;"):
            with pytest.raises(Refused) as refusal:
                operation("upgrade_capture", server).plan()
            assert str(refusal.value) == (
                f"The role of the operate DSN may not do this yet. As an administrator run: {lacking}"
            )
            execute(lacking)
        (first, *_) = operation("upgrade_capture", server).plan()
        assert first.says == (
            "Renew the audit log's shared functions, but not event triggers and their functions: a superuser has to run"
            " this for them"
        )
        run = carry_out(operation("upgrade_capture", server))
        assert run.status == "succeeded", run.message
        execute("insert into users values (1, 'a', 'sad')")
        assert [kind for kind, _, _ in old.told()] == ["insert"]
    finally:
        execute("reassign owned by shop to current_user; drop owned by plain; drop role plain, shop")


def test_an_open_transaction_of_a_writer_holds_up_new_triggers_alone(old, execute, postgres, target):
    *steps, of_users, of_items, of_indexes = upgrade(old).plan()
    with postgres.connect(target.database) as writer:
        writer.execute("begin")
        writer.execute("insert into users values (1, 'a', 'sad')")
        execute("set lock_timeout = '50ms'")
        old.run(steps)
        for waits in (of_users, of_indexes):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                old.run([waits])
        old.run([of_items])
        writer.execute("insert into items values (1, 'a')")
        writer.execute("commit")
    (gap,) = [gap for gap in find_gaps(old.session.rows) if gap.table in {"capture", "users", "items"}]
    assert (gap.table, gap.remedy) == ("users", "watch_table")
    old.run(upgrade(old).plan())
    assert versions(execute) == [(str(VERSION),)]
    assert [new["id"] for _, _, new in old.told()] == ["1", "1"]


def test_nothing_is_lost_while_capture_is_upgraded_under_load(old, execute, postgres, target):
    stop, written, failed = threading.Event(), [], []

    def work(table, start):
        number = start
        try:
            with postgres.connect(target.database) as connection:
                while not stop.is_set():
                    number += 1
                    connection.execute(
                        f"insert into {table} (id, name) values (%s, 'x'), (%s, 'y')", [number, -number]
                    )
                    connection.execute(f"update {table} set name = 'z' where id = %s", [number])
                    connection.execute(f"delete from {table} where id = %s", [-number])
                    written.append(number)
        except Exception as error:
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=[table, place * 1_000_000])
        for place, table in enumerate(("users", "items", "users", "items"), start=1)
    ]
    [thread.start() for thread in threads]
    try:
        until(lambda: len(written) > 40 or failed, 60)
        old.run(upgrade(old).plan())
        reached = len(written)
        until(lambda: len(written) > reached + 40 or failed, 60)
    finally:
        stop.set()
        [thread.join() for thread in threads]
    assert failed == []
    told = old.told()
    for kind, times in (("insert", 2), ("update", 1), ("delete", 1)):
        assert len([1 for found, _, _ in told if found == kind]) == times * len(written)
    assert len({(old and old["id"], new and new["id"], kind) for kind, old, new in told}) == len(told)
    assert versions(execute) == [(str(VERSION),)]
