"""One search for both: changes of the data, and what people did in dbadmin itself, on one line of time."""

from __future__ import annotations

import datetime as dt
import heapq
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.urls import reverse

from audit import inside
from audit.asking import Asked
from audit.behind import Behind, behind
from audit.listing import Line, lines_of
from audit.search import PAGE, BadFilter, Filter
from audit.search import Page as Found
from dbadmin.models import Event, Run
from dbadmin.permissions import may

#: What may be searched, and how it is said.
SOURCES = {
    "": "Data and dbadmin",
    "data": "Changes of the data",
    "dbadmin": "What people did in dbadmin",
    "views": "Who read or exported the log",
}
READING = ("audit.view", "audit.export")


@dataclass(frozen=True)
class Places:
    """Where a page begins in each of the three: statements, events, runs. None: at the very end."""

    statement: int | None = None
    event: int | None = None
    run: int | None = None

    @classmethod
    def read(cls, text: str) -> Places | None:
        """`123.45.6` of an address; a piece may be empty; None: none was given."""
        pieces = [*text.split("."), "", ""][:3]
        if not text or not all(piece == "" or (piece.isdecimal() and len(piece) < 19) for piece in pieces):
            return None
        return cls(*(int(piece) if piece else None for piece in pieces))

    def __str__(self) -> str:
        return ".".join(
            "" if place is None else str(place) for place in (self.statement, self.event, self.run)
        )


@dataclass
class Deed:
    """What a person did in dbadmin: an event, or a run of an operation."""

    source: str
    pk: int
    at: dt.datetime
    person: str
    what: str
    text: str
    origin: str = ""
    url: str = ""
    status: str = ""


@dataclass
class Entry:
    """A line of the page: one of the two."""

    line: Line | None = None
    deed: Deed | None = None


@dataclass
class Page:
    """A page of both. behind: where it stopped, what would have spared it to look from row to row."""

    entries: list[Entry] = field(default_factory=list)
    newer: Places | None = None
    older: Places | None = None
    searched_to: dt.datetime | None = None
    behind: Behind | None = None


def deed_of_event(event: Event) -> Deed:
    """An event as a line."""
    return Deed("event", event.pk, event.at, event.user_name or "dbadmin", event.kind, event.text,
                event.address or "")  # fmt: skip


def deed_of_run(run: Run) -> Deed:
    """A run as a line."""
    return Deed("run", run.pk, run.queued_at, run.user_name or "dbadmin", "run", str(run), run.door,
                reverse("run", args=[run.pk]), run.status)  # fmt: skip


def span(found: QuerySet[Any], column: str, wanted: Filter) -> QuerySet[Any]:
    """The times of the search."""
    if wanted.since:
        found = found.filter(**{f"{column}__gte": wanted.since})
    if wanted.until:
        found = found.filter(**{f"{column}__lt": wanted.until})
    return found


def asks_for_data_only(wanted: Filter) -> bool:
    """Does it ask for what only a change of data has?"""
    return bool(
        wanted.source == "data"
        or wanted.xid
        or wanted.key
        or wanted.column
        or wanted.value
        or wanted.operation
    )


def events(asked: Asked, wanted: Filter) -> QuerySet[Event]:
    """Events of this server, and those of no server for who may see them."""
    user = asked.request.user
    if asks_for_data_only(wanted) or not may(user, "events.view", asked.server):
        return Event.objects.none()
    mine = Q(server=asked.server)
    if may(user, "events.view"):
        mine |= Q(server=None)
    found = Event.objects.filter(mine)
    if wanted.source == "views":
        found = found.filter(kind__in=READING)
    elif wanted.source == "":
        found = found.exclude(kind="audit.view")
    if wanted.person:
        found = found.filter(user_name=wanted.person)
    for text in (wanted.text, wanted.table):
        if text:
            found = found.filter(text__icontains=text)
    return span(found, "at", wanted)


def runs(asked: Asked, wanted: Filter) -> QuerySet[Run]:
    """Runs of this server."""
    if (
        asks_for_data_only(wanted)
        or wanted.source == "views"
        or not may(asked.request.user, "runs.view", asked.server)
    ):
        return Run.objects.none()
    found = Run.objects.filter(server=asked.server).defer("plan", "reverse", "params", "facts", "result")
    if wanted.person:
        found = found.filter(user_name=wanted.person)
    for text in (wanted.text, wanted.table):
        if text:
            found = found.filter(Q(title__icontains=text) | Q(target__icontains=text))
    return span(found, "queued_at", wanted)


def beyond(found: QuerySet[Any], before: int | None, after: int | None, limit: int) -> list[Any]:
    """The next ones of a list that is numbered: older than before, or (oldest first) newer than after."""
    if after is not None:
        return list(found.filter(pk__gt=after).order_by("pk")[:limit])
    return list((found.filter(pk__lt=before) if before is not None else found).order_by("-pk")[:limit])


def page(asked: Asked, wanted: Filter, before: Places | None, after: Places | None) -> Page:
    """Fifty lines of all three, in the order of time; each keeps its own place for the next page."""
    if wanted.source not in SOURCES:
        raise BadFilter(
            f"{wanted.source} is none of: {', '.join(name for name in SOURCES if name)}.", "source"
        )
    # A search inside of rows walks from new to old only.
    start, back = before or Places(), None if wanted.is_inside else after
    wants_data = wanted.source in ("", "data")
    found = Found()
    if wants_data:
        found = inside.find(
            asked.rows, asked.state, wanted, start.statement, place(back.statement) if back else None
        )
    up = back is not None
    streams = {
        "statement": found.statements[::-1] if up else found.statements,
        "event": beyond(events(asked, wanted), start.event, place(back.event) if back else None, PAGE + 1),
        "run": beyond(runs(asked, wanted), start.run, place(back.run) if back else None, PAGE + 1),
    }
    floor = None if up else found.searched_to
    merged = merge(streams, up, floor)
    shown = merged[:PAGE]
    more = len(merged) > PAGE or (found.newer if up else found.older) is not None
    ends = ends_of(shown, start, back)
    stopped = floor is not None and len(merged) <= PAGE
    if stopped:
        ends = (ends[0], Places(found.older, ends[1].event, ends[1].run))
    lacks = stopped and found.older and behind(asked.rows, asked.state, wanted, found.older)
    ordered = shown[::-1] if up else shown
    return Page(
        entries_of(asked, ordered),
        newer=ends[0] if shown and not wanted.is_inside and (more if up else before is not None) else None,
        older=ends[1] if (shown or floor) and (True if up else more) else None,
        searched_to=floor if stopped else None,
        behind=lacks or None,
    )


def place(number: int | None) -> int:
    """A place at the very end has nothing newer."""
    return 1 << 62 if number is None else number


Piece = tuple[str, Any]


def moment_of(piece: Piece) -> dt.datetime:
    """When it happened."""
    name, row = piece
    found: dt.datetime = row.queued_at if name == "run" else row.at
    return found


def merge(streams: dict[str, list[Any]], up: bool, floor: dt.datetime | None) -> list[Piece]:
    """One list in the order of time; each of the three keeps its own order."""
    named = [[(name, row) for row in rows] for name, rows in streams.items()]
    merged = list(heapq.merge(*named, key=moment_of, reverse=not up))
    if floor is None:
        return merged
    return [piece for piece in merged if piece[0] == "statement" or moment_of(piece) >= floor]


def ends_of(shown: list[Piece], start: Places, back: Places | None) -> tuple[Places, Places]:
    """Where the newer and the older page begin. shown: in the order of the walk."""
    firsts: dict[str, int] = {}
    lasts: dict[str, int] = {}
    for name, row in shown:
        firsts.setdefault(name, row.pk if name != "statement" else row.id)
        lasts[name] = row.pk if name != "statement" else row.id
    names = ("statement", "event", "run")
    if back is not None:
        older = Places(*(firsts.get(name, after_place(getattr(back, name))) for name in names))
        return Places(*(lasts.get(name, getattr(back, name)) for name in names)), older
    newer = [firsts.get(name, before_place(getattr(start, name))) for name in names]
    return Places(*newer), Places(*(lasts.get(name, getattr(start, name)) for name in names))


def before_place(number: int | None) -> int | None:
    """Where a page that began below this number has its newer end."""
    return None if number is None else number - 1


def after_place(number: int | None) -> int | None:
    """Where a page that began above this number has its older end."""
    return None if number is None else number + 1


def entries_of(asked: Asked, shown: list[Piece]) -> list[Entry]:
    """Lines for the page; statements are read together."""
    lines = lines_of(asked.rows, asked.state, [row for name, row in shown if name == "statement"])
    by_id = {line.statement.id: line for line in lines}
    made = []
    for name, row in shown:
        if name == "statement":
            made.append(Entry(line=by_id[row.id]))
        else:
            made.append(Entry(deed=deed_of_event(row) if name == "event" else deed_of_run(row)))
    return made
