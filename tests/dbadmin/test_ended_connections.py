"""A kept connection that the server ended, as a swap of databases does, is replaced before anybody hears of it."""

import pytest

from dbadmin.connections import session
from dbadmin.models import Server
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def test_a_connection_that_was_ended_a_moment_ago_is_not_told_but_replaced(
    server: Server, postgres: Postgres, database: str
) -> None:
    with session(server, "operate") as first, session(server, "operate") as second:
        kept = [each.value("select pg_backend_pid()") for each in (first, second)]
    gone = "select count(*) from pg_stat_activity where pid = any(%s)"
    postgres.admin.execute("select pg_terminate_backend(pid) from unnest(%s::int[]) pid", [kept])
    while postgres.admin.execute(gone, [kept]).fetchone() != (0,):
        pass
    assert server.value("select pg_backend_pid()") not in kept
