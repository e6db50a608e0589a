"""Pages of monitoring that are more than a list of panels."""

from __future__ import annotations

from typing import Any

import sqlparse
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dbadmin import exports, history
from dbadmin.addresses import where, whole
from dbadmin.charts import ChartView, Figure, Line, TimeRange
from dbadmin.models import Server
from dbadmin.probes import Column
from dbadmin.tables import TableView
from dbadmin.units import rate_name, unit_of
from dbadmin.views import server_for
from monitoring import queries as lists
from monitoring.chart import points
from monitoring.statements import Detail
from monitoring.statements import statement as detail_of
from monitoring.waits import waits

#: Longer texts are shown as they are: laying them out would cost seconds.
PRETTY = 20_000
#: Rows of an exported list, and of a page: 60 kB and 1,500 tags at most.
MOST, SIZE = 20_000, 60
NOT_PLANNED = "counted when pg_stat_statements.track_planning is on"
CHARTS = (
    ("mean_seconds", "Mean time"),
    ("calls_total", "Calls"),
    ("exec_seconds_total", "Time spent"),
    ("plan_seconds_total", "Time spent planning"),
    ("rows_total", "Rows"),
    ("read_blocks_total", "Blocks read"),
    ("temp_written_blocks_total", "Temporary blocks written"),
    ("wal_bytes_total", "WAL written"),
)


@login_required
@require_GET
def queries(request: HttpRequest, server_name: str) -> HttpResponse:
    """Statements by total time in the chosen window."""
    server = server_for(request, server_name)
    time_range = TimeRange.of(request.GET)
    page, is_file = whole(request.GET.get("page", "1")) or 1, request.GET.get("format") in {"csv", "json"}
    answer = lists.answer(
        server,
        time_range.start,
        time_range.end,
        request.GET.get("sort", ""),
        request.GET.get("q", "").strip(),
        1 if is_file else page,
        MOST if is_file else SIZE,
    )
    if is_file:
        return exported(request, server, answer)
    table = table_of(request, server, answer)
    if request.GET.get("panel"):
        return render(request, "_reading.html", {"table": table})
    return render(
        request, "monitoring/queries.html", {"server": server, "table": table, "time_range": time_range}
    )


def table_of(request: HttpRequest, server: Server, answer: lists.Answer) -> TableView:
    """The list, most time first unless the address says otherwise."""
    params = request.GET.copy()
    for name in ("panel", "format"):
        params.pop(name, None)
    base = f"?{params.urlencode()}&" if params else "?"
    stale = answer.problem.message if answer.problem and answer.page else ""
    is_page = isinstance(answer.page, lists.Page)
    links = {"query": lambda row: where("statement", server.name, row.line)} if is_page else {}
    return (lists.StatementTable if is_page else TableView)(
        "statements",
        "Statements",
        lists.COLUMNS,
        answer.page,
        request.GET,
        about=answer.about,
        empty="No statement ran in this window.",
        problem=None if answer.page else answer.problem,
        server_name=server.name,
        links=links,
        live=60,
        url=f"{base}panel=statements",
        csv_url=f"{base}format=csv",
        json_url=f"{base}format=json",
        stale=stale,
        limit=SIZE,
        searchable=True,
    )


def exported(request: HttpRequest, server: Server, answer: lists.Answer) -> HttpResponse:
    """The whole list as a file."""
    names = [column.name for column in lists.COLUMNS]
    about = {"server": server.name, "about": answer.about}
    return exports.rows_file(request.GET["format"], f"{server.name}-statements", names, answer.page[:], about)


@login_required
@require_GET
def statement(request: HttpRequest, server_name: str, line: int) -> HttpResponse:
    """One kind of statement: its text, who else runs it, and its past."""
    server = server_for(request, server_name)
    time_range = TimeRange.of(request.GET, "6h")
    found = detail_of(server, line, time_range.start, time_range.end)
    if found is None:
        raise Http404("This statement has not been seen.")
    text = found.row.text
    others = [lists.row_of(row) for row in found.siblings]
    links = {"database": lambda row: where("statement", server.name, row.line)}
    context = {
        "server": server,
        "row": found.row,
        "first_at": found.first_at,
        "last_at": found.last_at,
        "text": sqlparse.format(text, reindent=True) if len(text) <= PRETTY else text,
        "figures": figures(lists.row_of(found.row), found.plan_seconds),
        "charts": charts_of(server, found, time_range),
        "waited": waited(server, found, time_range),
        "table": TableView("others", "Who else runs it", lists.COLUMNS[1:], others, request.GET, links=links),
        "time_range": time_range,
    }
    return render(request, "monitoring/statement.html", context)


def waited(server: Server, found: Detail, time_range: TimeRange) -> TableView:
    """What the statement waited for, by a look each second."""
    rows = waits(server, time_range.start, time_range.end, [found.row.query_id])
    names = ("wait_kind", "wait", "waited_seconds", "share_ratio")
    columns = [Column(name, unit_of(name)) for name in names]
    about = "Looked at each second. CPU: it worked, or waited for nothing that the server knows of."
    return TableView("waited", "What it waits for", columns, rows, prefix="waited", about=about)


def figures(row: lists.Row, plan_seconds: float | None) -> list[Figure]:
    """The window in numbers."""
    rows_a_call = row.rows_count / row.calls_count if row.calls_count else None
    return [
        Figure.of("calls_count", row.calls_count),
        Figure.of("total_seconds", row.total_seconds, label="Total time"),
        Figure.of("mean_seconds", row.mean_seconds, label="Mean time"),
        Figure.of(
            "plan_seconds", plan_seconds, label="Planning", note=NOT_PLANNED if plan_seconds is None else ""
        ),
        Figure.of("share_ratio", row.share_ratio, label="Share of the server"),
        Figure.of("rows_count", rows_a_call, label="Rows a call"),
        Figure.of("hit_ratio", row.hit_ratio, label="Cache hit"),
        Figure.of("temp_bytes", row.temp_bytes, label="Temporary files"),
    ]


def charts_of(server: Server, found: Detail, time_range: TimeRange) -> list[ChartView]:
    """Mean time first, then each counter as its rate."""
    common: dict[str, Any] = {"start": time_range.start, "end": time_range.end, "params": time_range.params}
    common["marks"] = history.marks(server, time_range.start, time_range.end)
    return [
        ChartView(
            column, title, rate_name(column), [Line(title, points(found.series[column], server))], **common
        )
        for column, title in CHARTS
        if column in found.series
    ]
