"""A page's panels with their readings and series, ready for the templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

from django.http import HttpRequest

from dbadmin import charts, history, readings, subjects
from dbadmin.addresses import changed, where, whole
from dbadmin.charts import ChartView, Line, Mark, TimeRange
from dbadmin.chosen_columns import chosen_by
from dbadmin.models import Server
from dbadmin.pages import Chart, Figures, Page, Panel, Table
from dbadmin.permissions import may
from dbadmin.probes import PROBES, Probe, Reading
from dbadmin.readings import Question
from dbadmin.tables import ALONE, CELLS, FiguresView, TableView
from dbadmin.units import LABEL, rate_name

#: A probe that is read more often than this, or only when asked, is read live.
LIVE_BELOW = 60
#: Of a reading with no more columns all are shown.
FEW = 5


def is_live(probe: Probe) -> bool:
    """Asked of the server when a page shows it (once for all who look)."""
    return probe.every is None or probe.every < LIVE_BELOW


def readings_of(
    probes: Iterable[Probe], server: Server, database: str = "", about: Mapping[str, str] | None = None
) -> dict[str, Reading]:
    """The newest readings at hand, all asked for at once; what was never read says so.

    about: what a page about one thing is about.
    """
    asked = list(probes)
    if not database and any(probe.scope == "database" for probe in asked):
        main = readings.main_database(server)
    else:
        main = database
    where_to = {probe.name: main if probe.scope == "database" else database for probe in asked}
    kept = [(where_to[probe.name], probe.name) for probe in asked if not (probe.params or is_live(probe))]
    stored = readings.latest_among(server, kept) if kept else {}
    found = {name: stored[database, name] for database, name in kept if (database, name) in stored}
    rest = [probe for probe in asked if probe.name not in found]
    told = {probe.name: {name: (about or {}).get(name) for name in probe.params} for probe in rest}
    questions = [Question.of(probe, where_to[probe.name], told[probe.name]) for probe in rest]
    answers = readings.live_all(server, questions) if questions else []
    return found | {probe.name: answer for probe, answer in zip(rest, answers, strict=True)}


def named(request: HttpRequest) -> set[str]:
    """The panels that an address names, one or several; none when it is about the page."""
    return {name for name in request.GET.getlist("panel") if name}


def build(page: Page, server: Server, request: HttpRequest, time_range: TimeRange) -> list[dict[str, Any]]:
    """Every panel of a page that the person may see; with ?panel= only those that it names."""
    scene = Scene(page, server, request, time_range, subjects.asked(page, request.GET))
    built: list[dict[str, Any]] = []
    for panel in scene.panels:
        if not scene.may_see(panel):
            continue
        if isinstance(panel, Chart):
            for columns in charts_of(panel):
                if scene.is_named(chart_id(panel.probe, columns[0])):
                    drawn = chart(panel, scene, columns)
                    if not drawn.empty or scene.is_there:
                        built.append({"kind": "chart", "width": panel.width, "chart": drawn})
        elif scene.is_named(panel.probe):
            if not scene.is_wanted(panel):
                built.append({"kind": "table", "width": panel.width, "table": offered(panel, scene)})
                continue
            answer = scene.reading(panel.probe)
            if panel.if_any and not answer.rows and not answer.problem:
                continue
            if isinstance(panel, Figures):
                built.append(
                    {"kind": "figures", "width": panel.width, "figures": figures(panel, scene, answer)}
                )
            else:
                built.append({"kind": "table", "width": panel.width, "table": table(panel, scene, answer)})
    if not scene.named:
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
        answer = self.reading(self.page.panels[0].probe)
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

    @cached_property
    def named(self) -> set[str]:
        """The panels that the address names."""
        return named(self.request)

    def is_named(self, panel: str) -> bool:
        """Does the address ask for this panel?"""
        return not self.named or panel in self.named

    @cached_property
    def choices(self) -> dict[str, Sequence[str]]:
        """Probe -> the columns to show of it: the person's, or those of the page of which some panels are asked anew.

        A panel that is asked for by its name is written once for all who see the same columns.
        """
        if self.named:
            return dict.fromkeys(self.named, self.request.GET.get("columns", "").split(","))
        return chosen_by(self.request.user)

    def chosen(self, answer: Reading) -> Sequence[str]:
        """The columns of a reading that were chosen; none when nobody chose, or there is none of them any more."""
        names = {column.name for column in answer.columns}
        return [name for name in self.choices.get(answer.probe.name, ()) if name in names]

    def columns_url(self, panel: Panel) -> str:
        """Where the person chooses, and comes back from."""
        back = f"{self.request.path}{changed(self.request.GET, ALONE)}".removesuffix("?")
        given = {"next": f"{back}#{panel.probe}", **({"db": self.database} if self.database else {})}
        return f"{where('columns', self.server.name, panel.probe)}?{urlencode(given)}"

    def may_see(self, panel: Panel) -> bool:
        """Has the person the right to what a panel shows?"""
        return may(self.request.user, f"{PROBES[panel.probe].app}.view", self.server)

    def is_wanted(self, panel: Panel) -> bool:
        """Is it to be asked now? What costs much is asked when somebody wants it."""
        return not panel.on_demand or self.request.GET.get("ask") == panel.probe

    @cached_property
    def known(self) -> dict[str, Reading]:
        """What the panels ask that the address wants: all at once."""
        probes = {
            panel.probe: PROBES[panel.probe]
            for place, panel in enumerate(self.page.panels)
            if not isinstance(panel, Chart)
            and (self.is_named(panel.probe) or (self.page.subject and not place))
            and self.is_wanted(panel)
            and self.may_see(panel)
        }
        found = readings_of(probes.values(), self.server, self.database, self.about)
        return {name: subjects.of(self.page, answer, self.about) for name, answer in found.items()}

    def reading(self, probe: str) -> Reading:
        """What a probe says, of the page's thing where it has one."""
        return self.known[probe]


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
    chosen: Sequence[str] = ()
    if isinstance(panel, Table):
        options |= {"limit": panel.limit, "title": panel.title}
        if answer.rows and not scene.about and len(answer.columns) > FEW:
            chosen = scene.chosen(answer)
            options |= {"columns": chosen or panel.columns, "columns_url": scene.columns_url(panel)}
    options |= {"empty": panel.empty} if panel.empty else {}
    if scene.about:
        options |= {"empty_state": "unknown", "more": panel.more[0], "more_url": scene.more_url(panel)}
    view = TableView.of(answer, scene.request, scene.server, **options)
    if chosen:
        view.url += f"&columns={','.join(chosen)}"
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
