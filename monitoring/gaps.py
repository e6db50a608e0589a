"""What the sampler saw happen to a server as a whole: marks, and the gaps that no mark tells of already."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.db import connection

from dbadmin.by_hand import all_of, read
from dbadmin.models import Server
from monitoring.models import Gap, Mark

#: A mark carries the clock of the server, a gap ours: so far they may differ.
SLACK = dt.timedelta(minutes=2)
#: Each page with a chart asks both, so that Django does not write them anew.
MARKS = """
select id, at, text, kind, facts from monitoring_mark
where server_id = %s and at >= %s and at < %s order by at {} limit %s
"""
GAPS = f"""
select {all_of(Gap)} from monitoring_gap
where server_id = %s and source_id is null and (ended_at is null or ended_at > %s) and started_at < %s
order by started_at desc limit %s
"""  # noqa: S608 - our own names

READ = """
select exists (
    select from monitoring_source source
    where source.server_id = %(server)s and (
        exists (select from monitoring_minute tick
            where tick.source_id = source.id and tick.taken_at > %(start)s and tick.taken_at <= %(end)s)
        or exists (select from monitoring_hour closed
            where closed.source_id = source.id
                and closed.starts_at > %(start)s::timestamptz - interval '1 hour' and closed.starts_at < %(end)s)
        or exists (select from monitoring_total total
            where total.source_id = source.id and total.span in (3600, 86400)
                and total.starts_at > %(start)s::timestamptz - total.span * interval '1 second'
                and total.starts_at < %(end)s))
) and not exists (
    select from monitoring_gap gap
    where gap.server_id = %(server)s and gap.source_id is null
        and gap.started_at <= %(start)s and (gap.ended_at is null or gap.ended_at >= %(end)s)
)
"""


def was_read(server: Server, start: dt.datetime, end: dt.datetime) -> bool:
    """Is anything known of the window? Where nobody looked nothing was seen, whatever happened."""
    with connection.cursor() as cursor:
        cursor.execute(READ, {"server": server.pk, "start": start, "end": end})
        return bool(cursor.fetchone()[0])


def marks_between(
    server: Server, start: dt.datetime, end: dt.datetime, *, oldest: int = 0, newest: int = 0
) -> list[Mark]:
    """Marks of a window: so many of the oldest, in order, or of the newest, the newest first."""
    query = MARKS.format("desc" if newest else "")
    return read(Mark, query, [server.pk, start, end, newest or oldest])


def untold(
    server: Server, start: dt.datetime, end: dt.datetime, marks: Iterable[Mark], most: int
) -> list[Gap]:
    """Gaps of the window, the newest first: a mark tells of a gap when it has its cause and lies within it.

    marks: those of the same window; most: how many gaps at most.
    """
    told = [(mark.kind, mark.at) for mark in marks]
    return [
        gap
        for gap in read(Gap, GAPS, [server.pk, start, end, most])
        if not any(kind == gap.cause and is_within(at, gap) for kind, at in told)
    ]


def is_within(at: dt.datetime, gap: Gap) -> bool:
    """Does the moment lie in the gap, but for the difference of two clocks? One that lasts has no end."""
    return gap.started_at - SLACK <= at and (gap.ended_at is None or at <= gap.ended_at + SLACK)
