"""A form that is sent twice does its work once, and says so."""

import socket
import threading

import pytest
from django.db import IntegrityError, connection
from django.test import Client, RequestFactory
from psycopg.errors import UniqueViolation

from dbadmin.addresses import SentTwice
from dbadmin.models import Server


@pytest.mark.django_db(transaction=True)
def test_two_who_add_the_same_server_at_once_are_told_apart(client_as, postgres):
    """Both find the name free; the database lets one of them in."""
    form = {
        "name": "shop",
        "environment": "production",
        "tags": "",
        "queue": "",
        "dsn": postgres.dsn_for("postgres"),
    }
    admin, answers, ready = client_as("admin"), [], threading.Barrier(2)
    cookies = admin.cookies["sessionid"].value

    def send():
        client = Client()
        client.cookies["sessionid"] = cookies
        ready.wait()
        answers.append(client.post("/settings/servers/add/", form))
        connection.close()

    both = [threading.Thread(target=send) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    late, first = sorted(answers, key=lambda answer: answer.status_code, reverse=True)
    assert first.status_code == 302
    assert late.status_code in {409, 422}, "which of them depends on how late it is"
    assert Server.objects.count() == 1


def test_the_late_one_is_told_in_a_sentence():
    error = IntegrityError()
    error.__cause__ = UniqueViolation()
    says = "It is there already: somebody sent the same a moment ago, or you sent it twice."
    middleware = SentTwice(lambda request: None)
    page = middleware.process_exception(RequestFactory().post("/settings/servers/add/"), error)
    assert page.status_code == 409
    assert f"{says} Look before you send it again." in page.content.decode()
    told = middleware.process_exception(RequestFactory().post("/api/servers/shop/marks/"), error)
    assert told.content.decode() == f'{{"error": "{says}"}}'
    assert middleware.process_exception(RequestFactory().post("/"), IntegrityError()) is None


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_second_click_while_the_form_is_on_its_way_sends_nothing(page_as, complaints):
    """The page waits three seconds for a server that does not answer."""
    complaints.expected.append("422")
    page, posts = page_as("admin"), []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.goto("/settings/servers/add/")
    page.fill("[name=name]", "shop")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        page.fill("[name=dsn]", f"host=127.0.0.1 port={silent.getsockname()[1]} user=x dbname=x")
        page.evaluate("""() => {
            const button = document.querySelector("main form button.primary");
            button.click();
            setTimeout(() => button.click(), 300);
        }""")
        page.wait_for_selector(".errorlist", timeout=30_000)
    assert len(posts) == 1
