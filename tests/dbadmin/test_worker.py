"""Workers are killed, stopped, and lose Redis; a run is done or says what happened, and nothing is left."""

import os
import signal
import time

import pytest

from dbadmin import queues, reconcile, runner, runs
from dbadmin.connections import connect
from dbadmin.control import direct_connection, try_lock
from dbadmin.models import Run, WorkerBeat
from dbadmin.templatetags.dbadmin import what_next
from dbadmin.watch import life_key, target_key
from tests.carrying_out import log_of, operation
from tests.fixtures.runtime import are_gone, descendants, queue_length, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("trial"), pytest.mark.slow]
LOST = "Its worker died. What it had begun is being removed; then start it again."


def start(server, kind, **params):
    return runs.start(operation("trial", server, kind=kind, **params), None, Run.Door.COMMAND)


def has(run, *statuses):
    """A condition for until(): the run is in one of these states."""

    def look():
        run.refresh_from_db()
        return run.status in statuses

    return look


def works(run, server):
    """The run has begun something that takes long: a statement, a program, a table that is left."""
    sessions = "select count(*) from pg_stat_activity where application_name = %s and state = 'active'"
    return lambda: (
        has(run, "running")()
        and run.step
        and (
            run.facts
            or server.value(sessions, [f"dbadmin run {run.pk}"])
            or run.params["kind"] in {"python", "counting"}
        )
    )


def locks_are_free(run):
    with direct_connection("test") as connection:
        return try_lock(connection, life_key(run.pk)) and try_lock(connection, target_key(run))


def test_a_run_goes_to_a_worker_and_its_page_can_say_which(server, worker):
    run = start(server, "quick")
    until(has(run, "succeeded"))
    assert run.worker == "w1"
    assert queue_length() == 0


@pytest.mark.parametrize(
    "kind", ["statement", "program", "family", "stubborn", "python", "counting", "leaving"]
)
def test_a_running_run_is_cancelled_within_seconds(server, worker, target, kind):
    run = start(server, kind)
    until(
        lambda: (
            has(run, "running")()
            and run.step
            and (kind not in {"program", "family", "stubborn"} or len(worker.descendants()) > 1)
        )
    )
    until(works(run, server) if kind in {"statement", "leaving"} else lambda: True)
    programs = worker.descendants()
    runs.cancel(run, None)
    took = until(has(run, "cancelled"), 15)
    assert took < (9 if kind == "stubborn" else 4)
    assert run.message == "Cancelled by the command line."
    assert run.cleaned_at
    until(lambda: are_gone(programs))
    assert target.value("select to_regclass('leftover')") is None
    until(
        lambda: (
            not target.value(
                "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%'"
                " and state = 'active' and pid <> pg_backend_pid()"
            )
        )
    )
    assert locks_are_free(run)


def test_progress_is_seen_while_it_works(server, worker):
    run = start(server, "counting")
    until(lambda: has(run, "running")() and (run.progress_done or 0) > 20)
    assert (run.progress_total, run.progress_unit) == (600, "rows")
    runs.cancel(run, None)
    until(has(run, "cancelled"))


@pytest.mark.parametrize("kind", ["statement", "family", "leaving"])
@pytest.mark.parametrize("victim", ["worker", "horse"])
def test_a_killed_process_is_noticed_and_nothing_is_left(server, target, process, worker, victim, kind):
    scheduler = process("scheduler", "--name", "s1")
    until(lambda: WorkerBeat.objects.filter(name="s1", leads=True).exists())
    if kind == "statement":
        time.sleep(10)  # a scheduler judges nobody in its first seconds, and here its speed is measured
    run = start(server, kind)
    until(lambda: has(run, "running")() and run.step)
    until(works(run, server) if kind != "family" else lambda: len(worker.descendants()) > 2)
    left = worker.descendants()
    os.kill(worker.pid if victim == "worker" else worker.horse, signal.SIGKILL)
    until(has(run, "lost"), 15 if kind == "statement" else 25)
    assert run.message == LOST
    until(lambda: are_gone(left), 20)
    until(
        lambda: (
            not target.value(
                "select count(*) from pg_stat_activity where application_name = %s", [f"dbadmin run {run.pk}"]
            )
        ),
        20,
    )
    if victim == "worker":
        worker.popen.wait()
        process("worker", "--name", "w2")
    until(lambda: Run.objects.get(pk=run.pk).cleaned_at)
    assert target.value("select to_regclass('leftover')") is None
    assert ("Dropped the leftover." in log_of(run)) == (kind == "leaving")
    assert "What the run left is removed." in log_of(run)
    assert locks_are_free(run)
    assert start(server, kind).status == "queued"
    assert scheduler.popen.poll() is None


def test_a_clean_up_is_tried_until_it_succeeds(server, target, worker):
    run = start(server, "leaving")
    until(works(run, server))
    os.kill(worker.horse, signal.SIGKILL)
    until(has(run, "lost"))
    good = server.sealed_operate_dsn
    server.seal_dsn("operate_dsn", "postgresql://nobody:x@127.0.0.1:1/x")
    server.save()
    runner.clean_up(run.pk)
    run.refresh_from_db()
    assert run.cleaned_at is None
    assert run.clean_up_due_at is not None
    assert log_of(run)[-1].startswith("The clean-up did not succeed: The connection to shop failed: ")
    server.sealed_operate_dsn = good
    server.save()
    runner.clean_up(run.pk)
    run.refresh_from_db()
    assert run.cleaned_at is not None
    assert run.clean_up_due_at is None
    assert target.value("select to_regclass('leftover')") is None


def test_a_new_run_waits_until_the_lost_ones_leftovers_are_gone(server, worker):
    run = start(server, "leaving")
    until(works(run, server))
    os.kill(worker.horse, signal.SIGKILL)
    until(has(run, "lost"))
    with pytest.raises(runs.Refused) as refusal:
        start(server, "leaving")
    assert str(refusal.value) == (
        f"What run {run.pk} left behind is still being removed. Try again in a moment."
    )


def test_a_worker_that_is_told_to_stop_cancels_its_run_after_the_grace_time(server, worker, target):
    run = start(server, "leaving")
    until(works(run, server))
    assert worker.stop() == 0
    assert has(run, "cancelled")()
    assert run.message == "Its worker was told to stop."
    assert target.value("select to_regclass('leftover')") is None
    assert not WorkerBeat.objects.filter(name="w1").exists()


def test_an_idle_worker_stops_at_once(worker):
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 3


def test_a_run_outlives_redis_and_the_worker_comes_back(server, worker, own_redis):
    run = start(server, "statement")
    until(works(run, server))
    own_redis.stop()
    with connect(server) as connection:
        connection.execute("select pg_sleep(7)")  # longer than the worker's heartbeat
    assert has(run, "running")()
    assert worker.popen.poll() is None
    with connect(server) as connection:
        connection.execute(
            "select pg_cancel_backend(pid) from pg_stat_activity where query like 'select pg_sleep(60)%'"
        )
    until(has(run, "failed"))
    assert run.message == "Canceling statement due to user request."
    own_redis.start()
    again = start(server, "quick")
    until(has(again, "succeeded"))


def started(server, kind):
    return runs.start(operation("trial_that_stays", server, kind=kind), None, Run.Door.COMMAND)


def test_a_run_that_is_cancelled_says_which_steps_were_done_and_stay(server, worker, target):
    run = started(server, "slowly")
    until(lambda: has(run, "running")() and run.step == 3)
    runs.cancel(run, None)
    until(has(run, "cancelled"))
    assert run.message == "Cancelled by the command line. Steps 1 to 2 of 4 were done and stay."
    assert what_next(run) == ""
    target.rows("drop table stays")


@pytest.mark.parametrize("kind", ["slowly", "committed", "dying"])
def test_a_run_whose_worker_died_says_what_stays_and_what_is_not_known(server, worker, target, kind):
    run = started(server, kind)
    if kind == "slowly":
        until(lambda: has(run, "running")() and run.step == 3)
        os.kill(worker.horse, signal.SIGKILL)
    until(has(run, "lost"))
    until(lambda: (runner.clean_up(run.pk), Run.objects.get(pk=run.pk).cleaned_at)[1])
    has(run)()
    unknown = " Whether the step in which it died was carried out, a new preview shows."
    assert (
        run.message
        == {
            "slowly": f"Its worker died in step 3 of 4. Steps 1 to 2 of 4 were done and stay.{unknown}",
            "committed": f"Its worker died in step 2 of 2. Step 1 of 2 was done and stays.{unknown}",
            "dying": "Its worker died. All of it was done before that, and stays.",
        }[kind]
    )
    target.rows("drop table stays")


def test_what_was_being_removed_is_said_to_be_removed_once_it_is(server, worker):
    run = start(server, "leaving")
    until(works(run, server))
    os.kill(worker.horse, signal.SIGKILL)
    until(has(run, "lost"))
    assert run.message == LOST
    runner.clean_up(run.pk)
    has(run)()
    assert run.message == (
        "Its worker died. What it left unfinished is removed; start it again when the cause is known."
    )


def test_a_worker_waits_for_a_redis_that_is_not_there_yet(server, process, own_redis):
    own_redis.stop()
    worker = process("worker", "--name", "w1")
    run = start(server, "quick")
    until(lambda: WorkerBeat.objects.filter(name="w1").exists())
    time.sleep(2)
    assert worker.popen.poll() is None
    own_redis.start()
    reconcile.send_forgotten(queues.connect())
    Run.objects.filter(pk=run.pk).update(queued_at=run.queued_at.replace(year=2020))
    reconcile.send_forgotten(queues.connect())
    until(has(run, "succeeded"))
    assert not run.message.startswith("Waits")


def test_a_run_is_done_once_when_redis_was_wiped_and_it_was_sent_again(server, process, own_redis):
    run = start(server, "quick")
    queues.connect().flushall()
    Run.objects.filter(pk=run.pk).update(queued_at=run.queued_at.replace(year=2020))
    assert reconcile.send_forgotten(queues.connect()) == [run.pk]
    assert reconcile.send_forgotten(queues.connect()) == []
    process("worker", "--name", "w1")
    until(has(run, "succeeded"))
    assert log_of(run) == ["SELECT 1", "SELECT 1"]


def test_a_job_that_is_none_of_ours_is_thrown_away(server, worker, tmp_path):
    mark = tmp_path / "mark"
    queue = queues.queue("operations")
    queue.enqueue_call("os.mkdir", args=[str(mark)])
    queue.enqueue_call(queues.EXECUTE, args=["one"])
    queue.enqueue_call(queues.EXECUTE, args=[2_000_000])
    until(has(start(server, "quick"), "succeeded"))
    assert not mark.exists()
    until(lambda: queues.connect().keys("rq:job:*") == [])


def test_a_hung_server_does_not_hinder_cancelling(server, worker, new_postgres):
    from tests.fixtures.servers import server_row

    postgres = new_postgres()
    hung = server_row("hung", postgres)
    run = start(hung, "statement")
    until(works(run, hung))
    stopped = [postgres.pid, *descendants(postgres.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: log_of(run))
        runs.cancel(run, None)
        took = until(has(run, "cancelled"), 30)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert took < 20
    assert log_of(run)[0] == (
        "The server does not answer. The run waits for it; cancel it if that takes too long."
    )
    assert run.message == (
        "Cancelled by the command line."
        " What it left is not removed yet; that is tried again until it succeeds."
    )
    until(
        lambda: (
            not hung.value(
                "select count(*) from pg_stat_activity where application_name = %s", [f"dbadmin run {run.pk}"]
            )
        ),
        15,
    )
    runner.clean_up(run.pk)
    run.refresh_from_db()
    assert run.cleaned_at
    assert run.message == "Cancelled by the command line."
