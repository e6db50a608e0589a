"""Before and after: a window of a server held against another one, by statements, tables or connections."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from dbadmin import exports, history, readings
from dbadmin.addresses import where
from dbadmin.charts import ChartView, Line, Mark, TimeRange, moment_of
from dbadmin.models import Server
from dbadmin.probes import Column
from dbadmin.tables import TableView
from dbadmin.units import rate_name, unit_of
from dbadmin.views import server_for
from monitoring.blocks import find_source, looked_up
from monitoring.comparison import Spans, statements
from monitoring.comparison_connections import connections
from monitoring.comparison_tables import tables

EARLIER = {
    "before": ("the window before", None),
    "day": ("a day earlier", dt.timedelta(days=1)),
    "week": ("a week earlier", dt.timedelta(days=7)),
}
#: How far back events are offered, how many, and how long a window after one is at most.
BACK, OFFERED, AFTER = dt.timedelta(days=7), 12, dt.timedelta(hours=1)


@dataclass(frozen=True)
class Subject:
    """What can be compared: its tab, what is said of it, what its chart shows, and where the rows come from."""

    title: str
    about: str
    empty: str
    chart: tuple[str, str, str]
    rows: Callable[[Server, Spans, QueryDict], Sequence[Any]]


SUBJECTS = {
    "statements": Subject(
        "Statements",
        "Those whose time changed most. Busy: 100 % is one session at work all the time. A verdict is given only when"
        " it is more than chance (rank test over the parts of both windows, 1 % false) and more than a tenth.",
        "No statement ran in either window.",
        ("statements", "exec_seconds_total", "Time spent in statements"),
        lambda server, spans, params: statements(server, spans),
    ),
    "tables": Subject(
        "Tables",
        "Those whose work or size changed most. Sizes are as of the end of each window.",
        "No table was read, written or resized in either window.",
        ("databases", "commits_total", "Transactions"),
        lambda server, spans, params: tables(server, spans, params.get("db", "")),
    ),
    "connections": Subject(
        "Connections",
        "How many there were, by state, role and database. A verdict is given only when it is more than chance.",
        "No connection was seen in either window.",
        ("server_vitals", "connections_count", "Connections"),
        lambda server, spans, params: connections(server, spans),
    ),
}
NOTES = {
    "verdict": "what clearly changed; new: it did not run before; gone: it runs no more",
    "busy_ratio": "execution time by time passed",
    "difference_ratio": "busy now less busy before",
    "share_ratio": "of the time of all statements",
    "growth_bytes": "from the end of the other window to the end of this one",
    "scanned_rows_per_second": "rows read by sequential scans",
    "fetched_rows_per_second": "rows fetched through indexes",
    "highest_count": "the highest mean of a part of the window",
}


@login_required
@require_GET
def compare(request: HttpRequest, server_name: str) -> HttpResponse:
    """One subject in two windows."""
    server = server_for(request, server_name)
    time_range = TimeRange.of(request.GET)
    spans, against = spans_of(time_range, request.GET)
    name = request.GET.get("of", "")
    name = name if name in SUBJECTS else "statements"
    subject = SUBJECTS[name]
    with looked_up(find_source(server.pk, subject.chart[0]), *spans.both):
        rows = subject.rows(server, spans, request.GET)
        if request.GET.get("format") in {"csv", "json"}:
            return exported(server, name, spans, rows, request.GET["format"])
        drawn = chart(server, spans, subject, request.GET)
    context = {
        "server": server,
        "time_range": time_range,
        "spans": spans,
        "against": against,
        "choices": [(key, words) for key, (words, _) in EARLIER.items()],
        "kept": [
            (key, value) for key, value in request.GET.items() if key not in {"against", "at", "format"}
        ],
        "tabs": tabs(name, request.GET),
        "chart": drawn,
        "table": table(server, name, subject, rows, request.GET),
        "events": events(server) if name == "statements" else [],
        "databases": readings.databases(server) if name == "tables" else [],
        "database": request.GET.get("db") or readings.main_database(server),
    }
    return render(request, "monitoring/compare.html", context)


def spans_of(time_range: TimeRange, params: QueryDict) -> tuple[Spans, str]:
    """Both windows; at=… begins the other one at a moment, against=day or week so much earlier."""
    at = moment_of(params.get("at", ""))
    if at is not None:
        return Spans(time_range.start, time_range.end, at), ""
    name = params.get("against", "before")
    name = name if name in EARLIER else "before"
    earlier = EARLIER[name][1] or time_range.end - time_range.start
    return Spans(time_range.start, time_range.end, time_range.start - earlier), name


def tabs(current: str, params: QueryDict) -> list[tuple[str, str, bool]]:
    """(title, address, is the present one) of each subject, the windows kept."""
    found = []
    for name, subject in SUBJECTS.items():
        kept = params.copy()
        for unwanted in ("sort", "q", "page", "format"):
            kept.pop(unwanted, None)
        kept["of"] = name
        found.append((subject.title, f"?{kept.urlencode()}", name == current))
    return found


def chart(server: Server, spans: Spans, subject: Subject, params: QueryDict) -> ChartView:
    """Both windows over each other, the earlier one moved to where the later one lies."""
    probe, column, title = subject.chart
    moved = (spans.start - spans.against).total_seconds()
    lines = []
    for label, (start, end), shift in (("This window", spans.after, 0.0), ("The other", spans.before, moved)):
        found = history.lines(server, probe, column, start, end)
        points = [(at + shift, value) for at, value in found[0].points] if found else []
        lines.append(Line(label, points))
    return ChartView(
        id="both",
        title=title,
        column=rate_name(column),
        lines=lines,
        start=spans.start,
        end=spans.end,
        marks=history.marks(server, spans.start, spans.end),
        nothing="Neither window has samples.",
        params=params,
    )


def table(server: Server, name: str, subject: Subject, rows: Sequence[Any], params: QueryDict) -> TableView:
    """The rows; those that got clearly worse carry a warning."""
    hidden = {"line", "is_worse"}
    names = [one.name for one in fields(rows[0]) if one.name not in hidden] if rows else []
    kept = params.copy()
    kept.pop("format", None)
    base = f"?{kept.urlencode()}&" if kept else "?"
    links = {"query": lambda row: where("statement", server.name, row.line)}
    return TableView(
        name,
        subject.title,
        [Column(each, unit_of(each), NOTES.get(each, "")) for each in names],
        rows,
        params,
        about=subject.about,
        empty=subject.empty,
        links=links,
        state_of=lambda row: "warning" if getattr(row, "is_worse", False) else "",
        csv_url=f"{base}format=csv",
        json_url=f"{base}format=json",
    )


@dataclass(frozen=True)
class Event:
    """Something before and after which can be compared."""

    at: dt.datetime
    text: str
    url: str


def events(server: Server) -> list[Event]:
    """What happened lately, the newest first, each with the address of its before and after."""
    now = timezone.now()
    found: list[Mark] = history.marks(server, now - BACK, now - dt.timedelta(minutes=2))
    newest = sorted(found, key=lambda mark: mark.at, reverse=True)[:OFFERED]
    return [Event(mark.at, mark.text, around(mark.at, now)) for mark in newest]


def around(at: dt.datetime, now: dt.datetime) -> str:
    """The window that begins with an event, against the one that ends with it."""
    query = QueryDict(mutable=True)
    query["from"], query["to"] = at.isoformat(), min(now, at + AFTER).isoformat()
    return f"?{query.urlencode()}"


def exported(server: Server, name: str, spans: Spans, rows: Sequence[Any], kind: str) -> HttpResponse:
    """The list as a file, with both windows in it."""
    names = [one.name for one in fields(rows[0])] if rows else []
    windows = {
        "window": [exports.plain(moment) for moment in spans.after],
        "against": [exports.plain(moment) for moment in spans.before],
    }
    about = {"server": server.name, "of": name, **windows}
    return exports.rows_file(kind, f"{server.name}-{name}-compared", names, rows, about)
