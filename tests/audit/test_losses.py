"""Beside what can be recovered stands what took rows away, each with the moment before it."""

from datetime import timedelta
from urllib.parse import quote

import pytest

from dbadmin.models import Event, Role

pytestmark = pytest.mark.servers

ADDRESS = "/servers/shop/audit/losses/"


@pytest.fixture
def orders(audit, execute):
    execute("create table orders (id int primary key, state text)")
    audit.watch("orders")
    execute("insert into orders select g, 'open' from generate_series(1, 30) g")
    return audit


def panel(client_as, query="", role="admin"):
    return client_as(role).get(f"{ADDRESS}{query}").content.decode()


def test_deleted_emptied_and_altered_stand_newest_first_with_the_moment_before(orders, execute, client_as):
    execute("update orders set state = 'paid'")
    execute("delete from orders where id > 20")
    execute("alter table orders add note text")
    execute("truncate orders")
    text = panel(client_as)
    assert text.index("emptied public.orders") < text.index("deleted public.orders")
    assert "<code>ALTER TABLE public.orders</code>" in text
    assert "updated public.orders" not in text
    assert "inserted public.orders" not in text
    (deleted,) = [each for each in orders.statements() if each.operation == "D"]
    moment = quote((deleted.at - timedelta(milliseconds=1)).isoformat())
    assert f'href="/servers/shop/recovery/?moment={moment}#pick">Choose the moment before</a>' in text
    assert '<td class="number">10</td>' in text


def test_what_was_lost_earlier_is_left_out(orders, execute, client_as, database):
    execute("delete from orders where id = 1")
    (deleted,) = [each for each in orders.statements() if each.operation == "D"]
    later = quote((deleted.at + timedelta(milliseconds=1)).isoformat())
    assert "deleted public.orders" in panel(client_as)
    text = panel(client_as, f"?since={later}")
    assert "Nothing was deleted, emptied or altered in the time that can be recovered." in text


def test_without_a_watched_table_it_leads_to_capture(server, audit, client_as, database):
    text = panel(client_as)
    assert f"No table of {database} is watched." in text
    assert "/servers/shop/audit/capture/" in text


def test_to_look_is_recorded_and_needs_the_right_to_see_the_log(orders, client_as):
    assert client_as(Role.OPERATOR).get(ADDRESS).status_code == 403
    panel(client_as)
    assert Event.objects.filter(
        text="Looked at what was deleted, emptied or altered, to choose a moment to recover to."
    ).exists()


def test_a_server_that_is_away_is_told_in_the_panel(server, client_as):
    server.seal_dsn("operate_dsn", "postgresql://nobody:x@127.0.0.1:1/none")
    server.save()
    answer = client_as("admin").get(ADDRESS)
    text = answer.content.decode()
    assert answer.status_code == 200
    assert 'id="losses"' in text
    assert "Nothing listens at this host and port: connection refused." in text
