"""What charts draw: lines of one column, one for each value of a key, and the marks between them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from dbadmin import readings
from dbadmin.cells import seen
from dbadmin.charts import Line, Mark
from dbadmin.models import Server
from dbadmin.probes import PROBES
from monitoring import models
from monitoring.blocks import column_named, find_source, moment_of, stamp
from monitoring.gaps import marks_between, untold
from monitoring.layouts import is_counter
from monitoring.line_keys import keys_of
from monitoring.series import Past, Series, bucketed, kept_columns, line_of, of_line, series, step_for

#: Causes of gaps that are marked on the chart; the others are only seen as gaps.
MARKED = {"restart", "crash", "upgrade", "replaced", "clock", "unreachable"}


class History:
    """The history of this app, as the ground floor asks for it."""

    def lines(
        self,
        server: Server,
        probe: str,
        column: str,
        start: dt.datetime,
        end: dt.datetime,
        by: str = "",
        most: int = 6,
        database: str = "",
    ) -> Sequence[Line]:
        """The lines of a column: one per value of the key column `by`, largest first, the rest as others."""
        if probe in PROBES and PROBES[probe].scope == "database":
            database = database or readings.main_database(server)
        if by:
            return lines_by(server, probe, column, by, start, end, most, database)
        found = series(server, probe, column, start=start, end=end, database=database, explain=False)
        label = PROBES[probe].column(column).label if probe in PROBES else column
        return [Line(label, points(found, server))]

    def row(
        self,
        server: Server,
        probe: str,
        columns: Sequence[str],
        start: dt.datetime,
        end: dt.datetime,
        key: Sequence[str],
        database: str = "",
    ) -> dict[str, Line]:
        """The lines of several columns of one row."""
        source = find_source(server.pk, probe, database or place(server, probe))
        line = line_of(source, key) if source else None
        if source is None or line is None:
            return {}
        every, end = PROBES[probe].every or 60, min(end, timezone.now())
        found = of_line(source, line, columns, start, end, step_for(start, end, every), every)
        return {
            name: Line(PROBES[probe].column(name).label, points(one, server)) for name, one in found.items()
        }

    def marks(self, server: Server, start: dt.datetime, end: dt.datetime) -> Sequence[Mark]:
        """Restarts, resets, changed settings and times without an answer, in order."""
        return timeline(server, start, end)


def points(found: Series, server: Server) -> list[tuple[float, float | None]]:
    """(seconds since 1970, value) of each step, at its middle.

    Of the step under way it is not later than now, of that in which we came to know the server not before that.
    """
    step, now, known = found.step, timezone.now().timestamp(), server.created_at.timestamp()
    first = stamp(found.start) / 1000
    moments = [first + step / 2 + step * number for number in range(len(found.values))]
    place = int((known - first) // step)
    if 0 <= place < len(moments):
        moments[place] = max(moments[place], known)
    for place in range(len(moments) - 1, -1, -1):
        if moments[place] <= now:
            break
        moments[place] = now
    return list(zip(moments, found.values, strict=True))


def timeline(server: Server, start: dt.datetime, end: dt.datetime) -> list[Mark]:
    """What happened to the server in a window."""
    rows = marks_between(server, start, end, oldest=200)
    gaps = untold(server, start, end, rows, 200)
    found = [Mark(mark.at, mark.text, since_of(mark.facts)) for mark in rows]
    found += [Mark(gap.started_at, gap.text) for gap in gaps if gap.cause in MARKED]
    return sorted(found, key=lambda mark: (mark.at, mark.text))


def since_of(facts: dict[str, Any]) -> dt.datetime | None:
    """When a thing had not happened yet that was found later."""
    return dt.datetime.fromisoformat(facts["since"]) if facts.get("since") else None


def lines_by(
    server: Server,
    probe: str,
    column: str,
    by: str,
    start: dt.datetime,
    end: dt.datetime,
    most: int,
    database: str,
) -> list[Line]:
    """One line for each value of a key column, the largest first; what is left is summed as others."""
    source = find_source(server.pk, probe, database)
    name = column_named(kept_columns(source), column) if source else None
    if source is None or name is None or by not in PROBES[probe].key:
        return []
    end, every = min(end, timezone.now()), PROBES[probe].every or 60
    step = step_for(start, end, every)
    first = stamp(start) // (step * 1000) * step * 1000
    count = max(1, -(-(stamp(end) - first) // (step * 1000)))
    shape = Series(name, (), moment_of(first), step, [None] * count)
    kept = Past(source, shape.start, end, step, every, None)
    groups = grouped(source, kept.lines(), PROBES[probe].key.index(by))
    found = {
        label: together([bucketed(kept, name, line, shape) for line in lines], name)
        for label, lines in groups.items()
    }
    return drawn(found, shape, most, server)


def grouped(source: models.Source, lines: set[int], place: int) -> dict[str, list[int]]:
    """Label -> lines, by one part of their keys."""
    groups: dict[str, list[int]] = {}
    for pk, key in keys_of(source, lines).items():
        if key:
            groups.setdefault(shown(key[place]), []).append(pk)
    return groups


def shown(part: Any) -> str:
    """A part of a key for a legend."""
    return "(none)" if part in (None, "") else seen(str(part))


def together(values: Sequence[Sequence[float | None]], column: str) -> list[float | None]:
    """Several lines as one: sums of what is known; of ratios the mean."""
    found: list[float | None] = []
    for column_values in zip(*values, strict=True):
        known = [value for value in column_values if value is not None]
        total = sum(known) if known else None
        is_mean = column.endswith("_ratio") and not is_counter(column)
        found.append(total / len(known) if is_mean and total is not None else total)
    return found


def drawn(found: dict[str, list[float | None]], shape: Series, most: int, server: Server) -> list[Line]:
    """The largest lines by name, the rest as others."""

    def weight(label: str) -> float:
        return sum(value for value in found[label] if value is not None)

    order = sorted(found, key=weight, reverse=True)
    shown_labels = order if len(order) <= most else order[: most - 1]
    result = [
        Line(label, points(Series(shape.column, (), shape.start, shape.step, found[label]), server))
        for label in shown_labels
    ]
    rest = order[len(shown_labels) :]
    if rest:
        others = together([found[label] for label in rest], shape.column)
        label = f"{len(rest)} others"
        result.append(Line(label, points(Series(shape.column, (), shape.start, shape.step, others), server)))
    return result


def chart_data(
    server: Server, probe: str, column: str, start: dt.datetime, end: dt.datetime, by: str = ""
) -> dict[str, Any]:
    """A chart as JSON: lines of [milliseconds, value], gaps with their causes, marks."""
    history = History()
    missing = (
        []
        if by
        else series(server, probe, column, start=start, end=end, database=place(server, probe)).missing
    )
    return {
        "column": column,
        "is_rate": is_counter(column),
        "lines": [
            {"label": line.label, "points": [[at * 1000, value] for at, value in line.points]}
            for line in history.lines(server, probe, column, start, end, by)
        ],
        "gaps": [
            {"from": stamp(gap.start), "to": stamp(gap.end), "cause": gap.cause, "text": gap.text}
            for gap in missing
        ],
        "marks": [{"at": stamp(mark.at), "text": mark.text} for mark in history.marks(server, start, end)],
    }


def place(server: Server, probe: str) -> str:
    """The database that a chart without one is about."""
    is_of_database = probe in PROBES and PROBES[probe].scope == "database"
    return readings.main_database(server) if is_of_database else ""
