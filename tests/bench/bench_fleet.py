"""A hundred servers and one sampler: whether it keeps its cadence, and what it takes of the processor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from django.db import connection

from dbadmin.models import Server
from tests.bench.frame import Bench, Figure
from tests.bench.site import seconds_of
from tests.fixtures.servers import Postgres, server_row, start_postgres

SERVERS, CLUSTERS, DATABASES = 100, 4, 5
#: How long the first reading of all may take, and for how long it is measured then, seconds.
FIRST, MEASURED = 300, 150
#: The longest time between two samples of each server, whose cadence is a minute; null where there were none.
LONGEST = """
select max(longest), count(*) from (
    select source.server_id, max(gap) as longest from (
        select source_id, extract(epoch from taken_at - lag(taken_at) over (partition by source_id order by taken_at))
            ::float8 as gap
        from monitoring_minute where taken_at > %s
    ) each join monitoring_source source on source.id = source_id
    where source.probe = 'server_vitals' and gap is not null group by source.server_id
) found
"""
READ = "select count(distinct server_id) from dbadmin_storedreading where probe = 'server_vitals'"


def figures(bench: Bench) -> Iterator[Figure]:
    """One sampler process, several clusters with several databases each."""
    clusters = [start_postgres(f"fleet-{number}") for number in range(CLUSTERS)]
    others = Server.objects.filter(enabled=True)
    resting = list(others.values_list("pk", flat=True))
    others.update(enabled=False)
    for number in range(SERVERS):
        server_row(f"one-of-{SERVERS}-{number}", clusters[number % CLUSTERS])
    for cluster in clusters:
        make_databases(cluster)
    argv = [sys.executable, "manage.py", "sampler"]
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "dbadmin.settings", "LOG_LEVEL": "ERROR"}
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL)
    try:
        yield from sampled(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        Server.objects.filter(name__startswith=f"one-of-{SERVERS}-").delete()
        Server.objects.filter(pk__in=resting).update(enabled=True)


def make_databases(cluster: Postgres) -> None:
    """A few databases with a few tables each."""
    for number in range(DATABASES):
        cluster.admin.execute(f"create database shop_{number}")
        with cluster.connect(f"shop_{number}") as own:
            own.execute("create extension pg_stat_statements")
            for table in range(20):
                own.execute(
                    f"create table goods_{table} (id int primary key, price int, sold_at timestamptz)"
                )


def sampled(pid: int) -> Iterator[Figure]:
    """Wait for the first reading of all, then look at what follows; where that never comes, nothing can follow."""
    began, read = time.monotonic(), 0
    while read < SERVERS and time.monotonic() - began < FIRST:
        time.sleep(1)
        read = int(str(asked(READ)[0]))
    yield Figure("servers_read", read, SERVERS, "higher")
    if read < SERVERS:
        return
    yield Figure("all_read_after_seconds", time.monotonic() - began, 120)
    start, used = asked("select pg_catalog.clock_timestamp()")[0], seconds_of(pid)
    time.sleep(MEASURED)
    share = (seconds_of(pid) - used) / MEASURED
    longest, servers = asked(LONGEST, start)
    yield Figure("servers_sampled_again", servers, SERVERS, "higher")
    yield Figure("longest_between_samples_seconds", longest or float("inf"), 66)
    yield Figure("sampler_share_of_a_core", share, 0.5)


def asked(query: str, *params: object) -> tuple[object, ...]:
    """The one row of a question to our own database."""
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return tuple(cursor.fetchone())
