"""A page's panels with their readings and series, ready for the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

from django.http import HttpRequest

from dbadmin import charts, history, readings, subjects
from dbadmin.addresses import changed, where, whole
from dbadmin.charts import ChartView, Line, Mark, TimeRange
from dbadmin.models import Server
from dbadmin.pages import Chart, Figures, Page, Panel, Table
from dbadmin.permissions import may
from dbadmin.probes import PROBES, Probe, Reading
from dbadmin.tables import CELLS, FiguresView, TableView
from dbadmin.units import LABEL, rate_name

#: A probe that is read more often than this, or only when asked, is read live.
LIVE_BELOW = 60


def is_live(probe: Probe) -> bool:
    """Asked of the server when a page shows it (once for all who look)."""
    return probe.every is None or probe.every < LIVE_BELOW


def reading(
    probe: Probe, server: Server, database: str = "", about: Mapping[str, str] | None = None
) -> Reading:
    """The newest reading at hand; what was never read says so. about: what a page about one thing is about."""
    if probe.scope == "database" and not database:
        database = readings.main_database(server)
    if probe.params:
        told = {name: about.get(name) if about else None for name in probe.params}
        return readings.live(server, probe.name, database, params=told)
    if is_live(probe):
        return readings.live(server, probe.name, database)
    found = readings.latest(server, probe.name, database)
    if found is None:
        found = readings.live(server, probe.name, database)
    return found


def build(page: Page, server: Server, request: HttpRequest, time_range: TimeRange) -> list[dict[str, Any]]:
    """Every panel of a page that the person may see; with ?panel= only that one."""
    wanted = request.GET.get("panel", "")
    scene = Scene(page, server, request, time_range, subjects.asked(page, request.GET))
    built: list[dict[str, Any]] = []
    for panel in scene.panels:
        if not may(request.user, f"{PROBES[panel.probe].app}.view", server):
            continue
        if isinstance(panel, Chart):
            for columns in charts_of(panel):
                if wanted in {"", chart_id(panel.probe, columns[0])}:
                    drawn = chart(panel, scene, columns)
                    if not drawn.empty or scene.is_there:
                        built.append({"kind": "chart", "width": panel.width, "chart": drawn})
        elif wanted in {"", panel.probe}:
            if panel.on_demand and request.GET.get("ask") != panel.probe:
                built.append({"kind": "table", "width": panel.width, "table": offered(panel, scene)})
                continue
            answer = scene.reading(PROBES[panel.probe])
            if panel.if_any and not answer.rows and not answer.problem:
                continue
            if isinstance(panel, Figures):
                built.append(
                    {"kind": "figures", "width": panel.width, "figures": figures(panel, scene, answer)}
                )
            else:
                built.append({"kind": "table", "width": panel.width, "table": table(panel, scene, answer)})
    if not wanted:
        tables = [each["table"] for each in built if each["kind"] == "table"]
        share_out(tables, CELLS)
    return built


def share_out(tables: Sequence[TableView], room: int) -> None:
    """Divide the room of a page: tables that need little get all of it, the long ones equal parts of the rest."""
    needs = sorted((table.extent(0)[1], place) for place, table in enumerate(tables))
    for done, (need, place) in enumerate(needs):
        part = room // (len(needs) - done)
        if need > part:
            tables[place].share(part)
        room -= min(part, round(need))


def charts_of(panel: Chart) -> list[list[str]]:
    """The columns of each of its charts."""
    columns = [panel.series] if isinstance(panel.series, str) else list(panel.series)
    return [columns] if panel.together else [[column] for column in columns]


@dataclass(frozen=True)
class Scene:
    """Who looks at which page of what. about: the one thing, of a page that has one."""

    page: Page
    server: Server
    request: HttpRequest
    time_range: TimeRange
    about: dict[str, str]
    known: dict[str, Reading] = field(default_factory=dict)
    pasts: dict[str, dict[str, Line]] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """The one that the address names."""
        return self.request.GET.get("db", "")

    @cached_property
    def is_there(self) -> bool:
        """Does the thing exist? What is not known is taken to."""
        if not self.page.subject:
            return True
        answer = self.reading(PROBES[self.page.panels[0].probe])
        return bool(answer.rows or answer.problem)

    @property
    def panels(self) -> Sequence[Panel]:
        """Those of the page; of what is no more, those that tell so and show its past; none of nothing."""
        if self.page.subject and not self.about:
            return ()
        if self.is_there:
            return self.page.panels
        first, *others = self.page.panels
        return [first, *(panel for panel in others if isinstance(panel, Chart))]

    @cached_property
    def marks(self) -> list[Mark]:
        """Upright lines, the same for all charts."""
        return history.marks(self.server, self.time_range.start, self.time_range.end)

    def past(self, probe: str) -> dict[str, Line]:
        """What is kept of the page's thing: all columns that its charts show, read at once."""
        if probe not in self.pasts:
            key = subjects.key_of(self.page, PROBES[probe], self.about)
            drawn = [each for each in self.page.panels if isinstance(each, Chart) and each.probe == probe]
            columns = [column for each in drawn for group in charts_of(each) for column in group]
            start, end = self.time_range.start, self.time_range.end
            self.pasts[probe] = (
                history.row(self.server, probe, columns, start, end, key, self.database) if key else {}
            )
        return self.pasts[probe]

    def more_url(self, panel: Panel) -> str:
        """Where more is told of the thing."""
        said = {name: quote(value, safe="") for name, value in self.about.items()}
        where_to = panel.more[1].format(**said) if panel.more[1] else ""
        db = f"&{urlencode({'db': self.database})}" if self.database else ""
        return f"{where('server', self.server.name)}{where_to}{db}" if where_to else ""

    def reading(self, probe: Probe) -> Reading:
        """What a probe says, of the page's thing where it has one."""
        if probe.name not in self.known:
            answer = reading(probe, self.server, self.database, self.about)
            self.known[probe.name] = subjects.of(self.page, answer, self.about)
        return self.known[probe.name]


#: What shows one panel alone.
TEMPLATES = {"table": "_reading.html", "figures": "_figures_panel.html", "chart": "_chart.html"}


def chart_id(probe: str, column: str) -> str:
    """The panel's id in the page."""
    return f"{probe}-{column}"


def offered(panel: Panel, scene: Scene) -> TableView:
    """What is not asked until somebody wants it."""
    probe = PROBES[panel.probe]
    return TableView(
        probe.name,
        panel.title or probe.title,
        [],
        [],
        about=probe.about,
        empty=panel.empty,
        empty_state="unknown",
        ask_url=f"{changed(scene.request.GET, ask=probe.name)}#{probe.name}",
    )


def table(panel: Panel, scene: Scene, answer: Reading) -> TableView:
    """A reading's rows."""
    options: dict[str, Any] = {"live": refresh_seconds(answer), "columns": applicable(panel, scene, answer)}
    if isinstance(panel, Table):
        options |= {"limit": panel.limit, "title": panel.title}
    options |= {"empty": panel.empty} if panel.empty else {}
    if scene.about:
        options |= {"empty_state": "unknown", "more": panel.more[0], "more_url": scene.more_url(panel)}
    view = TableView.of(answer, scene.request, scene.server, **options)
    if room := whole(scene.request.GET.get("room", "")):
        view.share(min(room, CELLS))
    return view


def applicable(panel: Panel, scene: Scene, answer: Reading) -> Sequence[str]:
    """The panel's columns; of one thing without words that do not apply to it, for what is not known stays a dash."""
    columns: Sequence[str] = panel.columns if isinstance(panel, Table | Figures) else ()
    if not scene.about or not answer.rows:
        return columns
    return [
        name
        for name in columns or [column.name for column in answer.columns]
        if answer.probe.column(name).unit is not LABEL
        or any(getattr(row, name) is not None for row in answer.rows)
    ]


def refresh_seconds(answer: Reading) -> float | None:
    """How often a panel asks again: live ones each two to five seconds, sampled ones with their samples.

    What is asked about one thing is asked when somebody opens its page, and only until there is an answer.
    """
    probe = answer.probe
    if probe.params:
        return 2.0 if answer.problem and answer.problem.kind == "pending" else None
    return min(max(2.0, probe.every or 5.0), 5.0) if is_live(probe) else probe.every or 60


def figures(panel: Figures, scene: Scene, answer: Reading) -> FiguresView:
    """The first row as key figures."""
    options: dict[str, Any] = {"title": panel.title, "live": refresh_seconds(answer)}
    options |= {"empty": panel.empty} if panel.empty else {}
    columns = applicable(panel, scene, answer)
    return FiguresView.of(answer, scene.request, scene.server, columns, **options)


def chart(panel: Chart, scene: Scene, columns: Sequence[str]) -> ChartView:
    """The history of some columns of one unit; the first gives the chart its name."""
    probe, column, time_range = PROBES[panel.probe], columns[0], scene.time_range
    return ChartView(
        id=chart_id(panel.probe, column),
        title=panel.title or f"{probe.title}: {probe.column(column).label.lower()}",
        column=rate_name(column),
        lines=[line for each in columns for line in lines(panel, scene, each)],
        start=time_range.start,
        end=time_range.end,
        about=probe.notes.get(column, ""),
        limits=charts.limits_of({"warning": probe.warning, "critical": probe.critical}, column),
        marks=scene.marks,
        live=(probe.every or 60) if time_range.is_live else None,
        url=changed(scene.request.GET, panel=chart_id(panel.probe, column)),
        params=scene.request.GET,
    )


def lines(panel: Chart, scene: Scene, column: str) -> Sequence[Line]:
    """The lines of one column; of a page about one thing, its own."""
    if scene.about:
        line = scene.past(panel.probe).get(column)
        return [line] if line else []
    start, end = scene.time_range.start, scene.time_range.end
    which = {"by": panel.by, "most": panel.most, "database": scene.database}
    return history.lines(scene.server, panel.probe, column, start, end, **which)
