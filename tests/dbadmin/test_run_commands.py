"""The command line is a door like the others: the same plan, the same consent, the same refusals."""

import json

import pytest
from django.core.management import CommandError, call_command

from dbadmin.models import Run, Schedule
from tests.fixtures.runtime import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("trial", "empty_redis")]


def test_a_dry_run_shows_the_plan_and_makes_no_run(server, capsys):
    call_command("operate", "trial", "shop", "kind=quick", "--dry-run")
    assert capsys.readouterr().out == "-- Trial: quick (harmless)\nselect 1;\nselect 2;\n"
    assert not Run.objects.exists()


def test_it_starts_a_run_and_says_what_it_waits_for(server, capsys):
    call_command("operate", "trial", "shop", "kind=quick", "--reason", "to see")
    run = Run.objects.get()
    assert capsys.readouterr().out == (
        f"Run {run.pk}: Trial quick\nselect 1;\nselect 2;\n"
        "No worker serves the queue operations. Start one: manage.py worker --queues operations\n"
    )
    assert (run.door, run.user, run.reason) == ("command", None, "to see")


def test_programs_read_json(server, capsys):
    call_command("operate", "trial", "shop", "kind=quick", "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], said["plan"], said["server"]) == ("queued", ["select 1;", "select 2;"], "shop")


def test_what_blocks_wants_the_targets_name_typed(server):
    with pytest.raises(CommandError) as refusal:
        call_command("operate", "trial_that_blocks", "shop", "kind=quick")
    assert str(refusal.value) == "Not started. To agree, add: --yes-i-typed quick"
    call_command("operate", "trial_that_blocks", "shop", "kind=quick", "--yes-i-typed", "quick")
    assert Run.objects.get().status == "queued"


@pytest.mark.parametrize(
    "words,sentence",
    [
        (["nothing", "shop"], "There is no operation nothing. Known: "),
        (["trial", "mars"], "There is no server mars. Known: shop."),
        (["trial", "shop", "kind"], "'kind' is not key=value."),
        (["trial", "shop", "sort=quick"], "trial has no parameter sort. It has: kind, target."),
        (["trial", "shop"], "kind: This field is required."),
        (["trial", "shop", "kind=refusing"], "It is Sunday."),
        (["trial", "shop", "kind=quick", "--user", "zoe"], "There is no user zoe."),
        (
            ["trial", "shop", "kind=quick", "--user", "viewer"],
            "This needs the role admin or operator on shop.",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(server, user_as, words, sentence):
    user_as("viewer")
    with pytest.raises(CommandError) as refusal:
        call_command("operate", *words)
    assert str(refusal.value).startswith(sentence)
    assert not Run.objects.exists()


@pytest.mark.slow
def test_waiting_follows_the_log_and_ends_as_the_run_does(server, worker, capsys):
    call_command("operate", "trial", "shop", "kind=quick", "--wait")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:-1] == ["SELECT 1", "SELECT 1"]
    assert lines[-1] == "Finished."
    with pytest.raises(CommandError, match=r"^failed: Step 2 of 2 failed: Division by zero\.$"):
        call_command("operate", "trial", "shop", "kind=failing", "--wait")
    until(lambda: Run.objects.filter(status="failed").exists())


def test_schedules_are_made_listed_switched_and_removed(server, user_as, capsys):
    user_as("operator")
    call_command(
        "schedule",
        "add",
        "trial",
        "shop",
        "kind=quick",
        "--cron",
        "30 2 * * *",
        "--zone",
        "Europe/Berlin",
        "--user",
        "operator",
    )
    made = Schedule.objects.get()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"Schedule {made.pk}: At 02:30 every day."
    assert len(said) == 4
    call_command("schedule", "list")
    assert f"shop  trial  kind=quick target=  '30 2 * * *' Europe/Berlin  next {made.due_at:%Y}" in (
        capsys.readouterr().out
    )
    call_command("schedule", "disable", str(made.pk))
    assert Schedule.objects.get().due_at is None
    call_command("schedule", "enable", str(made.pk))
    assert Schedule.objects.get().due_at == made.due_at
    call_command("schedule", "remove", str(made.pk))
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    "options,sentence",
    [
        ({"cron": "99 * * * *"}, "The minute of '99 * * * *' is not valid."),
        (
            {"zone": "Mars/Olympus"},
            "There is no time zone 'Mars/Olympus'. Write it as Europe/Berlin, or UTC.",
        ),
        ({"user": "viewer"}, "This needs the role admin or operator on shop."),
    ],
)
def test_a_schedule_that_could_never_work_is_refused_now(server, user_as, options, sentence):
    user_as("viewer"), user_as("operator")
    words = {"cron": "@daily", "zone": "UTC", "user": "operator"} | options
    with pytest.raises(CommandError) as refusal:
        call_command(
            "schedule",
            "add",
            "trial",
            "shop",
            "kind=quick",
            *(f"--{key}={text}" for key, text in words.items()),
        )
    assert str(refusal.value) == sentence
    assert not Schedule.objects.exists()


def test_a_word_that_is_neither_true_nor_false_is_refused(server):
    with pytest.raises(CommandError, match=r"^analyze: Say true or false\.$"):
        call_command("operate", "vacuum_table", "shop", "schema=public", "table=users", "analyze=no")
