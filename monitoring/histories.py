"""The histories of many rows of a reading at once, each as points: what a line or a mean is drawn from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from dbadmin.models import Server
from dbadmin.probes import PROBES
from monitoring.blocks import column_named, find_source, moment_of, stamp
from monitoring.models import Line
from monitoring.series import Past, Series, bucketed, kept_columns

Key = tuple[Any, ...]


def histories(
    server: Server,
    probe: str,
    column: str,
    reach: tuple[float, int],
    database: str = "",
    keys: Sequence[Key] | None = None,
) -> dict[Key, list[tuple[float, float]]]:
    """The known points of several lines, read once for all of them; without keys of all lines.

    reach: how far back, and the step; both seconds.
    """
    span, step = reach
    source = find_source(server.pk, probe, database)
    name = column_named(kept_columns(source), column) if source else None
    if source is None or name is None:
        return {}
    now = timezone.now()
    start = stamp(now - dt.timedelta(seconds=span)) // (step * 1000) * step * 1000
    count = max(1, -(-(stamp(now) - start) // (step * 1000)))
    shape = Series(name, (), moment_of(start), step, [None] * count)
    wanted = Line.objects.filter(source=source)
    if keys is not None:
        wanted = wanted.filter(key__in=[list(key) for key in keys])
    lines = {tuple(key): pk for pk, key in wanted.values_list("pk", "key")}
    every = (PROBES[probe].every if probe in PROBES else None) or 60.0
    only = next(iter(lines.values())) if len(lines) == 1 else None
    kept = Past(source, shape.start, now, step, every, only)
    half = step / 2
    found = {}
    for key, line in lines.items():
        values = bucketed(kept, name, line, shape)
        found[key] = [
            (start / 1000 + place * step + half, value)
            for place, value in enumerate(values)
            if value is not None
        ]
    return found
