"""PgBouncer and Redis: asked for real, and silent where there is none."""

import secrets

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from dbadmin import readiness
from dbadmin.connections import Session
from dbadmin.probes import PROBES
from dbadmin.readings import live
from devtools import ports, processes
from monitoring.probes import redis_cache
from tests.running import scratch

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def pooler(postgres):
    """A PgBouncer before the private server: a function that opens a connection through it."""
    here, port, password = scratch(), ports.any_free(1)[0], secrets.token_urlsafe(12)
    service = processes.pooler(
        here.programs,
        port,
        postgres.cluster,
        {"watcher": password},
        here.directory,
        here.directory / "pgbouncer.log",
    )
    running = here.begin(service)

    def connect(database, user="postgres"):
        return psycopg.connect(dsn(database, user), autocommit=True)

    def dsn(database, user="postgres"):
        word = password if user == "watcher" else postgres.password
        return make_conninfo(host=ports.HOST, port=port, dbname=database, user=user, password=word)

    connect.dsn = dsn
    yield connect
    here.stop(running)


def test_pools_say_who_works_and_what_went_through(pooler, database):
    with pooler(database) as client, pooler("pgbouncer", "watcher") as console:
        client.execute("begin")
        session = Session(console)
        pools = {row.database: row for row in PROBES["pools"].read(session).rows}
        clients = PROBES["pool_clients"].read(session)
        stats = PROBES["pool_stats"].read(session)
    assert pools[database].active_clients_count == 1
    assert pools[database].active_servers_count == 1
    assert pools[database].wait_seconds == 0
    assert pools[database].mode == "transaction"
    assert "pgbouncer" not in pools
    assert [(row.database, row.state, row.wait_seconds) for row in clients.rows] == [(database, "active", 0)]
    assert {row.database for row in stats.rows} >= {database}
    assert stats.problem is None


def test_a_page_asks_the_pooler_itself(pooler, database, server):
    server.seal_dsn("pgbouncer_dsn", pooler.dsn("pgbouncer", "watcher"))
    with pooler(database) as client:
        client.execute("begin")
        for _ in range(2):  # a new session, and one from our own pool
            reading = live(server, "pools", max_age=0)
            assert reading.problem is None
            assert {row.database: row.active_clients_count for row in reading.rows} == {database: 1}


def test_a_page_says_that_no_pooler_is_known(server):
    problem = live(server, "pools").problem
    assert (problem.kind, problem.message) == ("unsupported", "No PgBouncer is known for this server.")


def test_redis_8_tells_more_about_each_database_than_its_keys(redis_url):
    client = redis.Redis.from_url(redis_url)
    client.set("known", "x")
    info = client.info()
    assert redis_cache.row({**info, "db0_distrib_strings_sizes": {"1": 1}}) == redis_cache.row(info)


def test_redis_tells_hits_memory_and_evictions(server, redis_url, target):
    client = redis.Redis.from_url(redis_url)
    client.set("known", "x")
    client.config_resetstat()
    for _ in range(900):
        client.get("known")
    for _ in range(300):
        client.get("absent")
    server.seal_dsn("redis_url", redis_url)
    (row,) = PROBES["redis_cache"].read(Session(target.connection, server)).rows
    assert row.hit_ratio == pytest.approx(0.75, abs=0.02)
    assert row.used_bytes > 0
    assert row.limit_bytes is None
    assert row.used_ratio is None
    assert row.keys_count >= 1


def test_redis_that_is_away_is_a_problem_without_its_password(server, target):
    server.seal_dsn("redis_url", "redis://:secret@127.0.0.1:1/0")
    problem = PROBES["redis_cache"].read(Session(target.connection, server)).problem
    assert (problem.kind, problem.message) == ("unreachable", "Redis does not answer.")


def test_server_without_redis_has_nothing_to_say(server, target):
    reading = PROBES["redis_cache"].read(Session(target.connection, server))
    assert (reading.rows, reading.problem) == ([], None)


def test_a_server_is_not_added_through_its_pooler(pooler, database, postgres):
    with pytest.raises(readiness.Unreachable) as refusal:
        readiness.check_dsn(pooler.dsn(database))
    assert (str(refusal.value), refusal.value.field) == (readiness.POOLED, "dsn")
    with pytest.raises(readiness.Unreachable) as refusal:
        readiness.check_dsn(pooler.dsn("pgbouncer", "watcher"))
    assert str(refusal.value) == readiness.CONSOLE
    assert readiness.check_dsn(postgres.dsn_for(database, "postgres"))
