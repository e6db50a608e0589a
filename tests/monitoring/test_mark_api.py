"""A deploy is marked through the API, and stands on the timeline and in what can be compared."""

import datetime as dt

import pytest
from django.test import Client
from django.utils import timezone

from dbadmin.models import ApiToken, Event, Server
from monitoring.models import Mark

pytestmark = pytest.mark.django_db
HERE = "/api/servers/shop/marks/"


@pytest.fixture
def call(user_as):
    """call("operator", "post", {…}): with a new token of that person."""
    Server.objects.create(name="shop")

    def make(role, method="get", body=None, scope="operate"):
        headers = {"authorization": f"Bearer {ApiToken.make(user_as(role), 'test', scope).text}"}
        return getattr(Client(), method)(HERE, body, content_type="application/json", headers=headers)

    return make


def test_a_deploy_is_marked_and_shown(call, client_as):
    at = (timezone.now() - dt.timedelta(minutes=10)).replace(microsecond=0)
    answer = call("operator", "post", {"text": " shop 4.2 was deployed ", "at": at.isoformat()})
    assert (answer.status_code, answer.json()) == (
        201,
        {
            "at": at.isoformat(),
            "kind": "deploy",
            "text": "shop 4.2 was deployed",
            "facts": {"by": "operator"},
        },
    )
    assert call("viewer").json() == {"marks": [answer.json()]}
    for page in ("timeline", "compare"):
        assert "shop 4.2 was deployed" in client_as("viewer").get(f"/servers/shop/{page}/").content.decode()
    assert Event.objects.get(kind="mark").text == "Marked on the timeline of shop: shop 4.2 was deployed"


@pytest.mark.parametrize(
    "body, status, message",
    [
        ({}, 422, "Say in text what happened, in at most 200 characters."),
        ({"text": "x" * 201}, 422, "Say in text what happened, in at most 200 characters."),
        ({"text": "x", "at": "soon"}, 422, "at is a moment that is past, such as 2026-03-01T14:32:00Z."),
        (
            {"text": "x", "at": "9000-01-01"},
            422,
            "at is a moment that is past, such as 2026-03-01T14:32:00Z.",
        ),
        ([1], 400, "Send a JSON object."),
    ],
)
def test_what_is_no_mark_is_refused(call, body, status, message):
    answer = call("operator", "post", body)
    assert (answer.status_code, answer.json()) == (status, {"error": message})
    assert not Mark.objects.exists()


def test_who_may_only_read_marks_nothing(call):
    assert call("viewer", "post", {"text": "x"}).status_code == 403
    answer = call("operator", "post", {"text": "x"}, scope="read")
    assert (answer.status_code, answer.json()) == (403, {"error": "This token may only read."})
    assert not Mark.objects.exists()
