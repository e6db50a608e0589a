"""The pages of people: who is locked out stays out."""

import pytest

from dbadmin.models import Event

pytestmark = pytest.mark.django_db


def test_who_is_locked_out_twice_is_out(client_as, user_as):
    ben = user_as("viewer", "ben")
    for _ in range(2):
        client_as("admin").post(f"/settings/people/{ben.pk}/switch/", {"to": "off"})
    ben.refresh_from_db()
    assert not ben.is_active
    assert [event.text for event in Event.objects.filter(kind="person")] == ["Locked out ben."]
    client_as("admin").post(f"/settings/people/{ben.pk}/switch/", {"to": "on"})
    ben.refresh_from_db()
    assert ben.is_active
