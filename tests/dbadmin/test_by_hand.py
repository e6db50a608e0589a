"""Models read by statements that are written by hand are those that Django's own questions give."""

import pytest
from django.utils import timezone

from dbadmin.by_hand import all_of, read
from dbadmin.models import Run, Server, ServerState

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Server:
    """One with all kinds of fields."""
    return Server.objects.create(name="one", environment="production", tags=["web", "old"])


def values(one: object) -> dict[str, object]:
    """What a model holds."""
    return {name: value for name, value in vars(one).items() if name != "_state"}


def test_reads_all_fields_with_their_types(server):
    trouble = {"kind": "timeout", "message": "no answer"}
    ServerState.objects.create(server=server, databases=["shop"], asked_at=timezone.now(), trouble=trouble)
    for model in (Server, ServerState):
        (found,) = read(model, f"select {all_of(model)} from {model._meta.db_table}")
        assert values(found) == values(model.objects.get())
        assert not found._state.adding


def test_reads_a_field_that_was_not_asked_for_when_it_is_wanted(server):
    Run.objects.create(server=server, operation="vacuum", title="Vacuum", message="Done.")
    (found,) = read(Run, "select title, id from dbadmin_run where server_id = %s", [server.pk])
    assert found.get_deferred_fields() >= {"message", "operation"}
    assert (found.title, found.message) == ("Vacuum", "Done.")


def test_gives_what_is_no_field_as_an_attribute(server):
    (found,) = read(Server, "select id, name, 7 as rank from dbadmin_server")
    assert (found.name, found.rank) == ("one", 7)
