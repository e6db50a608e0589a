"""What is drawn: sparklines and meters as SVG, and the data that charts.js turns into lines."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from itertools import groupby, pairwise
from typing import Any

from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from dbadmin import units
from dbadmin.addresses import changed
from dbadmin.probes import Problem

Points = Sequence[tuple[float, float | None]]  # seconds since 1970, value or None where it is not known

WIDTH, HEIGHT = 88, 20
#: Rows of numbers shown below a chart; the CSV has all.
MOST_NUMBERS = 200
#: Upright lines that are named below a chart.
MOST_EVENTS = 3
#: Samples are a minute apart: a shorter window could hold none, or one alone.
SHORTEST = dt.timedelta(minutes=2)
PRESETS = (
    ("15m", "Last 15 minutes", dt.timedelta(minutes=15)),
    ("1h", "Last hour", dt.timedelta(hours=1)),
    ("6h", "Last 6 hours", dt.timedelta(hours=6)),
    ("24h", "Last 24 hours", dt.timedelta(hours=24)),
    ("7d", "Last 7 days", dt.timedelta(days=7)),
    ("30d", "Last 30 days", dt.timedelta(days=30)),
    ("365d", "Last year", dt.timedelta(days=365)),
)


@dataclass(frozen=True)
class Preset:
    """One choice of the menu of ranges."""

    label: str
    query: str
    current: bool


@dataclass(frozen=True)
class TimeRange:
    """The window that a page shows: ?range=6h, or ?from=…&to=…; what cannot be read is the default.

    One that ends before it begins is read the other way round; one that would hold no whole sample is widened.
    """

    start: dt.datetime
    end: dt.datetime
    name: str
    params: QueryDict = field(default_factory=QueryDict, compare=False)

    @classmethod
    def of(cls, params: QueryDict, default: str = "1h") -> "TimeRange":
        """Read it from the address."""
        now = timezone.now()
        lengths = {name: length for name, _, length in PRESETS}
        name = params.get("range", default)
        name = name if name in lengths else default
        start, end = moment_of(params.get("from", "")), moment_of(params.get("to", ""))
        if start or end:
            start, end = start or (end or now) - lengths[name], end or now
            return cls(*wide_enough(min(start, end), max(start, end)), "", params)
        return cls(now - lengths[name], now, name, params)

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds()

    @property
    def is_live(self) -> bool:
        """Ends now, and moves."""
        return bool(self.name)

    @property
    def label(self) -> str:
        """Last 6 hours; or from – to."""
        named = next((label for name, label, _ in PRESETS if name == self.name), "")
        return named or f"{units.moment(self.start)} – {units.moment(self.end)}"

    @property
    def presets(self) -> list[Preset]:
        """The menu, each choice keeping the rest of the address."""
        return [Preset(label, self.query(range=name), name == self.name) for name, label, _ in PRESETS]

    def query(self, **changes: str) -> str:
        """The address with another window; pages of lists start anew."""
        return changed(self.params, ("range", "from", "to", "page"), **changes)

    @property
    def other_params(self) -> list[tuple[str, str]]:
        """What the form of a free window keeps."""
        kept = (name for name in self.params if name not in {"range", "from", "to", "page"})
        return [(name, self.params.get(name, "")) for name in kept]

    @property
    def from_input(self) -> str:
        """For a datetime-local field."""
        return f"{timezone.localtime(self.start):%Y-%m-%dT%H:%M}"

    @property
    def to_input(self) -> str:
        """For a datetime-local field."""
        return f"{timezone.localtime(self.end):%Y-%m-%dT%H:%M}"


def wide_enough(start: dt.datetime, end: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """At least two samples wide, with what was asked for in its middle."""
    lacking = max(dt.timedelta(0), SHORTEST - (end - start))
    return start - lacking / 2, end + lacking / 2


def moment_of(text: str) -> dt.datetime | None:
    """A moment from an address; without a zone it is in the page's zone."""
    try:
        moment = parse_datetime(text.strip().replace(" ", "T"))
    except ValueError:
        return None
    if moment is None or not 1970 < moment.year < 9999:  # at the ends of time there is no room for zones
        return None
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    label: str
    points: Points


@dataclass(frozen=True)
class Limit:
    """A dashed line with a word: where a warning starts."""

    value: float
    word: str
    state: str = "warning"


@dataclass(frozen=True)
class Mark:
    """An upright line: a run, a restart, a change of settings. since: where it was only found at that moment, when it
    had not happened yet."""

    at: dt.datetime
    text: str
    since: dt.datetime | None = None


@dataclass
class ChartView:
    """A chart as the template and charts.js need it. column states the unit by its suffix, as everywhere.

    live: seconds between refreshes by url; nothing: said instead of an empty frame; params: the page's address.
    """

    id: str
    title: str
    column: str
    lines: Sequence[Line]
    start: dt.datetime
    end: dt.datetime
    about: str = ""
    limits: Sequence[Limit] = ()
    marks: Sequence[Mark] = ()
    problem: Problem | None = None
    live: float | None = None
    url: str = ""
    nothing: str = "No samples in this window yet."
    params: QueryDict | None = None

    @property
    def numbers_url(self) -> str:
        """Where the page has its numbers as tables already, for who has no script; "" when they are here.

        They would be half of a page that few open: numbers.js writes them from the chart's own data.
        """
        if self.params is None or "numbers" in self.params:
            return ""
        return changed(self.params, ["panel"], numbers="1")

    @property
    def data_id(self) -> str:
        """The id of the JSON in the page."""
        return f"{self.id}-data"

    @property
    def unit(self) -> units.Unit:
        """The unit of all lines."""
        return units.unit_of(self.column)

    @property
    def empty(self) -> str:
        """Why there is nothing to draw, or ""."""
        known = any(value is not None for line in self.lines for _, value in line.points)
        return "" if known else self.nothing

    @property
    def events(self) -> list[Mark]:
        """The newest upright lines, named below the canvas, where names do not lie over each other."""
        return sorted(self.marks, key=lambda mark: mark.at, reverse=True)[:MOST_EVENTS]

    @property
    def more_events(self) -> int:
        """How many lines are not named."""
        return max(0, len(self.marks) - MOST_EVENTS)

    @property
    def legend(self) -> list[dict[str, str]]:
        """Label and colour of each line; what is beyond six is grey."""
        return [{"label": line.label, "css": f"s{min(n, 7)}"} for n, line in enumerate(self.lines, start=1)]

    @property
    def summary(self) -> str:
        """The chart in a sentence, for those who do not see it."""
        parts = []
        for line in self.lines:
            known = [value for _, value in line.points if value is not None]
            if known:
                low, high, last = (self.unit.text(v) for v in (min(known), max(known), known[-1]))
                parts.append(f"{line.label}: lowest {low}, highest {high}, last {last}")
        return f"{self.title}. {'; '.join(parts)}."

    @property
    def data(self) -> dict[str, Any]:
        """For json_script: times in ms; offset is the page's zone against UTC, in minutes.

        The moments of a line are the steps from its first; one that has none has those of the line before.
        """
        offset = timezone.localtime(self.end).utcoffset() or dt.timedelta()
        return {
            "unit": self.unit.prometheus,
            "from": self.start.timestamp() * 1000,
            "to": self.end.timestamp() * 1000,
            "offset": offset.total_seconds() / 60,
            "lines": list(packed(self.lines)),
            "limits": [
                {"value": limit.value, "word": limit.word, "state": limit.state} for limit in self.limits
            ],
            "marks": [{"at": mark.at.timestamp() * 1000, "text": mark.text} for mark in self.marks],
        }

    @cached_property
    def rows(self) -> SafeString:
        """The numbers below the chart, newest first, at most MOST_NUMBERS moments."""
        moments = sorted({at for line in self.lines for at, _ in line.points}, reverse=True)
        step = max(1, -(-len(moments) // MOST_NUMBERS))
        known = [dict(line.points) for line in self.lines]
        show = self.unit.text
        html = []
        for at in moments[::step]:
            cells = "".join(f'<td class="number">{escape(show(values.get(at)))}</td>' for values in known)
            moment = dt.datetime.fromtimestamp(at, tz=dt.UTC)
            html.append(f'<tr><td class="when">{units.moment(moment)}</td>{cells}</tr>')
        return mark_safe("".join(html))  # noqa: S308 - each value is escaped above


def packed(lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """Lines for charts.js: written one by one, their moments would be half of a page."""
    before: list[int] = []
    for line in lines:
        moments = [round(at * 1000) for at, _ in line.points]
        said: dict[str, Any] = {"label": line.label, "values": [short(value) for _, value in line.points]}
        if moments != before:
            said |= {"first": next(iter(moments), None), "steps": steps(moments)}
        before = moments
        yield said


def steps(moments: Sequence[int]) -> list[list[int]]:
    """[how far from the moment before, how often] in a row."""
    distances = (later - earlier for earlier, later in pairwise(moments))
    return [[distance, sum(1 for _ in same)] for distance, same in groupby(distances)]


def short(value: float | None) -> float | None:
    """Six digits are more than a screen has points."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class Figure:
    """One key figure."""

    label: str
    text: str
    exact: str = ""
    note: str = ""
    state: str = ""
    sparkline: SafeString | str = ""
    url: str = ""

    @classmethod
    def of(cls, column: str, value: Any, **kwargs: Any) -> "Figure":
        """By a column's name: label and unit come with it."""
        from dbadmin.probes import Column

        unit = units.unit_of(column)
        exact = "" if value is None or not unit.numeric else str(value)
        return cls(kwargs.pop("label", Column(column, unit).label), unit.text(value), exact, **kwargs)


def stretches(values: Iterable[float | None]) -> list[list[tuple[int, float]]]:
    """Runs of known values with their places; a gap parts them."""
    parts: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            if parts[-1]:
                parts.append([])
        else:
            parts[-1].append((place, float(value)))
    return [part for part in parts if part]


def sparkline(values: Sequence[float | None] | None, label: str = "", top: float | None = None) -> SafeString:
    """A line as wide as a word, from zero to top (else to its own highest); a gap stays a gap.

    A lone sample between two gaps is a dot, since a line needs two.
    """
    known = [value for value in values or () if value is not None]
    if not known or values is None:
        return format_html('<span class="dash">{}</span>', units.UNKNOWN)
    low, high = min(0.0, *map(float, known)), float(top if top is not None else max(known))
    across, up = WIDTH / max(1, len(values) - 1), (HEIGHT - 3) / ((high - low) or 1)
    path, dots = [], []
    for part in stretches(values):
        spots = [
            f"{place * across:.1f} {HEIGHT - 1.5 - (min(value, high) - low) * up:.1f}"
            for place, value in part
        ]
        if len(spots) == 1:
            x, y = spots[0].split()
            dots.append(f'<circle cx="{x}" cy="{y}" r="1.25"/>')
        else:
            path.append("M" + "L".join(spots))
    name = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    line = f'<path d="{"".join(path)}"/>' if path else ""
    return mark_safe(  # noqa: S308 - numbers, and an escaped label
        f'<svg class="sparkline" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" {name}>'
        f"{line}{''.join(dots)}</svg>"
    )


def meter(value: float | None, limit: float | None, state: str = "") -> SafeString:
    """A bar of value in limit; hidden from screen readers, the numbers stand beside it."""
    if value is None or not limit:
        return format_html('<span class="dash">{}</span>', units.UNKNOWN)
    width = max(0.0, min(100.0, 100 * float(value) / float(limit)))
    return format_html(
        '<svg class="bar {}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="100" height="6" rx="3"></rect><rect width="{}" height="6" rx="3"></rect></svg>',
        state,
        f"{width:.1f}",
    )


def marks_of(runs: Iterable[Any]) -> list[Mark]:
    """Every run that did something is an upright line."""
    return [Mark(run.started_at, str(run)) for run in runs if run.started_at and run.status == "succeeded"]


def limits_of(thresholds: Mapping[str, Any], column: str) -> list[Limit]:
    """The probe's header thresholds, where they speak of this column and are the same for all rows."""
    return [
        Limit(threshold.limit, state.capitalize(), state)
        for state, threshold in thresholds.items()
        if threshold is not None and threshold.column == column and not threshold.of
    ]
