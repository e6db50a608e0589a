"""Dropping an index: never one that something rests on, and it can be taken back."""

import pytest

from dbadmin.models import Run
from dbadmin.operations import Refused, Risk
from dbadmin.runner import execute
from dbadmin.runs import start
from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def seats(target):
    target.rows("create table seats (number int unique, row_name text)")
    target.rows("create index seats_row_name on seats (row_name) where number > 3")
    return target


def drop(server, index):
    return operation("drop_index", server, index=index)


def test_drops_it_and_knows_the_way_back(seats, server):
    wanted = drop(server, "seats_row_name")
    assert wanted.risk_now() is Risk.DESTROYS
    assert wanted.target() == "public.seats_row_name"
    run = carry_out(wanted)
    assert run.status == "succeeded", run.message
    assert run.message == "Dropped the index public.seats_row_name, which freed 8 KiB."
    assert run.plan == ['DROP INDEX CONCURRENTLY "public"."seats_row_name";']
    assert run.reverse == [
        "CREATE INDEX CONCURRENTLY seats_row_name ON public.seats USING btree (row_name) WHERE (number > 3)"
    ]
    assert seats.value("select to_regclass('seats_row_name')") is None
    undone = carry_out(operation("reverse_run", server, run=run.pk))
    assert undone.status == "succeeded", undone.message
    assert undone.message == "Created the index public.seats_row_name."
    assert seats.value("select to_regclass('seats_row_name')") == "seats_row_name"
    with pytest.raises(Refused) as refusal:
        operation("reverse_run", server, run=run.pk).plan()
    assert str(refusal.value) == f"Run {run.pk} was undone already, by run {undone.pk}."


def test_refuses_when_the_index_is_another_since_the_preview(seats, server, client_as):
    """The statement is the same then, but not what would bring the index back."""
    client, address = client_as("admin"), f"/servers/{server}/do/drop_index/"
    given = {"schema": "public", "index": "seats_row_name"}
    shown = client.get(address, {**given, "preview": "1"}).context["plan_digest"]
    queued = start(drop(server, "seats_row_name"), None, Run.Door.COMMAND)
    seats.rows("drop index seats_row_name")
    seats.rows("create index seats_row_name on seats (row_name, number)")
    answer = client.post(address, {**given, "plan": shown, "typed": "public.seats_row_name"})
    changed = "The server changed since the preview. Look at the new plan."
    assert (answer.status_code, answer.context["missing"]) == (422, changed)
    execute(queued.pk)
    queued.refresh_from_db()
    assert (queued.status, queued.message) == ("refused", changed)
    assert seats.value("select to_regclass('seats_row_name')") == "seats_row_name"


def test_refuses_the_index_of_a_constraint(seats, server):
    with pytest.raises(Refused) as refusal:
        drop(server, "seats_number_key").plan()
    assert str(refusal.value) == (
        "public.seats_number_key backs the constraint seats_number_key. Drop the constraint instead."
    )


def test_tells_of_a_database_that_is_not_there_at_its_field(server, client_as):
    given = {"database": "no where", "schema": "public", "index": "x", "preview": "1"}
    answer = client_as("admin").get(f"/servers/{server}/do/drop_index/", given)
    assert answer.context["form"].errors == {"database": [f"There is no database no where on {server}."]}
    assert answer.context["refusal"] == ""


def test_refuses_an_index_that_a_foreign_key_refers_to(seats, server):
    seats.rows("create unique index seats_row on seats (row_name)")
    seats.rows("create table bookings (row_name text references seats (row_name))")
    with pytest.raises(Refused, match=r"^public.seats_row is what a foreign key refers to\. "):
        drop(server, "seats_row").plan()


def test_refuses_the_indexes_of_partitioned_tables_and_of_their_partitions(target, server):
    target.rows("create table events (at date) partition by range (at)")
    target.rows("create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01')")
    target.rows("create index events_at on events (at)")
    with pytest.raises(Refused) as refusal:
        drop(server, "events_at").plan()
    assert str(refusal.value) == (
        "public.events_at is the index of a partitioned table: PostgreSQL cannot drop it concurrently."
    )
    with pytest.raises(Refused) as refusal:
        drop(server, "events_1_at_idx").plan()
    assert str(refusal.value) == (
        "public.events_1_at_idx belongs to its partitioned table's index, which cannot be dropped in part."
    )


def test_refuses_an_index_that_is_not_there(target, server):
    with pytest.raises(Refused, match=r"^There is no index public.nothing on shop\.$"):
        drop(server, "nothing").plan()
