"""Pages are written lists of panels: no HTML, no SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Panel:
    """One part of a page that shows a probe. width: "full" or "half" of the page.

    On a page about one thing: empty: said instead of the probe's words when nothing is known of that thing;
    if_any: left out then. on_demand: costly, so asked only when the person says so. more: title and address of the
    page that tells more of it, {name} standing for what the address says of the thing.
    """

    probe: str
    title: str = ""
    width: str = "full"
    empty: str = ""
    if_any: bool = False
    on_demand: bool = False
    more: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Table(Panel):
    """The rows of a reading. columns: which, in this order (none: all), unless a person chose; limit: rows per page."""

    columns: Sequence[str] = ()
    limit: int = 100


@dataclass(frozen=True)
class Figures(Panel):
    """The first row of a reading as key figures."""

    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Chart(Panel):
    """The history of a series: a column of a probe, or several, each a chart.

    by: one line per value of this key column; together: all columns as lines of one chart.
    """

    series: Sequence[str] | str = ()
    by: str = ""
    most: int = 6
    together: bool = False


@dataclass(frozen=True)
class Page:
    """A room of a server.

    name: its address below the server ("" is the overview); group: heading in the navigation;
    url_name: an own view instead of panels;
    subject: parameters of the address that name the one thing that the page is about; also: other columns of
    readings that name it, each with its parameter; its first panel tells whether there is such a thing, and only
    that and the past are shown when there is none; below: the room whose lists lead here;
    range: the window of its charts unless the address says another.
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
    subject: Sequence[str] = ()
    also: Mapping[str, str] = field(default_factory=dict)
    below: str = ""
    range: str = "1h"


PAGES: dict[str, Page] = {}


def usual_columns(probe: str) -> Sequence[str]:
    """What the first table of a probe shows to those who did not choose; nothing: all."""
    tables = (each for page in ordered() for each in page.panels if isinstance(each, Table))
    return next((table.columns for table in tables if table.probe == probe), ())


def load(pages: Iterable[Page]) -> None:
    """Register an app's pages."""
    for page in pages:
        PAGES[page.name] = page


def ordered() -> list[Page]:
    """As the navigation shows them."""
    return sorted(PAGES.values(), key=lambda page: (page.order, page.title))
