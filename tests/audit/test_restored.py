"""A database that came with a restore, under its old name: what it lost is told, and capture is taken up again."""

import subprocess
from contextlib import contextmanager

import pytest

from audit.gaps import find_gaps
from audit.overview import capture_overview
from backups import logical
from dbadmin.connections import Session
from tests.audit.conftest import Watcher
from tests.audit.test_failover import change, found, gone, sealed, verified
from tests.carrying_out import carry_out, operation
from tests.fixtures.servers import server_row

pytestmark = pytest.mark.servers


@contextmanager
def looked_after(postgres, server):
    """Asked on a connection of its own: no session may stand in the way of a database's renaming."""
    with postgres.connect("shop") as connection:
        yield Watcher(server, Session(connection))


@pytest.fixture
def restored(new_postgres, db):
    """The server, and what to ask: three changes were sealed, dumped, two more were sealed, and the dump came back."""
    made = new_postgres()
    made.admin.execute("create database shop")
    server = server_row("shop", made, "shop")
    with looked_after(made, server) as audit:
        audit.session.rows("create table items (id int primary key, name text)")
        audit.watch("items", on_failure="continue", masked="name")
        change(audit, 1, 3)
        sealed(audit)
    tools = logical.choose(made.major)
    dump = [tools.path("pg_dump"), "-Fc", "--dbname", made.dsn_for("shop")]
    dumped = subprocess.run(dump, capture_output=True, check=True).stdout
    with looked_after(made, server) as audit:
        change(audit, 4, 5)
        sealed(audit)
    made.admin.execute("drop database shop with (force)")
    made.admin.execute("create database shop")
    load = [tools.path("pg_restore"), "--exit-on-error", "--dbname", made.dsn_for("shop")]
    subprocess.run(load, input=dumped, capture_output=True, check=True)
    with looked_after(made, server) as audit:
        change(audit, 40, 40)
        yield audit


def test_what_was_recorded_since_the_dump_is_told_as_lost_and_what_comes_after_is_sealed(restored):
    lost, new = [4, 5], [statement.id for statement in restored.statements()][3:]
    verified(restored)
    assert found(restored) == [gone(number) for number in lost]
    assert sealed(restored) == "Sealed 1 statement with 1 row image in 1 seal."
    verified(restored)
    assert found(restored) == [gone(number, new) for number in lost]
    restored.session.connection.execute(
        "update dbadmin_audit.statement set session_role = 'nobody' where id = 2"
    )
    verified(restored)
    assert found(restored)[0] == "Statement 2 was altered: who, when, what or how many."


def test_its_tables_are_watched_on_and_taken_up_all_at_once(restored, client_as):
    address = "/servers/shop/audit/capture/"
    text = client_as("admin").get(address).content.decode()
    assert text.count("Restored: upgrade its capture") == 1
    assert "dropped" not in text
    assert "/do/upgrade_capture/" in text
    told = (
        "1 watched table came with a restore: rows are kept whole, as JSON, until their capture is upgraded"
    )
    assert told in [gap.problem for gap in find_gaps(restored.session.rows)]
    run = carry_out(operation("upgrade_capture", restored.server))
    assert run.status == "succeeded", run.message
    change(restored, 41, 41)
    table = restored.state.table("public", "items")
    assert [statement.shape_id for statement in restored.statements()][-2:] == [0, table.shapes[-1].id]
    assert {watched.id for watched in restored.state.watched.values()} == {table.id}
    assert (table.choices["on_failure"], table.shapes[-1].columns[1].rule) == ("continue", "masked")
    assert told not in [gap.problem for gap in find_gaps(restored.session.rows)]
    assert "Restored:" not in client_as("admin").get(address).content.decode()


def test_a_former_partition_is_not_taken_for_its_parent_that_was_dropped(audit, execute):
    execute("create table visits (id int, day date) partition by range (day)")
    execute("create table visits_old partition of visits for values from ('2020-01-01') to ('2021-01-01')")
    audit.watch("visits")
    execute("alter table visits detach partition visits_old; drop table visits")
    execute("update dbadmin_audit.watched set until = null")  # as where no event trigger is allowed
    assert "The table was dropped; its log stays" in [gap.problem for gap in find_gaps(audit.session.rows)]
    assert [one.chosen for one in capture_overview(audit.session.rows, audit.state) if one.is_gone] == [""]
