"""Every page that needs no object of its own is accessible, fits its screen and keeps the strict policy."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from dbadmin.models import Server
from dbadmin.pages import PAGES
from dbadmin.sample.load import load
from tests.fixtures.servers import server_row

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

#: Addresses that are no pages: machines read them, or a form is sent there.
NOT_PAGES = ("api", "accounts/", "static/", "healthz", "metrics", "style/")


@pytest.fixture
def academy(postgres: Any) -> Iterator[Server]:
    """The sample, so that tables have rows."""
    name = "academy_look"
    with postgres.connect() as connection:
        connection.execute(f"create database {name}")
    load(postgres.dsn_for(name), 0.05, lambda _: None)
    yield server_row("academy", postgres, name)
    with postgres.connect() as connection:
        connection.execute(f"drop database {name} with (force)")


def routes(found: Any, before: str = "") -> Iterator[str]:
    """Every address of the house."""
    for each in found:
        route = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from routes(each.url_patterns, route)
        elif isinstance(each, URLPattern):
            yield route


def addresses(client: Any) -> list[str]:
    """The pages that can be opened with a server's name alone."""
    named = [route.replace("<slug:server_name>", "academy") for route in routes(get_resolver().url_patterns)]
    plain = {f"/{route}" for route in named if "<" not in route and not route.startswith(NOT_PAGES)}
    rooms = {f"/servers/academy/{page.name}/" for page in PAGES.values() if page.name and not page.url_name}
    return sorted(path for path in plain | rooms if is_page(client.get(path)))


def is_page(answer: Any) -> bool:
    """A document to be looked at: no part of a page, no download and no refusal."""
    kind = answer.headers.get("Content-Type", "")
    if answer.status_code != 200 or not kind.startswith("text/html"):
        return False
    return "Content-Disposition" not in answer.headers and answer.content.lstrip().startswith(
        b"<!doctype html>"
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_axe_finds_nothing_serious_on_any_page_and_none_overflows(
    page_as, axe, client_as, academy, scheme, width
):
    page = page_as("admin", width=width, scheme=scheme)
    paths = addresses(client_as("admin"))
    assert len(paths) > 25
    found = {}
    for path in paths:
        page.goto(path)
        if "reauthenticate" in page.url:
            page.fill("[name=password]", "admin is allowed in")
            page.click("main button.primary")
        wide = page.evaluate("document.documentElement.scrollWidth")
        found[path] = [*axe(page), *([f"{wide} px wide"] if wide > width else [])]
    assert {path: lines for path, lines in found.items() if lines} == {}


def kind_of(address: str) -> str:
    """Equal for addresses that differ in numbers, values, order and range only."""
    parts = urlsplit(address)
    said = {
        name
        for name in re.findall(r"([\w.-]+)=", parts.query)
        if not name.endswith(("sort", "range", "page"))
    }
    return re.sub(r"/\d+(?=/|$)", "/#", parts.path) + "?" + ",".join(sorted(said))


def test_every_link_of_every_page_leads_somewhere(client_as, academy):
    """Followed from the first page on; of addresses that differ in values only, the first."""
    client, waiting, followed, astray = client_as("admin"), ["/"], set(), {}
    while waiting:
        address = waiting.pop()
        if kind_of(address) in followed:
            continue
        followed.add(kind_of(address))
        answer = client.get(address)
        if answer.status_code >= 400:
            astray[address] = answer.status_code
        if is_page(answer):
            links = re.findall(r'<a [^>]*href="([^"]+)"', answer.content.decode())
            there = [urljoin(address, unescape(link).partition("#")[0]) for link in links]
            waiting += [each for each in there if each.startswith("/") and not each.startswith("/static/")]
    assert len(followed) > 100
    assert astray == {}
