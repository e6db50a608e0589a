"""Cancelling a statement and ending a session: only the session that was meant, never our own."""

import threading
import time
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from dbadmin import runner, runs
from dbadmin.connections import connect
from dbadmin.models import Run
from dbadmin.operations import Refused
from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def sleeper(postgres, target):
    """A session that sleeps in a statement; its outcome is in .ended."""
    connection = postgres.connect(target.database, application_name="shop-web")
    connection.ended = []

    def sleep():
        try:
            connection.execute("select pg_sleep(30)")
        except psycopg.Error as error:
            connection.ended.append(type(error).__name__)

    thread = threading.Thread(target=sleep)
    thread.start()
    while (
        target.value("select state from pg_stat_activity where pid = %s", [connection.info.backend_pid])
        != "active"
    ):
        time.sleep(0.05)
    connection.join = thread.join
    yield connection
    target.rows("select pg_terminate_backend(%s)", [connection.info.backend_pid])
    thread.join()
    connection.close()


def test_cancel_ends_the_statement_and_says_what_it_was(sleeper, server):
    pid = sleeper.info.backend_pid
    run = carry_out(operation("cancel_backend", server, pid=pid))
    sleeper.join()
    assert run.status == "succeeded", run.message
    assert run.message in {
        f"Cancelled session {pid}, which was active for {n} s: select pg_sleep(30)." for n in range(20)
    }
    assert sleeper.ended == ["QueryCanceled"]
    assert sleeper.execute("select 1").fetchone() == (1,)
    assert run.plan[0].startswith(
        f"-- Session {pid}: postgres in {sleeper.info.dbname} from 127.0.0.1 (shop-web)\n"
    )


def test_terminate_ends_the_session(sleeper, server):
    pid = sleeper.info.backend_pid
    run = carry_out(operation("terminate_backend", server, pid=pid))
    sleeper.join()
    assert run.status == "succeeded", run.message
    assert sleeper.ended == ["AdminShutdown"]
    assert run.message.startswith(f"Ended session {pid}, which was active for ")
    assert not run.message.endswith("signals.")


def test_another_session_of_the_same_process_id_is_left_alone(sleeper, server):
    wanted = operation(
        "terminate_backend", server, pid=sleeper.info.backend_pid, backend_start="2020-01-01 00:00:00+00:00"
    )
    with pytest.raises(Refused, match=r"^Session \d+ has ended\. Nothing is left to do\.$"):
        wanted.plan()


def test_a_session_that_began_after_the_page_was_made_is_left_alone(sleeper, server):
    seen_at = (timezone.now() - timedelta(minutes=5)).isoformat()
    pid = sleeper.info.backend_pid
    for name in ("cancel_backend", "terminate_backend"):
        with pytest.raises(Refused) as told:
            operation(name, server, pid=pid, seen_at=seen_at).plan()
        assert str(told.value) == (
            f"The session that you saw has ended; process id {pid} belongs to another one now. Nothing was done."
        )
    assert operation("cancel_backend", server, pid=pid, seen_at=timezone.now().isoformat()).plan()


def test_a_statement_that_began_after_the_page_was_made_is_not_cancelled(sleeper, server, target):
    pid, seen_at = sleeper.info.backend_pid, timezone.now().isoformat()
    target.rows("select pg_cancel_backend(%s)", [pid])
    sleeper.join()
    sleeper.execute("select 1")
    with pytest.raises(Refused) as told:
        operation("cancel_backend", server, pid=pid, seen_at=seen_at).plan()
    assert str(told.value) == (
        f"The statement that you saw has ended; session {pid} has begun another one since. Nothing was done."
    )
    assert operation("terminate_backend", server, pid=pid, seen_at=seen_at).plan()


def test_a_moment_that_is_none_is_told_at_its_field(server, client_as):
    answer = client_as("operator").post(
        f"/servers/{server}/do/cancel_backend/?pid=5&seen_at=noon", {"start": "1"}
    )
    assert (answer.status_code, "is no moment with a time zone." in answer.content.decode()) == (422, True)


def test_a_session_that_ended_since_the_preview_is_said_so(sleeper, server, target):
    pid = sleeper.info.backend_pid
    run = runs.start(operation("cancel_backend", server, pid=pid), None, Run.Door.COMMAND)
    target.rows("select pg_terminate_backend(%s)", [pid])
    sleeper.join()
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "refused"
    assert run.message == f"Session {pid} has ended. Nothing is left to do."


def test_our_own_sessions_are_refused(server):
    with connect(server) as ours:
        pid = ours.info.backend_pid
        with pytest.raises(Refused) as refusal:
            operation("terminate_backend", server, pid=pid).plan()
    assert str(refusal.value) == f"Session {pid} is dbadmin's own (dbadmin). Cancel its run instead."


def test_the_servers_own_processes_are_refused(server, target):
    pid = target.value("select pid from pg_stat_activity where backend_type = 'checkpointer'")
    with pytest.raises(Refused) as refusal:
        operation("terminate_backend", server, pid=pid).plan()
    assert str(refusal.value) == f"Session {pid} is the server's own checkpointer; PostgreSQL needs it."
