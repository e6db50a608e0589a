"""Why was it slow then: what happened in a window, who waited, and which statements moved, on one page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dbadmin import history
from dbadmin.addresses import where
from dbadmin.charts import ChartView, TimeRange
from dbadmin.models import Server
from dbadmin.probes import Column
from dbadmin.tables import TableView
from dbadmin.units import unit_of
from dbadmin.views import server_for
from monitoring.alert_models import Alert
from monitoring.blocks import find_source, looked_up
from monitoring.comparison import Spans, Statement, statements
from monitoring.gaps import marks_between, untold, was_read
from monitoring.statements import PROBE as STATEMENTS
from monitoring.waits import COLUMN as WAITED
from monitoring.waits import PROBE as WAITS
from monitoring.waits import waits

#: Rows of each list.
MOST = 200
MOVED = 25
WHAT = (
    "Restarts, resets, changed settings, changes of the schema that pg_stat_statements counted, requested checkpoints,"
    " long autovacuums, deploys, gaps, alerts and our own runs."
)
UNREAD = "Nobody looked: there is no sample of this window."
MOVED_COLUMNS = (
    "query", "verdict", "busy_ratio", "busy_before_ratio", "calls_per_second", "calls_before_per_second",
    "mean_seconds", "mean_before_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Happening:
    """Something that happened to a server."""

    began_at: dt.datetime
    kind: str
    what: str
    url: str = ""


@login_required
@require_GET
def timeline(request: HttpRequest, server_name: str) -> HttpResponse:
    """One window of a server's life."""
    server = server_for(request, server_name)
    time_range = TimeRange.of(request.GET)
    start, end = time_range.start, time_range.end
    links = {"what": lambda row: row.url}
    known = was_read(server, start, end)
    state = "ok" if known else "unknown"
    statement_links = {"query": lambda row: where("statement", server.name, row.line)}
    context = {
        "server": server,
        "time_range": time_range,
        "chart": chart(server, time_range),
        "tables": [
            TableView(
                "happened", "What happened", columns("began_at", "kind", "what"), happenings(server, start, end),
                request.GET, "happened", WHAT,
                "Nothing that we know of." if known else UNREAD, state, links=links,
            ),
            TableView(
                "moved", "Statements that moved", columns(*MOVED_COLUMNS),
                moved(server, Spans(start, end, start - (end - start))), request.GET, "moved",
                "Compared with the window of the same length before. Busy: 100 % is one session at work all the time.",
                "No statement ran in the window, or in the one before." if known else UNREAD, state,
                links=statement_links, state_of=lambda row: "warning" if row.is_worse else "",
            ),
            TableView(
                "waited", "What was waited for", columns("wait_kind", "wait", "waited_seconds", "share_ratio"),
                waits(server, start, end), request.GET, "waited",
                "Looked at each second. CPU: at work, or waiting for nothing that the server knows of.",
                "No session was at work when we looked." if known else UNREAD, state,
            ),
        ],
    }  # fmt: skip
    return render(request, "monitoring/timeline.html", context)


def moved(server: Server, spans: Spans) -> list[Statement]:
    """The statements that changed most."""
    with looked_up(find_source(server.pk, STATEMENTS), *spans.both):
        return statements(server, spans, MOVED)


def columns(*names: str) -> list[Column]:
    """Columns by their names."""
    return [Column(name, unit_of(name)) for name in names]


def chart(server: Server, time_range: TimeRange) -> ChartView:
    """Sessions at work by what they wait for, with all marks."""
    start, end = time_range.start, time_range.end
    return ChartView(
        id="at-work",
        title="Sessions at work, by what they wait for",
        column="sessions_count",
        lines=history.lines(server, WAITS, WAITED, start, end, by="wait_kind"),
        start=start,
        end=end,
        marks=history.marks(server, start, end),
        params=time_range.params,
    )


def happenings(server: Server, start: dt.datetime, end: dt.datetime) -> list[Happening]:
    """Everything that we know of, the newest first."""
    found = [*marks(server, start, end), *alerts(server, start, end), *runs(server, start, end)]
    return sorted(found, key=lambda one: one.began_at, reverse=True)[:MOST]


def marks(server: Server, start: dt.datetime, end: dt.datetime) -> Iterator[Happening]:
    """What the sampler saw: marks, and gaps of the whole server that no mark tells; those that opened: alerts()."""
    found = marks_between(server, start, end, newest=MOST)
    for mark in found:
        if mark.kind != "alert":
            yield Happening(mark.at, mark.kind, mark.text)
        elif mark.facts.get("state") == "ok":
            yield Happening(mark.at, mark.kind, mark.text, where("alert", mark.facts["alert"]))
    for gap in untold(server, start, end, found, MOST):
        yield Happening(gap.started_at, gap.cause, gap.text)


def alerts(server: Server, start: dt.datetime, end: dt.datetime) -> Iterator[Happening]:
    """Alerts that opened."""
    opened = Alert.objects.filter(server=server, opened_at__gte=start, opened_at__lt=end)
    for alert in opened.order_by("-opened_at")[:MOST]:
        what = " ".join(part for part in (alert.name, alert.row_name, alert.text) if part)
        yield Happening(alert.opened_at, "alert", what, where("alert", alert.pk))


def runs(server: Server, start: dt.datetime, end: dt.datetime) -> Iterator[Happening]:
    """Our own operations, without the routine."""
    for run in history.runs(server, start, end, MOST):
        if run.started_at:
            yield Happening(
                run.started_at, "run", f"{run} by {run.user_name}: {run.status}", run.get_absolute_url()
            )
