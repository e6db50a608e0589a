"""A kept connection that the server ended, as a swap of databases does, is replaced before anybody hears of it."""

import pytest

from dbadmin.models import Server
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def test_a_connection_that_was_ended_a_moment_ago_is_not_told_but_replaced(
    server: Server, postgres: Postgres, database: str
) -> None:
    pid = server.value("select pg_backend_pid()")
    gone = "select count(*) from pg_stat_activity where pid = %s"
    postgres.admin.execute("select pg_terminate_backend(%s)", [pid])
    while postgres.admin.execute(gone, [pid]).fetchone() != (0,):
        pass
    assert server.value("select pg_backend_pid()") != pid
