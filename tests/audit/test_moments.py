"""A row or a table as it was at a moment: what the page goes by, it says."""

import pytest

from audit import comparing
from audit.moments import row_at
from dbadmin.connections import Session
from tests.audit.conftest import Watcher
from tests.fixtures.servers import server_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

BY_STATEMENT = "By the moment at which each statement ran"
BY_COMMIT = "By the moment at which each change was committed"


def between_statement_and_commit(connection, query):
    """A moment at which a transaction had run its statement, and was not committed yet."""
    with connection.transaction():
        connection.execute(query)
        (moment,) = connection.execute("select clock_timestamp()").fetchone()
    return moment


def pages(client, server, moment):
    at = moment.isoformat().replace("+", "%2B")
    for page in (f"audit/table/public.items/?at={at}", f"audit/row/public.items/?key=1&at={at}"):
        answer = client.get(f"/servers/{server.name}/{page}")
        assert answer.status_code == 200
        yield answer.content.decode()


def test_what_was_not_committed_yet_is_not_shown_where_the_server_keeps_commits(
    items, execute, target, client_as, server
):
    execute("insert into items values (1, 'old'), (2, 'two')")
    moment = between_statement_and_commit(target.connection, "update items set name = 'new'")
    emptied = between_statement_and_commit(target.connection, "truncate items")
    table = items.state.table("public", "items")
    assert row_at(target.rows, items.state, table, "1", moment).new["name"] == "old"
    assert row_at(target.rows, items.state, table, "1", emptied).new["name"] == "new"
    now = target.value("select clock_timestamp()")
    assert row_at(target.rows, items.state, table, "1", now).new is None
    found = comparing.table_at(target.rows, items.state, table, moment, "").rows
    assert [(key, row["name"]) for key, row in found] == [("1", "old"), ("2", "two")]
    assert all(BY_COMMIT in text for text in pages(client_as("auditor"), server, moment))


def test_the_page_says_that_it_goes_by_statements_where_the_server_does_not(new_postgres, client_as, db):
    postgres = new_postgres(track_commit_timestamp="off")
    server = server_row("shop", postgres)
    with postgres.connect() as connection:
        target = Session(connection)
        audit = Watcher(server, target)
        connection.execute("create table items (id int primary key, name text)")
        audit.watch("items")
        connection.execute("insert into items values (1, 'old')")
        moment = between_statement_and_commit(connection, "update items set name = 'new'")
        table = audit.state.table("public", "items")
        assert row_at(target.rows, audit.state, table, "1", moment).new["name"] == "new"
        assert all(BY_STATEMENT in text for text in pages(client_as("auditor"), server, moment))
