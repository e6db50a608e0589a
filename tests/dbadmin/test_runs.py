"""A run is what was previewed, done once, by somebody who may, and it tells in words how it ended."""

import time
from threading import Thread

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction

from dbadmin import queues, runner, runs
from dbadmin.connections import connect
from dbadmin.models import Run, RunLine
from dbadmin.operations import Refused, plan_texts
from dbadmin.work import Work
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.runtime import until
from tests.trial_operations import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("trial", "empty_redis")]


def trial(server, kind, **params):
    return operation("trial", server, kind=kind, **params)


def start(server, kind, user=None, **options):
    return runs.start(trial(server, kind), user, Run.Door.COMMAND, **options)


def test_a_run_keeps_what_was_previewed_and_does_it(server, user_as):
    run = carry_out(trial(server, "quick"), user_as("operator"))
    assert run.status == "succeeded", run.message
    assert run.plan == ["select 1;", "select 2;"]
    assert run.reverse == ["", "select -2"]
    assert (run.user_name, run.target, run.risk, run.queue) == ("operator", "quick", "harmless", "operations")
    assert log_of(run) == ["SELECT 1", "SELECT 1"]
    assert run.message == "Finished."
    assert run.step == 2
    assert run.started_at <= run.finished_at


def test_limits_that_a_database_has_for_its_users_do_not_end_it(server, database, target):
    for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
        target.connection.execute(f"alter database {database} set {name} = '50ms'")
    run = Run.objects.create(server=server, server_name=server.name, operation="trial", target="limits")
    with Work(run).connect(database) as session, session.transaction():
        session.execute("select pg_sleep(0.2)")
        time.sleep(0.2)
        assert session.execute("show statement_timeout").fetchone() == ("0",)
        assert session.execute("show lock_timeout").fetchone() == ("0",)


def test_names_without_a_schema_are_the_servers_own_except_in_statements_that_were_previewed(
    server, database, target
):
    """What whoever may create in a schema of a path put there would run with the rights of dbadmin."""
    target.connection.execute(f"alter database {database} set search_path = sales, public")
    target.rows("create schema sales")
    run = Run.objects.create(server=server, server_name=server.name, operation="trial", target="elsewhere")
    question, ours = "select pg_catalog.current_setting('search_path')", "pg_catalog, pg_temp"
    with Work(run).connect(database) as connection:
        assert connection.execute(question).fetchone() == (ours,)
        connection.execute("reset search_path")
        assert connection.execute(question).fetchone() == ("sales, public",)
    for read_only in (True, False):
        with connect(server, database=database, read_only=read_only) as connection:
            assert connection.execute(question).fetchone() == (ours,)
    assert server.value(question) == ours
    assert carry_out(trial(server, "path")).status == "succeeded"
    assert target.rows("select chosen from sales.path") == [("sales, public",)]


def test_its_id_goes_to_redis_after_the_commit_and_no_earlier(server):
    with transaction.atomic():
        run = start(server, "quick")
        assert queues.waiting_ids("operations", queues.connect()) == set()
    assert queues.waiting_ids("operations", queues.connect()) == {str(run.pk)}


def test_the_servers_own_queue_is_used_where_it_names_one(server):
    server.queue = "site-a"
    run = start(server, "quick")
    assert queues.waiting_ids("site-a", queues.connect()) == {str(run.pk)}


@pytest.mark.parametrize("role", ["viewer", "auditor", "nobody"])
def test_strangers_may_not_start_it(server, user_as, role):
    with pytest.raises(PermissionDenied):
        start(server, "quick", user_as(role))
    assert not Run.objects.exists()


def test_an_operator_may_not_make_others_wait(server, user_as):
    blocks = operation("trial_that_blocks", server, kind="quick")
    with pytest.raises(PermissionDenied, match=r"^This needs the role admin on shop\.$"):
        runs.start(blocks, user_as("operator"), Run.Door.PAGE)
    assert runs.start(blocks, user_as("admin"), Run.Door.PAGE).status == "queued"


def test_nobody_is_only_let_in_at_the_command_line(server):
    with pytest.raises(PermissionDenied):
        runs.start(trial(server, "quick"), None, Run.Door.PAGE)


def test_a_second_one_is_refused_and_names_the_first(server, user_as):
    first = start(server, "quick", user_as("operator"))
    with pytest.raises(Refused) as refusal:
        start(server, "quick", user_as("admin"))
    assert str(refusal.value) == (
        f"Run {first.pk} by operator is queued with the same: Trial quick. Wait for its end, or cancel it."
    )
    assert runs.start(trial(server, "quick", target="another"), None, Run.Door.COMMAND).pk


def test_a_server_that_is_switched_off_is_left_alone(server):
    server.enabled = False
    with pytest.raises(Refused, match=r"^shop is switched off in dbadmin\. Switch it on first\.$"):
        start(server, "quick")


def test_a_plan_that_is_refused_makes_no_run(server):
    with pytest.raises(Refused, match=r"^It is Sunday\.$"):
        start(server, "refusing")
    assert not Run.objects.exists()


def test_an_unreachable_server_is_a_refusal_in_words(server):
    server.seal_dsn("operate_dsn", "postgresql://anna:hidden@127.0.0.1:1/shop")
    with pytest.raises(Refused) as refusal:
        start(server, "changing")
    assert str(refusal.value).startswith("The connection to shop failed: ")
    assert "hidden" not in str(refusal.value)


def test_it_stops_when_the_server_changed_since_the_preview(server, target):
    run = start(server, "changing")
    target.rows("create table change_1 ()")
    runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.message) == (
        "refused",
        "The server changed since the preview. Look at the new plan.",
    )
    assert run.step == 0


def test_the_plan_that_was_shown_is_the_one_that_is_stored_and_the_worker_refuses_it_when_it_is_old(
    server, target
):
    shown = trial(server, "changing").plan()
    target.rows("create table change_2 ()")
    run = start(server, "changing", steps=shown)
    assert run.plan == plan_texts(shown)
    runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.step) == ("refused", 0)


def test_it_is_done_once_however_often_redis_delivers_it(server):
    run = start(server, "quick")
    runner.execute(run.pk)
    runner.execute(run.pk)
    assert log_of(run) == ["SELECT 1", "SELECT 1"]


def test_a_statement_that_fails_says_where_and_why(server):
    run = carry_out(trial(server, "failing"))
    assert (run.status, run.message) == ("failed", "Step 2 of 2 failed: Division by zero.")
    assert run.cleaned_at


def test_a_transaction_that_fails_leaves_nothing(server, target):
    run = carry_out(trial(server, "all_or_nothing"))
    assert (run.status, run.message) == ("failed", "Division by zero.")
    assert target.value("select to_regclass('half')") is None


def test_a_program_that_fails_says_its_last_words_without_its_password(server):
    run = carry_out(trial(server, "talking"))
    assert (run.status, run.message) == ("failed", "sh ended with code 3: I know ***.")
    assert log_of(run) == ["I know ***"]
    assert PASSWORD not in str(Run.objects.filter(pk=run.pk).values())


def test_a_program_that_is_not_there_is_said_so(server):
    run = carry_out(trial(server, "absent"))
    assert run.message == ("Not found on this worker: no-such-program. Install it, or choose another worker.")


def test_programs_do_not_see_our_own_secrets(server):
    run = carry_out(trial(server, "private"))
    assert log_of(run) == [f"key= name=dbadmin run {run.pk}"]


def test_a_lock_that_is_held_is_asked_for_again_and_then_given_up(server, target, postgres):
    target.rows("create table held ()")
    with postgres.connect(target.database) as holder, holder.transaction():
        holder.execute("lock table held")
        run = carry_out(trial(server, "blocked"))
    assert run.status == "failed"
    assert run.message == (
        "Step 1 of 2 failed: Canceling statement due to lock timeout."
        " Somebody holds a lock on it for long: the locks page says who. This step changed nothing."
    )
    assert log_of(run) == ["Somebody holds a lock on it; attempt 2 of 2 follows."]


def test_lines_of_the_log_keep_their_order_when_two_threads_write_them(server):
    work = Work(start(server, "quick"))

    def write():
        work.flush()
        connection.close()

    def waiting():
        with connection.cursor() as cursor:
            cursor.execute(
                "select count(*) from pg_locks where not granted and relation = 'dbadmin_runline'::regclass"
            )
            return cursor.fetchone()[0]

    work.lines.append(RunLine(run=work.run, text="first"))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("lock table dbadmin_runline in share mode")
        watcher = Thread(target=write)
        watcher.start()
        until(lambda: waiting() == 1)
        work.lines.append(RunLine(run=work.run, text="second"))
        main = Thread(target=write)
        main.start()
        main.join(0.5)
        assert (waiting(), [line.text for line in work.lines]) == (1, ["second"])
    watcher.join()
    main.join()
    assert log_of(work.run) == ["first", "second"]


def test_a_wrong_password_is_said_without_it(server, target):
    run = start(server, "quick")
    server.seal_dsn("operate_dsn", server.dsn("operate").replace("dbadmin_operate:", "dbadmin_operate:not"))
    server.save()
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "failed"
    assert run.message == (
        "Step 1 of 2 failed: The connection to shop failed: The password of dbadmin_operate is wrong,"
        " or the server has no such role."
        " Run it again when that is mended."
    )
    assert server.dsn("operate").split(":")[2].split("@")[0] not in run.message


def test_a_dsn_that_cannot_be_opened_is_said_so(server, settings):
    run = start(server, "quick")
    settings.DBADMIN_KEYS = "other=a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
    runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.message) == (
        "failed",
        "Step 1 of 2 failed: The secret was sealed with key test, which is not in DBADMIN_KEYS.",
    )


def test_a_run_whose_server_was_removed_says_so(server):
    run = start(server, "quick")
    server.delete()
    runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.message) == ("refused", "The server shop is no longer in dbadmin.")


def test_a_worker_that_does_not_know_the_operation_says_so(server):
    run = start(server, "quick")
    Run.objects.filter(pk=run.pk).update(operation="from_the_future")
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.message == "This worker does not know the operation from_the_future. Update the worker."


def test_a_queued_run_is_cancelled_at_once_and_never_begins(server, user_as):
    run = start(server, "quick")
    runs.cancel(run, user_as("operator"))
    assert (run.status, run.message) == ("cancelled", "Cancelled by operator before it began.")
    assert queues.waiting_ids("operations", queues.connect()) == set()
    runner.execute(run.pk)
    assert log_of(run) == []


def test_only_who_may_start_it_may_cancel_it(server, user_as):
    run = start(server, "quick", user_as("operator"))
    with pytest.raises(PermissionDenied):
        runs.cancel(run, user_as("viewer"))
    assert Run.objects.get().status == "queued"


def test_what_has_ended_cannot_be_cancelled(server):
    run = carry_out(trial(server, "quick"))
    with pytest.raises(Refused) as refusal:
        runs.cancel(run, None)
    assert str(refusal.value) == f"Run {run.pk} has ended already: succeeded."


def test_while_redis_is_away_a_run_waits_and_says_so(server, own_redis):
    own_redis.stop()
    run = start(server, "quick")
    assert (run.status, run.message) == (
        "queued",
        "Waits: Redis, which carries runs to workers, does not answer. It starts when Redis is back.",
    )


def test_a_run_without_any_worker_says_what_is_missing(server):
    run = start(server, "quick")
    until(lambda: run.message == "")
    assert runs.waits_for(run) == (
        "No worker serves the queue operations. Start one: manage.py worker --queues operations"
    )
