"""What an alert page shows beside the alert: the line that crossed its limit, the row, what mends it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from dbadmin import history, subjects, units
from dbadmin.charts import ChartView, Limit, Line
from dbadmin.health import page_of
from dbadmin.models import Server
from dbadmin.operations import REGISTRY
from dbadmin.permissions import may
from dbadmin.probes import PROBES
from dbadmin.templatetags.dbadmin import button
from monitoring.alert_models import Alert, AlertRule, Delivery
from monitoring.blocks import find_source
from monitoring.chart import points
from monitoring.models import Line as StoredLine
from monitoring.rules import mending
from monitoring.series import Series, series

#: How much is shown before it began and after it ended.
BEFORE, AFTER = dt.timedelta(hours=3), dt.timedelta(hours=1)
Measure = AlertRule.Measure


def chart(alert: Alert) -> ChartView | None:
    """The rule's number over the time of the alert; None for what has no series."""
    rule, server = alert.rule, alert.server
    if rule is None or server is None or rule.probe not in PROBES or rule.comparison == "present":
        return None
    start = alert.since - BEFORE
    end = min(timezone.now(), (alert.resolved_at or timezone.now()) + AFTER)
    found = line(alert, rule, server, start, end)
    name = unit_name(rule)
    return ChartView(
        id="evidence",
        title=f"{alert.name}{': ' + alert.row_name[:60] if alert.row_name else ''}",
        column=name,
        lines=[Line(alert.row_name[:60] or alert.name, points(found, server))]
        if any_known(found.values)
        else [],
        start=start,
        end=end,
        about="From three hours before it began.",
        limits=limits(alert, rule),
        marks=history.marks(server, start, end),
        nothing="There is no history of this number.",
    )


def any_known(values: Sequence[float | None]) -> bool:
    """Is anything to be drawn?"""
    return any(value is not None for value in values)


def unit_name(rule: AlertRule) -> str:
    """A column name that states the unit of the rule's number."""
    bare = rule.column.removesuffix("_total")
    match rule.measure:
        case Measure.SHARE:
            return "share_ratio"
        case Measure.PER:
            return bare
        case Measure.RATE:
            return f"{bare}_per_second"
        case _:
            return rule.column


def line(alert: Alert, rule: AlertRule, server: Server, start: dt.datetime, end: dt.datetime) -> Series:
    """The number as a series; made of two where the rule is."""
    place: Any = {"key": alert.row_key or None, "start": start, "end": end, "database": alert.database}
    one = series(server, rule.probe, rule.column, **place)
    if rule.measure in {Measure.VALUE, Measure.RATE} or not rule.other:
        return one
    other = series(server, rule.probe, rule.other, **place)
    whole = rule.measure == Measure.SHARE
    one.values = [quotient(a, b, whole) for a, b in zip(one.values, other.values, strict=False)]
    return one


def quotient(one: float | None, other: float | None, whole: bool) -> float | None:
    """One for each of the other, or its share in both."""
    if one is None or other is None:
        return None
    below = one + other if whole else other
    return one / below if below else None


def limits(alert: Alert, rule: AlertRule) -> list[Limit]:
    """The rule's limits as dashed lines."""
    base = alert.evidence.get("baseline") or 1.0
    if rule.against != AlertRule.Against.LIMIT and not alert.evidence.get("baseline"):
        return []
    pairs = (("Warning", rule.warning, "warning"), ("Critical", rule.critical, "critical"))
    return [Limit(limit * base, word, state) for word, limit, state in pairs if limit is not None]


def row(alert: Alert) -> list[tuple[str, str]]:
    """The row that crossed the limit, for people."""
    probe = PROBES.get(alert.rule.probe) if alert.rule else None
    kept: dict[str, Any] = alert.evidence.get("row") or {}
    # The control database keeps no order of a row's columns.
    order = alert.evidence.get("columns") or list(kept)
    return [
        (probe.column(name).label if probe else name, shown(name, kept[name]))
        for name in order
        if kept.get(name) is not None
    ]


def shown(name: str, value: Any) -> str:
    """A kept value by its column's unit."""
    unit = units.unit_of(name)
    if unit.suffix == "_at" and isinstance(value, str):
        return units.moment(dt.datetime.fromisoformat(value))
    if unit.numeric and not isinstance(value, int | float):
        return str(value)
    return unit.text(value)


def actions(alert: Alert, user: Any) -> list[SafeString]:
    """Buttons of the operations that mend it, their forms filled from the row."""
    kept: dict[str, Any] = alert.evidence.get("row") or {}
    if alert.rule is None or alert.server is None:
        return []
    found: list[SafeString] = []
    for action in mending(alert.rule):
        operation = REGISTRY.get(action.operation)
        values = {name: kept.get(column) for name, column in action.fields}
        if operation is None or None in values.values():
            continue
        if may(user, operation.permission(), alert.server):
            if alert.database and "database" in operation.Form.base_fields:
                values.setdefault("database", alert.database)
            found.append(button(operation, alert.server.name, values, css="primary" if not found else ""))
    return found


def place(alert: Alert) -> str:
    """The page that shows more: the statement, or the room of the reading."""
    rule, server = alert.rule, alert.server
    if rule is None or server is None or rule.probe not in PROBES:
        return server.get_absolute_url() if server else ""
    if rule.probe == "statements":
        source = find_source(server.pk, rule.probe)
        known = StoredLine.objects.filter(source=source, key=alert.row_key).first()
        return reverse("statement", args=[server.name, known.pk]) if known else ""
    return page_of(server, rule.probe)


def subject(alert: Alert) -> str:
    """The page about the thing that the row names, such as its table; "" when there is none."""
    row = alert.evidence.get("row") or {}
    return subjects.of_row(alert.server.name, alert.database, row) if alert.server else ""


def steps(alert: Alert) -> list[dict[str, Any]]:
    """All that happened to it, and who was told, in order."""
    states = {"resolved": "ok", "opened": alert.severity, "worse": alert.severity}
    found: list[dict[str, Any]] = [
        {"at": note.at, "state": states.get(note.kind, ""), "text": note.text} for note in alert.notes.all()
    ]
    found += [
        {"at": each.sent_at or each.created_at, "state": "", "text": told(each)}
        for each in alert.deliveries.select_related("channel")[:50]
    ]
    return sorted(found, key=lambda step: step["at"])


def told(delivery: Delivery) -> str:
    """One notice in a sentence."""
    channel, answer = delivery.channel, delivery.answer.rstrip(".")
    match delivery.state:
        case Delivery.State.SENT:
            return f"{channel} was told: {answer}."
        case Delivery.State.WAITING if answer:
            return f"{channel} is told again at {units.moment(delivery.due_at)}. {answer}."
        case Delivery.State.WAITING:
            return f"{channel} is told as soon as its earlier notices are sent."
        case _:
            return f"{channel} could not be told. {answer}."
