"""A page's panels with their readings and series, ready for the templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

from dbadmin import charts, history, readings
from dbadmin.addresses import changed
from dbadmin.charts import ChartView, Mark, TimeRange
from dbadmin.models import Server
from dbadmin.pages import Chart, Figures, Page, Panel, Table
from dbadmin.probes import PROBES, Probe, Reading
from dbadmin.tables import FiguresView, TableView
from dbadmin.units import rate_name

#: A probe that is read more often than this, or only when asked, is read live.
LIVE_BELOW = 60


def is_live(probe: Probe) -> bool:
    """Asked of the server when a page shows it (once for all who look)."""
    return probe.every is None or probe.every < LIVE_BELOW


def reading(probe: Probe, server: Server, database: str = "") -> Reading:
    """The newest reading at hand; what was never read says so."""
    if probe.scope == "database" and not database:
        database = readings.main_database(server)
    if is_live(probe):
        return readings.live(server, probe.name, database)
    found = readings.latest(server, probe.name, database)
    if found is None:
        found = readings.live(server, probe.name, database)
    return found


def build(page: Page, server: Server, request: HttpRequest, time_range: TimeRange) -> list[dict[str, Any]]:
    """Every panel of a page; with ?panel= only that one."""
    wanted = request.GET.get("panel", "")
    built: list[dict[str, Any]] = []
    has_chart = any(isinstance(panel, Chart) for panel in page.panels)
    marks = history.marks(server, time_range.start, time_range.end) if has_chart else []
    for panel in page.panels:
        if isinstance(panel, Chart):
            for column in [panel.series] if isinstance(panel.series, str) else panel.series:
                if wanted in {"", chart_id(panel.probe, column)}:
                    drawn = chart(panel, server, request, time_range, column, marks)
                    built.append({"kind": "chart", "width": panel.width, "chart": drawn})
        elif wanted in {"", panel.probe}:
            kind = "figures" if isinstance(panel, Figures) else "table"
            view = (
                figures(panel, server, request)
                if isinstance(panel, Figures)
                else table(panel, server, request)
            )
            built.append({"kind": kind, "width": panel.width, kind: view})
    return built


#: What shows one panel alone.
TEMPLATES = {"table": "_reading.html", "figures": "_figures_panel.html", "chart": "_chart.html"}


def chart_id(probe: str, column: str) -> str:
    """The panel's id in the page."""
    return f"{probe}-{column}"


def table(panel: Panel, server: Server, request: HttpRequest) -> TableView:
    """A reading's rows."""
    probe = PROBES[panel.probe]
    answer = reading(probe, server, request.GET.get("db", ""))
    options: dict[str, Any] = {"live": refresh_seconds(probe)}
    if isinstance(panel, Table):
        options |= {"columns": panel.columns, "limit": panel.limit, "title": panel.title}
    return TableView.of(answer, request, server, **options)


def refresh_seconds(probe: Probe) -> float:
    """How often a panel asks again: live ones each two to five seconds, sampled ones with their samples."""
    return min(max(2.0, probe.every or 5.0), 5.0) if is_live(probe) else probe.every or 60


def figures(panel: Figures, server: Server, request: HttpRequest) -> FiguresView:
    """The first row as key figures."""
    probe = PROBES[panel.probe]
    answer = reading(probe, server, request.GET.get("db", ""))
    options = {"title": panel.title, "live": refresh_seconds(probe)}
    return FiguresView.of(answer, request, panel.columns, **options)


def chart(
    panel: Chart,
    server: Server,
    request: HttpRequest,
    time_range: TimeRange,
    column: str,
    marks: Sequence[Mark],
) -> ChartView:
    """The history of one column."""
    probe = PROBES[panel.probe]
    lines = history.lines(server, panel.probe, column, time_range.start, time_range.end, panel.by, panel.most)
    return ChartView(
        id=chart_id(panel.probe, column),
        title=panel.title or f"{probe.title}: {probe.column(column).label.lower()}",
        column=rate_name(column),
        lines=lines,
        start=time_range.start,
        end=time_range.end,
        about=probe.notes.get(column, ""),
        limits=charts.limits_of({"warning": probe.warning, "critical": probe.critical}, column),
        marks=marks,
        live=(probe.every or 60) if time_range.is_live else None,
        url=changed(request.GET, panel=chart_id(panel.probe, column)),
        params=request.GET,
    )
