"""A server that subscribes to many others is recovered: how far it has come with each has a place of its own."""

from collections.abc import Callable

import pytest

from tests.backups.recovering import Source
from tests.backups.test_point_in_time import numbers, recover, stop
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def test_a_server_with_more_subscriptions_than_the_settings_from_scratch_allow_is_recovered(
    postgres: Postgres, make_source: Callable[..., Source]
) -> None:
    places = "max_active_replication_origins" if postgres.major >= 18 else "max_replication_slots"
    source = make_source(**{places: "20"})
    source.execute("select pg_replication_origin_create('from_' || n) from generate_series(1, 12) n")
    source.execute("select pg_replication_origin_advance('from_' || n, '0/1') from generate_series(1, 12) n")
    source.base()
    source.insert(1)
    source.covered()
    row = recover(source)
    assert numbers(row) == [1]
    stop(source, row)
