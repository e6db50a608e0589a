"""Pages: what each takes of the processor in all, how heavy it is, and how many a second come out of two workers."""

import datetime as dt
import re
from collections.abc import Iterator

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dbadmin.models import Server
from dbadmin.reading_store import store_many
from monitoring.keeper import Keeper
from monitoring.models import Statement, Text
from monitoring.rounds import Batch, Round
from monitoring.writer import Store
from tests.bench.bench_history import STATEMENTS, Workload
from tests.bench.bench_sampler import large_reading
from tests.bench.frame import Bench, Figure, ask_anew, processor_seconds
from tests.fixtures.people import person

#: What a page may take, as a multiple of the statements that it sends to our own database.
BAR = 10.0
#: Milliseconds of our process and of our database's; kilobytes and tags of the page.
CPU, SIZE, TAGS = 15.0, 60.0, 1500
PAGES = ("", "activity/", "connections/", "tables/", "indexes/", "queries/", "timeline/", "compare/")


def figures(bench: Bench) -> Iterator[Figure]:
    """Each page on one client, warm, with an hour of statements and a catalog of ten thousand tables."""
    server = bench.sample(0.1)
    client = Client(headers={"host": "localhost"})
    client.force_login(person("admin"))
    keep_readings(server)
    keep_statements(server)
    yield from compare("fleet", client, "/")
    for page in PAGES:
        yield from compare(page.strip("/") or "overview", client, f"/servers/{server.name}/{page}")
    table = f"/servers/{server.name}/table/?schema=public&table=enrollments"
    yield from compare("table", client, table)
    yield from compare("runs", client, "/runs/")
    large = large_reading(server)
    large.database = server.name
    store_many(server, [large])
    yield from compare("10000_tables", client, f"/servers/{server.name}/tables/")


def keep_readings(server: Server) -> None:
    """What the sampler would have written by now: pages read our own store first."""
    batches: list[Batch] = []
    one = Round(server, batches.append)
    one.run()
    one.close()
    store = Store()
    for batch in batches:
        store.write(batch)


def keep_statements(server: Server) -> None:
    """An hour of a busy server, each of its statements with a text of some 790 bytes; once for all areas."""
    if Statement.objects.filter(server=server, database_id=5, query_id=7919).exists():
        return
    keeper, workload = Keeper(), Workload()
    now = dt.datetime.now(dt.UTC)
    for minute in range(60, 0, -1):
        keeper.keep(server, [workload.minute(now - dt.timedelta(minutes=minute))], [], [])
    filler = "lorem ipsum dolor sit amet " * 26
    texts = [
        Text(
            digest=number.to_bytes(4, "big"),
            fingerprint=str(number),
            text=f"table {number} where kind = $1 {filler}",
        )
        for number in range(STATEMENTS)
    ]
    Text.objects.bulk_create(texts)
    Statement.objects.bulk_create(
        Statement(server=server, database_id=5, query_id=number * 7919, text=text)
        for number, text in enumerate(texts)
    )


def compare(name: str, client: Client, address: str) -> Iterator[Figure]:
    """One page's figures; the test client works in this process and on its connection."""

    def visit() -> str:
        answer = client.get(address)
        assert answer.status_code == 200, f"{address} answered {answer.status_code}"
        return answer.content.decode()

    visit()
    with CaptureQueriesContext(connection) as sent:
        text = visit()
    statements = [query["sql"] for query in sent.captured_queries]

    raw = connection.connection
    bare = processor_seconds(lambda: ask_anew(statements), raw.info.backend_pid)
    whole = processor_seconds(visit, raw.info.backend_pid)
    yield Figure(name, whole / bare, BAR)
    yield Figure(f"{name}_cpu_ms", whole * 1000, CPU)
    yield Figure(f"{name}_kb", len(text.encode()) / 1000, SIZE)
    yield Figure(f"{name}_tags", len(re.findall(r"<[a-z]", text)), TAGS)
