"""Many people at once: pages that ask the server, page loads of eight browsers, and five hundred who watch."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dbadmin.connections import session as session_of
from dbadmin.models import Server
from dbadmin.pages import PAGES, Chart
from dbadmin.panels import is_live
from dbadmin.probes import PROBES, SqlProbe
from dbadmin.single_flight import FLIGHTS
from tests.bench.bench_page import keep_readings, keep_statements
from tests.bench.frame import Bench, Figure, ask_anew
from tests.bench.site import Site, cookies, parent_of, running, seconds_of
from tests.fixtures.people import person

#: Pages that ask the server itself.
LIVE = ("activity", "locks")
#: What eight people look at, and how often.
LOOKED_AT = ("", "activity/", "connections/", "tables/", "indexes/", "queries/", "vacuum/")
BROWSERS, LOADS = 8, 50
#: Who watches, each how often (seconds), and for how long it is measured.
WATCHERS, EACH, WARM, MEASURED = 500, 2.0, 6.0, 20.0


def figures(bench: Bench) -> Iterator[Figure]:
    """Live pages against their statements, then many people at once."""
    server = bench.sample(0.1)
    keep_readings(server)
    keep_statements(server)
    with bench.postgres.connect() as own:
        target = parent_of(own.info.backend_pid)
    for name in LIVE:
        yield from live(name, server, target)
    with running(bench.postgres) as site:
        yield from loads(site, server)
        yield from watchers(site, server, bench)


def live(name: str, server: Server, target: int) -> Iterator[Figure]:
    """What a page takes that finds no answer of a moment ago, and what its statements alone take, the least of a few.

    Both count what this process, its session in our database, and the target use of the processor.
    """
    client, address = Client(headers={"host": "localhost"}), f"/servers/{server.name}/{name}/"
    client.force_login(person("admin"))

    def visit() -> None:
        while FLIGHTS.under_way:  # what the last one stores is its work, too
            time.sleep(0.001)
        FLIGHTS.answers.clear()
        FLIGHTS.shared.call(lambda redis: redis.flushdb(), None)
        assert client.get(address).status_code == 200

    visit()
    with CaptureQueriesContext(connection) as sent:
        visit()
    statements = [query["sql"] for query in sent.captured_queries]
    shown = [PROBES[panel.probe] for panel in PAGES[name].panels if not isinstance(panel, Chart)]
    probes = [probe for probe in shown if is_live(probe) and isinstance(probe, SqlProbe)]
    assert probes, f"{name} asks nothing live"

    with session_of(server, seconds=300) as session:

        def ask() -> None:
            for probe in probes:
                session.connection.execute(probe.statement(session.major)).fetchall()
            ask_anew(statements)

        floor = least(ask, target)
    whole = least(visit, target)
    yield Figure(f"{name}_floor_cpu_ms", floor, 15)
    yield Figure(f"{name}_cpu_ms", whole, 1.2 * floor + 8)


def least(action: Callable[[], None], target: int, times: int = 40) -> float:
    """Milliseconds of the processor that an action takes: the least mean of a few rounds."""
    connection.ensure_connection()
    own = connection.connection.info.backend_pid

    def used() -> float:
        return time.process_time() + seconds_of(own) + seconds_of(target)

    taken = []
    for _ in range(4):
        before = used()
        for _ in range(times):
            action()
        taken.append((used() - before) / times * 1000)
    return min(taken)


def loads(site: Site, server: Server) -> Iterator[Figure]:
    """Page loads a second that two cores can give eight browsers, by what they took of the processor."""
    pages = ["/", *(f"/servers/{server.name}/{page}" for page in LOOKED_AT)]

    def browse(cookie: str, count: int) -> None:
        browser = site.client()
        for number in range(count):
            browser.request(
                "GET", pages[number % len(pages)], headers={"Cookie": cookie, "Accept-Encoding": "gzip"}
            )
            answer = browser.getresponse()
            answer.read()
            assert answer.status == 200, answer.status

    people = cookies(BROWSERS, "admin")
    with ThreadPoolExecutor(BROWSERS) as pool:
        list(pool.map(browse, people, [16] * BROWSERS))
        before, began = site.used(), time.perf_counter()
        list(pool.map(browse, people, [LOADS] * BROWSERS))
        taken, passed = site.used() - before, time.perf_counter() - began
    yield Figure("eight_browsers_loads_a_second_of_two_cores", 2 * BROWSERS * LOADS / taken, 150, "higher")
    yield Figure("eight_browsers_loads_a_second_of_this_machine", BROWSERS * LOADS / passed, 0, "higher")


def watchers(site: Site, server: Server, bench: Bench) -> Iterator[Figure]:
    """Five hundred people, each with a page whose live panels are asked for every two seconds."""
    people = cookies(WATCHERS)
    poll = poll_of(site, f"/servers/{server.name}/activity/", people[0])
    requests = [
        f"GET {poll} HTTP/1.1\r\nHost: localhost\r\nHX-Request: true\r\nAccept-Encoding: gzip\r\n"
        f"Cookie: {cookie}\r\n\r\n".encode()
        for cookie in people
    ]
    waited = asyncio.run(watch(site, requests, bench, counted := {}))
    rounds = MEASURED / EACH
    yield Figure("watchers_p95_ms", sorted(waited)[int(len(waited) * 0.95)] * 1000, 100)
    yield Figure("watchers_share_of_a_core", counted["cpu"] / MEASURED, 0.25)
    yield Figure("watchers_questions_a_cadence", counted["asked"] / (rounds + 1), 1)
    yield Figure("watchers_answers_a_second", len(waited) / MEASURED, 0.95 * WATCHERS / EACH, "higher")


def poll_of(site: Site, address: str, cookie: str) -> str:
    """What a browser asks for when the live panels of a page are due: all of them at once."""
    browser = site.client()
    browser.request("GET", address, headers={"Cookie": cookie})
    live = re.findall(r'data-live="5.0" hx-get="\?(panel=[^"]+)"', browser.getresponse().read().decode())
    assert live, f"{address} has no live panels"
    return f"{address}?{'&'.join(live)}"


async def watch(site: Site, requests: list[bytes], bench: Bench, counted: dict[str, float]) -> list[float]:
    """Let all poll; returns how long each answer of the measured time took, seconds."""
    loop = asyncio.get_running_loop()
    start = loop.time() + 0.5
    waited: list[float] = []

    async def person(number: int) -> None:
        due = start + EACH * number / len(requests)
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        while due < start + WARM + MEASURED:
            await asyncio.sleep(max(0.0, due - loop.time()))
            began = loop.time()
            writer.write(requests[number])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            assert length, head
            await reader.readexactly(int(length[1]))
            if began >= start + WARM:
                waited.append(loop.time() - due)
            due += EACH
        writer.close()

    async def count() -> None:
        await asyncio.sleep(start + WARM - loop.time())
        used, asked = site.used(), questions(bench)
        await asyncio.sleep(start + WARM + MEASURED - loop.time())
        counted.update(cpu=site.used() - used, asked=questions(bench) - asked)

    await asyncio.gather(count(), *(person(number) for number in range(len(requests))))
    return waited


def questions(bench: Bench) -> int:
    """How often the target was asked for its sessions."""
    with bench.postgres.connect() as own:
        own.execute("create extension if not exists pg_stat_statements")
        row = own.execute(
            "select coalesce(sum(calls), 0)::int8 from pg_stat_statements where query like %s",
            ["/* dbadmin probe sessions */%"],
        ).fetchone()
    return int(row[0]) if row else 0
