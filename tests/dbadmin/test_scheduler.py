"""A due schedule becomes one run: not two, not none, whoever dies; what was left out is recorded."""

import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connections
from django.utils import timezone

from dbadmin import queues, runner, runs
from dbadmin.models import Grant, Run, Schedule, WorkerBeat
from dbadmin.scheduler import start_due
from tests.carrying_out import operation
from tests.fixtures.runtime import queue_length, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("trial", "empty_redis")]


@pytest.fixture
def schedule(server, user_as):
    """schedule("quick", minutes_ago=5): one that is due since then."""

    def make(kind="quick", minutes_ago=0.1, cron="* * * * *", **columns):
        made = Schedule(server=server, operation="trial", params={"kind": kind}, cron=cron, **columns)
        made.created_by = made.created_by or user_as("operator")
        made.save()
        made.due_at = timezone.now() - timedelta(minutes=minutes_ago)
        made.save(update_fields=["due_at"])
        return made

    return make


def test_it_is_due_from_the_moment_it_is_saved(server):
    made = Schedule(server=server, operation="trial", cron="@hourly", time_zone="Asia/Kolkata")
    made.save()
    assert (made.due_at.minute, made.due_at > timezone.now()) == (30, True)
    made.enabled = False
    made.save()
    assert made.due_at is None


def test_a_bad_line_is_said_at_its_field(server, user_as):
    made = Schedule(server=server, operation="trial", cron="99 * * * *", created_by=user_as("admin"))
    with pytest.raises(ValidationError) as invalid:
        made.full_clean()
    assert invalid.value.message_dict == {"cron": ["The minute of '99 * * * *' is not valid."]}


def test_a_due_one_becomes_a_run_that_its_worker_plans(schedule):
    made = schedule()
    was_due = made.due_at
    (run,) = start_due()
    assert (run.status, run.door, run.user_name, run.plan, run.due_at) == (
        "queued",
        "schedule",
        "operator",
        [],
        was_due,
    )
    assert run.reason == "Schedule trial on shop"
    assert queue_length() == 1
    made.refresh_from_db()
    assert made.due_at > timezone.now()
    runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.plan) == ("succeeded", ["select 1;", "select 2;"])
    assert start_due() == []


def test_what_it_missed_is_made_up_for_once(schedule):
    made = schedule(minutes_ago=3 * 24 * 60, cron="@hourly")
    was_due = made.due_at
    (run,) = start_due()
    assert run.reason == (
        f"Schedule trial on shop; was due at {was_due:%Y-%m-%d %H:%M} UTC, when no scheduler was at work"
    )
    assert start_due() == []


def test_a_disabled_one_is_never_due(schedule):
    made = schedule()
    Schedule.objects.filter(pk=made.pk).update(enabled=False)
    assert start_due() == []


def test_it_is_left_out_while_its_last_run_has_not_ended(schedule):
    made = schedule()
    (first,) = start_due()
    Schedule.objects.filter(pk=made.pk).update(due_at=timezone.now())
    (second,) = start_due()
    assert (second.status, second.message) == (
        "refused",
        f"Left out: run {first.pk} of the same schedule has not ended.",
    )


def test_it_is_left_out_while_a_person_does_the_same(schedule, server):
    running = runs.start(operation("trial", server, kind="quick"), None, Run.Door.COMMAND)
    schedule()
    (left_out,) = start_due()
    assert (left_out.status, left_out.message) == (
        "refused",
        f"Run {running.pk} is queued with the same: Trial quick. Wait for its end, or cancel it.",
    )


def test_its_runs_have_the_rights_that_its_owner_has_now(schedule):
    schedule()
    Grant.objects.all().delete()
    (run,) = start_due()
    assert (run.status, run.message) == (
        "refused",
        "operator may not do this (any more): This needs the role admin or operator on shop.",
    )


def test_it_belongs_to_nobody_when_its_owner_is_gone(schedule, user_as):
    schedule()
    user_as("operator").delete()
    (run,) = start_due()
    assert run.message == (
        "Its owner, who is gone, may not do this (any more):"
        " It belongs to nobody; let somebody with the right start it."
    )


def test_an_operation_that_is_gone_is_said_so(schedule):
    made = schedule()
    Schedule.objects.filter(pk=made.pk).update(operation="of_the_past")
    (run,) = start_due()
    assert (run.status, run.message) == ("refused", "There is no operation of_the_past any more.")


def test_parameters_that_do_not_fit_are_said_so(schedule):
    made = schedule()
    Schedule.objects.filter(pk=made.pk).update(params={})
    (run,) = start_due()
    assert run.message == "Its parameters do not fit the operation: KeyError('kind')."


def test_one_bad_schedule_does_not_hinder_the_others(schedule):
    Schedule.objects.filter(pk=schedule(minutes_ago=9).pk).update(operation="of_the_past")
    schedule()
    assert [run.status for run in start_due()] == ["refused", "queued"]


def test_a_refusal_while_planning_is_the_runs_end(schedule):
    schedule("refusing")
    (run,) = start_due()
    runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.message) == ("refused", "It is Sunday.")


def test_two_at_the_same_moment_make_one_run_each(schedule):
    for number in range(12):
        schedule(name=str(number))
    Schedule.objects.update(operation="of_the_past")
    together = threading.Barrier(3)

    def lead():
        together.wait()
        start_due()
        connections.close_all()

    threads = [threading.Thread(target=lead) for _ in range(2)]
    for thread in threads:
        thread.start()
    together.wait()
    for thread in threads:
        thread.join()
    assert sorted(Run.objects.values_list("schedule__name", flat=True)) == sorted(map(str, range(12)))


@pytest.mark.slow
def test_another_scheduler_takes_over_when_the_leader_is_killed(schedule, process):
    leaders = lambda: set(WorkerBeat.objects.filter(leads=True).values_list("name", flat=True))  # noqa: E731
    first = process("scheduler", "--name", "s1")
    until(lambda: leaders() == {"s1"})
    process("scheduler", "--name", "s2")
    until(lambda: WorkerBeat.objects.filter(name="s2").exists())
    assert leaders() == {"s1"}
    made = schedule()
    until(lambda: Run.objects.filter(schedule=made).count() == 1)
    first.kill()
    Run.objects.update(status="succeeded")
    Schedule.objects.filter(pk=made.pk).update(due_at=timezone.now())
    took = until(lambda: Run.objects.filter(schedule=made).count() == 2)
    assert took < 5


@pytest.mark.slow
def test_what_redis_forgot_is_sent_again_and_waiting_is_said(server, process, own_redis):
    process("scheduler", "--name", "s1")
    until(lambda: WorkerBeat.objects.filter(leads=True).exists())
    run = runs.start(operation("trial", server, kind="quick"), None, Run.Door.COMMAND)
    queues.connect().flushall()
    until(lambda: queue_length() == 1)
    own_redis.stop()
    until(lambda: Run.objects.get(pk=run.pk).message == queues.WAITS)
    own_redis.start()
    until(lambda: queue_length() == 1)
    until(lambda: not Run.objects.get(pk=run.pk).message)
    assert queues.connect().lrange("rq:queue:operations", 0, -1) == [str(run.pk).encode()]


@pytest.mark.slow
def test_a_scheduler_that_is_told_to_stop_says_good_bye(process):
    made = process("scheduler", "--name", "s1")
    until(lambda: WorkerBeat.objects.filter(leads=True).exists())
    assert made.stop() == 0
    assert not WorkerBeat.objects.exists()
