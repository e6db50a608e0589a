"""Pages of monitoring that are more than a list of panels."""

from __future__ import annotations

import csv
import io
from typing import Any

import sqlparse
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from dbadmin import exports, history
from dbadmin.charts import ChartView, Figure, Line, TimeRange
from dbadmin.models import Server
from dbadmin.tables import TableView
from dbadmin.views import server_for
from monitoring import queries as statements

#: Longer texts are shown as they are: laying them out would cost seconds.
PRETTY = 20_000
OF_ROLES, NOBODY = statements.COLUMNS[1:], "Nobody in this window."


@login_required
@require_GET
def queries(request: HttpRequest, server_name: str) -> HttpResponse:
    """Statements by total time in the chosen window."""
    server = server_for(request, server_name)
    time_range = TimeRange.of(request.GET)
    answer = statements.statements(server, time_range.start, time_range.end)
    if request.GET.get("format") in {"csv", "json"}:
        return exported(request, server, answer)
    table = table_of(request, server, answer)
    if request.GET.get("panel"):
        return render(request, "_reading.html", {"table": table})
    context = {"server": server, "table": table, "time_range": time_range}
    return render(request, "monitoring/queries.html", context)


def table_of(request: HttpRequest, server: Server, answer: statements.Answer) -> TableView:
    """The list, most time first."""
    params = request.GET.copy()
    for name in ("panel", "format"):
        params.pop(name, None)
    base = f"?{params.urlencode()}&" if params else "?"
    return TableView(
        "statements",
        "Statements",
        statements.COLUMNS,
        answer.rows,
        request.GET,
        about=answer.since,
        empty="No statement ran in this window.",
        problem=answer.problem if not answer.rows else None,
        server_name=server.name,
        links={"query": lambda row: reverse("statement", args=[server.name, row.ident])},
        live=60,
        url=f"{base}panel=statements",
        csv_url=f"{base}format=csv",
        json_url=f"{base}format=json",
        stale=answer.problem.message if answer.problem and answer.rows else "",
        searchable=True,
    )


def exported(request: HttpRequest, server: Server, answer: statements.Answer) -> HttpResponse:
    """The whole list as a file."""
    names = [column.name for column in statements.COLUMNS]
    if request.GET["format"] == "json":
        rows = [{name: getattr(row, name) for name in names} for row in answer.rows]
        return JsonResponse({"server": server.name, "about": answer.since, "rows": rows})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([exports.safe_cell(getattr(row, name)) for name in names] for row in answer.rows)
    file = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    file["Content-Disposition"] = f'attachment; filename="{server.name}-statements.csv"'
    return file


@login_required
@require_GET
def statement(request: HttpRequest, server_name: str, ident: str) -> HttpResponse:
    """One kind of statement: its text, who runs it, and its past."""
    server = server_for(request, server_name)
    database, _, query = ident.partition(".")
    if not (database.isdecimal() and query.lstrip("-").isdecimal()):
        raise Http404("There is no such statement.")
    found = statements.kind(server, int(database), int(query))
    if found is None:
        raise Http404("This statement has not been seen.")
    time_range = TimeRange.of(request.GET, "6h")
    rows = statements.shares(server, found, time_range.start, time_range.end)
    context = {
        "server": server,
        "found": found,
        "text": pretty(found.text),
        "figures": figures(rows),
        "charts": charts_of(server, found, time_range),
        "table": TableView("roles", "Who runs it", OF_ROLES, rows, request.GET, empty=NOBODY),
        "time_range": time_range,
    }
    return render(request, "monitoring/statement.html", context)


def pretty(text: str) -> str:
    """Laid out for reading; the text itself is never changed."""
    return sqlparse.format(text, reindent=True) if len(text) <= PRETTY else text


def figures(rows: list[statements.Row]) -> list[Figure]:
    """The window in numbers, over all roles."""
    calls, total = sum(row.calls_count for row in rows), sum(row.total_seconds for row in rows)
    rows_a_call = sum(row.rows_count for row in rows) / calls if calls else None
    share = sum(row.share_ratio for row in rows) if rows else None
    return [
        Figure.of("calls_count", calls),
        Figure.of("total_seconds", total, label="Total time"),
        Figure.of("mean_seconds", total / calls if calls else None, label="Mean time"),
        Figure.of("share_ratio", share, label="Share of the server"),
        Figure.of("rows_count", rows_a_call, label="Rows a call"),
        Figure.of("read_bytes", sum(row.read_bytes for row in rows), label="Read"),
        Figure.of("temp_bytes", sum(row.temp_bytes for row in rows), label="Temporary files"),
    ]


CHARTS = (
    ("calls_total", "Calls"),
    ("exec_seconds_total", "Time spent"),
    ("rows_total", "Rows"),
    ("read_blocks_total", "Blocks read"),
    ("temp_written_blocks_total", "Temporary blocks written"),
    ("wal_bytes_total", "WAL written"),
)


def charts_of(server: Server, found: statements.Kind, time_range: TimeRange) -> list[ChartView]:
    """Mean time first, then each counter as its rate."""
    start, end = time_range.start, time_range.end
    known = {column: statements.together(server, found, column, start, end) for column, _ in CHARTS}
    marks = history.marks(server, start, end)
    common: dict[str, Any] = {"start": start, "end": end, "marks": marks}
    views = []
    calls, spent = known["calls_total"], known["exec_seconds_total"]
    if calls and spent:
        line = statements.mean_line(calls, spent)
        views.append(ChartView("mean", "Mean time", "mean_seconds", [line], **common))
    for column, title in CHARTS:
        shape = known[column]
        lines = [Line(title, statements.points(shape))] if shape else []
        views.append(ChartView(column.replace("_", "-"), title, column, lines, **common))
    return views
