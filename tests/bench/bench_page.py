"""Pages against the bare SQL that they need: what Django, permissions and rendering add to the databases' own time."""

from collections.abc import Iterator

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dbadmin.connections import session
from dbadmin.models import Server
from dbadmin.probes import PROBES
from dbadmin.reading_store import store_many
from tests.bench.frame import Bench, Figure, processor_seconds
from tests.fixtures.people import person

# What a page may take, as a multiple of the statements that it sends to our own database.
BAR = 10.0
PAGES = ("", "activity/", "connections/", "tables/", "indexes/", "queries/")


def figures(bench: Bench) -> Iterator[Figure]:
    """Each page's time over the time of its statements, on one client, warm."""
    server = bench.sample(0.1)
    client = Client(headers={"host": "localhost"})
    client.force_login(person("admin"))
    keep_readings(server)
    yield compare("fleet", client, "/")
    for page in PAGES:
        yield compare(page.strip("/") or "overview", client, f"/servers/{server.name}/{page}")
    yield compare("runs", client, "/runs/")


def keep_readings(server: Server) -> None:
    """What the sampler would have written by now: pages read our own store first."""
    with session(server) as opened:
        sampled = [probe for probe in PROBES.values() if probe.every and probe.source == "postgres"]
        store_many(server, [probe.read(opened) for probe in sampled])


def compare(name: str, client: Client, address: str) -> Figure:
    """One page's figure; the test client works in this process and on its connection."""

    def visit() -> None:
        answer = client.get(address)
        assert answer.status_code == 200, f"{address} answered {answer.status_code}"

    visit()
    with CaptureQueriesContext(connection) as sent:
        visit()
    statements = [query["sql"] for query in sent.captured_queries]

    def ask() -> None:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                if cursor.description:
                    cursor.fetchall()

    raw = connection.connection
    bare = processor_seconds(ask, raw.info.backend_pid)
    return Figure(name, processor_seconds(visit, raw.info.backend_pid) / bare, BAR)
