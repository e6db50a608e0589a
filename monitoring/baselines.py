"""What is usual: the mean of a rule's number over the last week, of each key, from our own history."""

from __future__ import annotations

import datetime as dt
import time

from django.utils import timezone

from dbadmin.models import Server
from monitoring import windows
from monitoring.alert_models import AlertRule
from monitoring.blocks import column_named, find_source
from monitoring.histories import histories
from monitoring.judging import Key, measured
from monitoring.keeper import lines_of
from monitoring.series import kept_columns

#: The span of a baseline, the last hour left out: what is wrong now must not become usual at once.
SPAN, RECENT = dt.timedelta(days=7), dt.timedelta(hours=1)
#: History below which nothing is usual yet, seconds; and how long a baseline is used before it is made anew.
LEAST, FRESH = 24 * 3600.0, 3600.0
HOUR = 3600

Place = tuple[int, int, str]


class Baselines:
    """Baselines that are known, each made anew once an hour at most."""

    def __init__(self) -> None:
        self.known: dict[Place, tuple[float, dict[Key, float]]] = {}

    def of(self, rule: AlertRule, server: Server, database: str) -> dict[Key, float]:
        """By key; empty while there is too little history."""
        place = (rule.pk, server.pk, database)
        made_at, found = self.known.get(place, (-1e9, {}))
        if time.monotonic() - made_at > FRESH:
            found = baseline(rule, server, database)
            self.known[place] = (time.monotonic(), found)
        return found

    def forget(self) -> None:
        """Rules were changed."""
        self.known.clear()


def baseline(rule: AlertRule, server: Server, database: str) -> dict[Key, float]:
    """The mean of the rule's number over the last week, by key."""
    end = timezone.now() - RECENT
    if rule.measure == AlertRule.Measure.VALUE:
        return usual_value(rule, server, database, end)
    columns = list(dict.fromkeys(name for name in (rule.column, rule.other) if name))
    names = kept_names(server, rule.probe, columns, database)
    if names is None:
        return {}
    found = windows.window(server, rule.probe, names, end - SPAN, end, database)
    source = find_source(server.pk, rule.probe, database)
    if source is None or found.observed < LEAST:
        return {}
    one, other = names[0], names[-1]
    lines = set(found.sums[one]) | set(found.sums[other])
    usual: dict[Key, float] = {}
    for line, key in lines_of(source, lines).items():
        value = measured(rule, found.value(one, line), found.value(other, line), found.observed)
        if value is not None:
            usual[key] = value
    return usual


def kept_names(server: Server, probe: str, columns: list[str], database: str) -> list[str] | None:
    """The columns as history keeps them, which may be the most or the sum of a column."""
    source = find_source(server.pk, probe, database)
    if source is None:
        return None
    kept = kept_columns(source)
    names = [column_named(kept, column) for column in columns]
    return [name for name in names if name] if all(names) else None


def usual_value(rule: AlertRule, server: Server, database: str, end: dt.datetime) -> dict[Key, float]:
    """The mean of a column as it is read, of each row."""
    reach = ((SPAN + RECENT).total_seconds(), HOUR)
    usual: dict[Key, float] = {}
    for key, points in histories(server, rule.probe, rule.column, reach, database).items():
        known = [value for at, value in points if at <= end.timestamp()]
        if len(known) * HOUR >= LEAST:
            usual[key] = sum(known) / len(known)
    return usual
