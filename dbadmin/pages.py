"""Pages are written lists of panels: no HTML, no SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """One part of a page that shows a probe. width: "full" or "half" of the page."""

    probe: str
    title: str = ""
    width: str = "full"


@dataclass(frozen=True)
class Table(Panel):
    """The rows of a reading. columns: which, in this order (none: all); limit: rows per page."""

    columns: Sequence[str] = ()
    limit: int = 100


@dataclass(frozen=True)
class Figures(Panel):
    """The first row of a reading as key figures."""

    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Chart(Panel):
    """The history of a series: a column of a probe. by: one line per value of this key column; stack: areas."""

    series: Sequence[str] | str = ()
    by: str = ""
    most: int = 6


@dataclass(frozen=True)
class Page:
    """A room of a server.

    name: its address below the server ("" is the overview); group: heading in the navigation;
    url_name: an own view instead of panels;
    live: seconds between refreshes of live panels.
    """

    name: str
    title: str
    panels: Sequence[Panel] = ()
    group: str = "See"
    permission: str = "monitoring.view"
    url_name: str = ""
    order: int = 50
    about: str = ""
    per_database: bool = False
    hidden: bool = False


PAGES: dict[str, Page] = {}


def load(pages: Iterable[Page]) -> None:
    """Register an app's pages."""
    for page in pages:
        PAGES[page.name] = page


def ordered() -> list[Page]:
    """As the navigation shows them."""
    return sorted(PAGES.values(), key=lambda page: (page.order, page.title))
