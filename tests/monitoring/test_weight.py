"""A page is light however long its lists are: 60 kB of HTML and 1,500 tags at most, and nothing is lost by it."""

import datetime as dt
import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from dbadmin.cells import is_code, is_identifier
from dbadmin.connections import row_class
from dbadmin.models import Server
from dbadmin.pages import PAGES, Chart, Page, Table
from dbadmin.panels import is_live
from dbadmin.probes import PROBES, Probe, Reading
from dbadmin.reading_store import main_database, store_many
from dbadmin.single_flight import FLIGHTS
from dbadmin.units import unit_of
from monitoring.models import Statement, Text
from tests.bench.bench_page import keep_statements
from tests.monitoring.test_probes_contract import COLUMNS

BYTES, TAGS, ROWS = 60_000, 1_500, 400
LISTS = [
    page
    for page in PAGES.values()
    if not page.subject and any(isinstance(panel, Table) and panel.probe in COLUMNS for panel in page.panels)
]
VALUES = {
    "_bytes": 12_345_678_901, "_ratio": 0.87654321, "_seconds": 4567.891234,
    "_at": dt.datetime(2025, 3, 1, tzinfo=dt.UTC),
}  # fmt: skip
QUERY = (
    "select orders.id from orders join customers using (customer_id) where state <> 'new' and amount > $1\n"
)


def value(name: str, number: int) -> object:
    """What such a column of a busy server holds."""
    unit = unit_of(name)
    if is_code(name):
        return f"/* {number} */ {QUERY * 9}"
    if is_identifier(name) or name == "depth":
        return number
    suffix = unit.suffix.removesuffix("_total")
    return (
        VALUES.get(suffix, 1_234_567 + number)
        if unit.numeric or suffix in VALUES
        else f"orders_by_customer_{number}"
    )


def long_reading(server: Server, probe: Probe, rows: int = ROWS) -> Reading:
    """So many rows of a probe, read in a moment to come, so that it is not asked for again."""
    names = tuple(COLUMNS[probe.name])
    make, columns = row_class(names)._make, [probe.column(name) for name in names]
    found = [make([value(name, number) for name in names]) for number in range(rows)]
    database = main_database(server) if probe.scope == "database" else ""
    return Reading(probe, server.name, database, timezone.now() + dt.timedelta(hours=1), 5.0, columns, found)


@pytest.fixture
def full(server: Server) -> Callable[[Page], None]:
    """Have every list of a page hold hundreds of rows."""

    def fill(page: Page) -> None:
        shown = {panel.probe for panel in page.panels if not isinstance(panel, Chart)} & set(COLUMNS)
        read = [long_reading(server, PROBES[name]) for name in sorted(shown)]
        store_many(server, [reading for reading in read if not is_live(reading.probe)])
        for reading in read:
            if is_live(reading.probe):
                FLIGHTS.keep((str(server.key), reading.database, reading.probe.name, ""), reading)

    return fill


@pytest.mark.parametrize("page", LISTS, ids=lambda page: page.name or "overview")
def test_a_page_of_long_lists_is_light(
    page: Page, full: Callable[[Page], None], server: Server, client_as: Callable[[str], Client]
) -> None:
    full(page)
    address = f"/servers/{server.name}/{page.name}/".replace("//", "/")
    text = client_as("admin").get(address).content.decode()
    assert f" of {ROWS}<" in text
    size, tags = len(text.encode()), len(re.findall(r"<[a-z]", text))
    assert size <= BYTES
    assert tags <= TAGS


def test_no_row_of_a_long_list_is_lost_between_its_pages(
    full: Callable[[Page], None], server: Server, client_as: Callable[[str], Client]
) -> None:
    page, client, seen = PAGES["activity"], client_as("admin"), []
    full(page)
    address = f"/servers/{server.name}/activity/"
    while address:
        text = client.get(address).content.decode()
        panel = text.partition('<section class="panel" id="sessions"')[2].partition("</section>")[0]
        seen += [int(pid) for pid in re.findall(r"<pre>/\* (\d+) \*/", panel)]
        following = re.search(r'href="(\?page=\d+)" rel="next"', panel)
        address = f"/servers/{server.name}/activity/{following[1]}" if following else ""
    assert seen == list(range(ROWS))


def test_a_long_list_that_is_asked_for_again_is_as_long_as_it_was(
    full: Callable[[Page], None], server: Server, client_as: Callable[[str], Client]
) -> None:
    page, client = PAGES["activity"], client_as("admin")
    full(page)
    address = f"/servers/{server.name}/activity/"
    text = client.get(address).content.decode()
    panels = dict(re.findall(r'(?s)<section class="panel" id="(\w+)".*?(<tbody>.*?</tbody>)', text))
    polls = dict(re.findall(r'(?s)<section class="panel" id="(\w+)".*?hx-get="([^"]+)"', text))
    assert "room=" in polls["sessions"]
    for name, rows in panels.items():
        again = client.get(
            address + polls[name].replace("&amp;", "&"), headers={"HX-Request": "true"}
        ).content.decode()
        assert again.count("<tr>") == rows.count("<tr>") + 1
        assert polls[name] in again


def test_the_list_of_statements_is_light_before_there_is_history_and_its_filter_looks_through_all_of_it(
    server: Server, client_as: Callable[[str], Client]
) -> None:
    reading = long_reading(server, PROBES["statements"])
    store_many(server, [reading])
    for row in reading.rows:
        text = Text.objects.create(
            digest=row.query_id.to_bytes(4, "big"), fingerprint="", text=value("query", row.query_id)
        )
        Statement.objects.create(server=server, database_id=row.database_id, query_id=row.query_id, text=text)
    client, address = client_as("admin"), f"/servers/{server.name}/queries/"
    text = client.get(address).content.decode()
    assert "Since the server began to count: this window has no history yet." in text
    assert len(text.encode()) <= BYTES
    assert len(re.findall(r"<[a-z]", text)) <= TAGS
    found = client.get(address, {"q": "/* 399 */"}).content.decode()
    assert re.findall(r"<pre>/\* (\d+) \*/", found) == ["399"]


@pytest.mark.parametrize("query", ["", "?sort=-calls_count&q=kind", "?page=3"])
def test_the_list_of_statements_is_light_with_an_hour_of_history(
    server: Server, client_as: Callable[[str], Client], query: str
) -> None:
    keep_statements(server)
    text = client_as("admin").get(f"/servers/{server.name}/queries/{query}").content.decode()
    assert re.search(r"(1–60|121–180) of \d\u202f\d{3}<", text)
    assert len(text.encode()) <= BYTES - 5_000  # longer names of roles and databases find room
    assert len(re.findall(r"<[a-z]", text)) <= TAGS


def test_the_page_of_a_wide_table_is_light(
    make: Callable[[str], None], server: Server, client_as: Callable[[str], Client]
) -> None:
    columns = ", ".join(f"measured_value_{number} numeric default {number} not null" for number in range(300))
    indexes = "; ".join(
        f"create index on wide (measured_value_{number}, measured_value_{number + 1})" for number in range(60)
    )
    checks = ", ".join(f"check (measured_value_{number} >= 0)" for number in range(60))
    make(f"create table wide (id int primary key, {columns}, {checks}); {indexes}")
    client, address = client_as("admin"), f"/servers/{server.name}/table/?schema=public&table=wide"
    text = ""
    for _ in range(50):
        text = client.get(address).content.decode()
        if "has not answered yet" not in text:
            break
    assert " of 301<" in text
    assert len(text.encode()) <= BYTES
    assert len(re.findall(r"<[a-z]", text)) <= TAGS
