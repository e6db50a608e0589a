"""Seals go on after a failover, and what was lost with the old primary or by a restore to the past is told as such."""

import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from audit.models import Seal
from audit.seal_copies import line_of
from audit.seal_views import SCRIPT
from dbadmin.connections import Session
from tests.audit.conftest import Watcher
from tests.carrying_out import carry_out, operation
from tests.fixtures.servers import server_row
from tests.monitoring.test_probe_replication import standby_of, until

pytestmark = pytest.mark.servers


@pytest.fixture
def primary(new_postgres, db):
    """A server with a watched table, three changes of it sealed."""
    made = new_postgres()
    with looked_after(made) as audit:
        audit.session.rows("create table items (id int primary key, name text)")
        audit.watch("items")
        change(audit, 1, 3)
        assert sealed(audit) == "Sealed 3 statements with 3 row images in 1 seal."
        audit.session.connection.execute("checkpoint")
    return made


@pytest.fixture
def standby(primary):
    made = standby_of(primary)
    yield made
    made.stop()
    shutil.rmtree(made.data)


@pytest.fixture
def shop(primary):
    return server_row("shop", primary)


@contextmanager
def looked_after(postgres):
    """The server row leads to this one now."""
    from dbadmin.models import Server

    shop = Server.objects.filter(name="shop").first() or server_row("shop", postgres)
    shop.seal_dsn("operate_dsn", postgres.dsn_for("postgres", "dbadmin_operate"))
    shop.save()
    with postgres.connect() as connection:
        yield Watcher(shop, Session(connection))


def change(audit, first, last):
    for number in range(first, last + 1):
        audit.session.connection.execute("insert into items values (%s, 'a')", [number])


def sealed(audit):
    run = carry_out(operation("seal_log", audit.server))
    assert run.status == "succeeded", run.message
    return next(line.text for line in run.lines.all() if line.text.startswith("Sealed "))


def verified(audit):
    run = carry_out(operation("verify_seals", audit.server))
    return run.status, run.message, [line.text for line in run.lines.all()]


def gone(number, new=()):
    what = "another one" if number in new else "gone"
    return f"Statement {number} is {what} since the server was put back to an earlier moment."


def found(audit):
    return [finding["what"] for finding in audit.server.seal_checks.first().findings]


def by_the_script(tmp_path, postgres):
    file = tmp_path / "witness.jsonl"
    file.write_text("".join(line_of(seal) for seal in Seal.objects.order_by("number")))
    command = [sys.executable, str(SCRIPT), str(file), postgres.dsn_for("postgres")]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


def promote(standby):
    with standby.connect() as connection:
        connection.execute("select pg_promote()")
        until(lambda: not connection.execute("select pg_is_in_recovery()").fetchone()[0])
        connection.execute("checkpoint")


def replayed(primary, standby):
    with primary.connect() as one, standby.connect() as other:
        lsn = one.execute("select pg_current_wal_insert_lsn()").fetchone()[0]
        until(lambda: other.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone()[0])


def test_seals_go_on_on_a_promoted_standby(primary, standby):
    with looked_after(primary) as audit:
        change(audit, 4, 5)
    replayed(primary, standby)
    primary.stop()
    promote(standby)
    with looked_after(standby) as audit:
        change(audit, 6, 7)
        assert sealed(audit) == "Sealed 4 statements with 4 row images in 1 seal."
        assert list(Seal.objects.values_list("number", "timeline", "statements")) == [(2, 2, 4), (1, 1, 3)]
        status, _, lines = verified(audit)
        assert (status, lines[-1]) == ("succeeded", "7 statements with 7 row images are as they were sealed.")


def test_what_a_promoted_standby_never_got_is_lost_and_not_tampered_with(primary, standby):
    standby.stop()
    with looked_after(primary) as audit:
        change(audit, 4, 5)
        lost = [row.id for row in audit.statements()][-2:]
        assert sealed(audit) == "Sealed 2 statements with 2 row images in 1 seal."
    primary.stop()
    standby.start()
    promote(standby)
    with looked_after(standby) as audit:
        status, message, lines = verified(audit)
        said = [
            f"Statement {number} is gone since the server was put back to an earlier moment."
            for number in lost
        ]
        assert status == "refused"
        assert message == f"The audit log differs from its seals in 2 places. The first: {said[0]}"
        assert [line for line in lines if line.startswith("Statement ")] == said


def test_what_is_written_after_a_loss_is_sealed_and_an_alteration_of_it_named(primary, standby, tmp_path):
    """However much was lost: the new primary numbers transactions, and statements, that were numbered before."""
    standby.stop()
    with looked_after(primary) as audit:
        change(audit, 4, 60)
        lost = [row.id for row in audit.statements()][3:]
        sealed(audit)
    primary.stop()
    standby.start()
    promote(standby)
    with looked_after(standby) as audit:
        change(audit, 100, 109)
        new = [row.id for row in audit.statements()][3:]
        assert len(new) == 10
        assert sealed(audit) == "Sealed 10 statements with 10 row images in 1 seal."
        verified(audit)
        assert found(audit) == [gone(number, new) for number in lost]
        audit.session.connection.execute(
            "update dbadmin_audit.statement set session_role = 'nobody' where id = %s", [new[-1]]
        )
        verified(audit)
        altered = f"Statement {new[-1]} was altered: who, when, what or how many."
        assert found(audit) == [*(gone(number, new) for number in lost), altered]
        assert by_the_script(tmp_path, standby) == [
            *(gone(number, new) for number in lost),
            altered,
            f"3 seals, 70 statements: {len(lost) + 1} differences.",
        ]


def copied(source, target):
    """With its owner: PostgreSQL takes no other."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def test_a_copy_of_the_files_that_was_put_back_is_told_as_such(primary, tmp_path):
    """It begins no new timeline: its counter of transactions tells."""
    primary.stop()
    kept = tmp_path / "kept"
    copied(primary.data, kept)
    primary.start()
    with looked_after(primary) as audit:
        change(audit, 4, 6)
        lost = [row.id for row in audit.statements()][3:]
        sealed(audit)
        assert verified(audit)[0] == "succeeded"
    primary.stop()
    shutil.rmtree(primary.data)
    copied(kept, primary.data)
    primary.start()
    with looked_after(primary) as audit:
        verified(audit)
        assert found(audit) == [gone(number) for number in lost]
        said = by_the_script(tmp_path, primary)
        assert said == [*(gone(number) for number in lost), "2 seals, 6 statements: 3 differences."]
