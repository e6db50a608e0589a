"""A kept connection that the server ended, as a swap of databases does, is replaced before anybody hears of it."""

from contextlib import ExitStack

import pytest

from dbadmin import patience
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


def test_a_page_is_answered_though_all_connections_that_were_kept_are_dead(
    server: Server, postgres: Postgres
) -> None:
    def three() -> set[int]:
        with ExitStack() as stack:
            sessions = [stack.enter_context(session(server, "operate")) for _ in range(3)]
            return {each.value("select pg_backend_pid()") for each in sessions}

    kept = list(three())
    gone = "select count(*) from pg_stat_activity where pid = any(%s)"
    postgres.admin.execute("select pg_terminate_backend(pid) from unnest(%s::int[]) pid", [kept])
    while postgres.admin.execute(gone, [kept]).fetchone() != (0,):
        pass
    with patience.at_most(patience.OF_A_REQUEST), session(server, "operate") as anew:
        assert anew.value("select pg_backend_pid()") not in kept
    assert len(three()) == 3  # as many as ever may be open
