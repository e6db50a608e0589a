"""Pages about one thing: which one the address names, which rows of readings tell of it, and links that lead there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from dbadmin.addresses import where
from dbadmin.pages import PAGES, Page
from dbadmin.probes import Probe, Reading

#: What readings name that has a page of an app's own: the column that is shown, the one that names it, the page.
POINTERS: list[tuple[str, str, str]] = []


def asked(page: Page, params: Mapping[str, str]) -> dict[str, str]:
    """What the address names; empty unless it names all that the page needs."""
    found = {name: params.get(name, "") for name in page.subject}
    return found if all(found.values()) else {}


def columns(page: Page, names: Iterable[str]) -> dict[str, str]:
    """Parameter -> the column that holds it; empty when these columns do not tell what the page is about."""
    known = list(names)
    other = {parameter: column for column, parameter in page.also.items() if column in known}
    found = {name: name if name in known else other.get(name, "") for name in page.subject}
    return found if all(found.values()) else {}


def of(page: Page, reading: Reading, about: Mapping[str, str]) -> Reading:
    """The rows of a reading that tell of the page's thing; its probe may have been told already."""
    if not about or reading.probe.params:
        return reading
    names = [column.name for column in reading.columns]
    told = columns(page, names)
    if not told:
        return replace(reading, rows=[])
    places = [names.index(column) for column in told.values()]
    wanted = [about[name] for name in told]
    return replace(reading, rows=[row for row in reading.rows if [row[place] for place in places] == wanted])


def key_of(page: Page, probe: Probe, about: Mapping[str, str]) -> list[str] | None:
    """The key of the series of this thing; None when the probe keeps none."""
    told = {column: about[name] for name, column in columns(page, probe.key).items()} if about else {}
    return [told[column] for column in probe.key] if probe.key and told.keys() == set(probe.key) else None


def address(page: Page, server_name: str, database: str, about: Mapping[str, Any]) -> str:
    """Where the page shows this thing."""
    params = {**({"db": database} if database else {}), **about}
    return f"{where('page', server_name, page.name)}?{urlencode(params)}"


def links(server_name: str, database: str, names: Iterable[str]) -> dict[str, Callable[[Any], str]]:
    """Column -> the address of a row's thing, for the columns of a reading that name one."""
    known, found = list(names), {}
    for page in PAGES.values():
        told = columns(page, known) if page.subject else {}
        if told:
            found[list(told.values())[-1]] = link(page, server_name, database, told)
    for shown, named, url_name in POINTERS:
        if {shown, named} <= set(known):
            found[shown] = pointer(url_name, server_name, named)
    return found


def pointer(url_name: str, server_name: str, named: str) -> Callable[[Any], str]:
    """The address of what a column of a row names."""
    return lambda row: where(url_name, server_name, getattr(row, named))


def link(page: Page, server_name: str, database: str, told: Mapping[str, str]) -> Callable[[Any], str]:
    """The address of the thing that a row names; "" where the row leaves it open."""

    start = address(page, server_name, database, {}) + ("&" if database else "")

    def url(row: Any) -> str:
        about = {name: getattr(row, column) for name, column in told.items()}
        return "" if None in about.values() else f"{start}{urlencode(about)}"

    return url


def of_row(server_name: str, database: str, row: Mapping[str, Any]) -> str:
    """The address of the page about what a row of any reading names; "" when it names nothing that has a page."""
    for page in PAGES.values():
        told = columns(page, row) if page.subject else {}
        about = {name: row[column] for name, column in told.items()}
        if about and None not in about.values():
            return address(page, server_name, database, about)
    return ""


def heading(page: Page, about: Mapping[str, str]) -> str:
    """What the page is about, in words."""
    return ".".join(about.values()) or page.title
