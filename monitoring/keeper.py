"""Puts samples, gaps and marks into the control database."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, transaction

from dbadmin.models import Server
from monitoring import packing, partitions
from monitoring.layouts import is_counter
from monitoring.marks import NewMark
from monitoring.models import Gap, Layout, Line, Mark, Source
from monitoring.packing import Block
from monitoring.recorder import Hole, Known, Sample

#: Breaks of the whole server: one gap tells it for all sources.
OF_THE_SERVER = {
    Gap.Cause.SILENT,
    Gap.Cause.RESTART,
    Gap.Cause.CRASH,
    Gap.Cause.UPGRADE,
    Gap.Cause.REPLACED,
    Gap.Cause.CLOCK,
}
ADD_LINES = """
insert into monitoring_line (source_id, key, first_at)
select %s, key, %s from unnest(%s::jsonb[]) key on conflict do nothing
"""
FIND_LINES = "select id, key::text from monitoring_line where source_id = %s and key = any(%s::jsonb[])"
ADD_MINUTE = """
insert into monitoring_minute (source_id, taken_at, layout_id, body) values (%s, %s, %s, %s)
on conflict do nothing
"""


class Keeper:
    """Remembers the numbers of sources and layouts, so that a sample costs one insert."""

    def __init__(self) -> None:
        self.sources: dict[tuple[int, str, str], int] = {}
        self.layouts: dict[tuple[str, ...], int] = {}

    def forget(self) -> None:
        """After an error the numbers may be of rows that were never committed."""
        self.sources.clear()
        self.layouts.clear()

    def keep(
        self, server: Server, samples: Iterable[Sample], holes: Sequence[Hole], marks: Iterable[NewMark]
    ) -> None:
        """Store what one round found, all or nothing."""
        samples = list(samples)
        # Numbers are committed at once: lines remember theirs even when what follows must be repeated.
        sources = [self.source(server, sample.probe, sample.database) for sample in samples]
        for sample, source_id in zip(samples, sources, strict=True):
            partitions.ensure("minute", sample.taken_at)
            number(source_id, sample.lines, sample.taken_at)
        gaps = self.gaps(server, holes)
        with transaction.atomic(), connection.cursor() as cursor:
            for sample, source_id in zip(samples, sources, strict=True):
                layout_id, body = self.layout(sample.columns), pack(sample)
                cursor.execute(ADD_MINUTE, [source_id, sample.taken_at, layout_id, body])
            Gap.objects.bulk_create(gaps)
            Mark.objects.bulk_create(
                Mark(server=server, at=mark.at, kind=mark.kind, text=mark.text, facts=mark.facts)
                for mark in marks
            )

    def source(self, server: Server, probe: str, database: str) -> int:
        """The number of a source."""
        key = (server.pk, probe, database)
        if key not in self.sources:
            found, _ = Source.objects.get_or_create(server=server, probe=probe, database=database)
            self.sources[key] = found.pk
        return self.sources[key]

    def layout(self, columns: tuple[str, ...]) -> int:
        """The number of a layout."""
        if columns not in self.layouts:
            self.layouts[columns] = Layout.objects.get_or_create(columns=list(columns))[0].pk
        return self.layouts[columns]

    def gaps(self, server: Server, holes: Sequence[Hole]) -> list[Gap]:
        """Gaps; what broke the whole server is told once, of single lines with their numbers."""
        whole = [hole for hole in holes if hole.why.cause in OF_THE_SERVER]
        rows = [gap(server, max(whole, key=lambda hole: hole.started_at), None)] if whole else []
        for hole in holes:
            if hole.why.cause not in OF_THE_SERVER:
                source_id = self.source(server, hole.probe, hole.database)
                number(source_id, hole.lines or [], hole.ended_at)
                rows.append(gap(server, hole, source_id))
        return rows


def gap(server: Server, hole: Hole, source_id: int | None) -> Gap:
    """A hole as a row."""
    return Gap(
        server=server,
        source_id=source_id,
        lines=[line.id for line in hole.lines] if hole.lines is not None else None,
        started_at=hole.started_at,
        ended_at=hole.ended_at,
        cause=hole.why.cause,
        text=hole.why.text,
    )


def number(source_id: int, lines: Iterable[Known], now: dt.datetime) -> None:
    """Give lines their numbers in the store."""
    new = {line.key: line for line in lines if not line.id}
    for is_second_try in (False, True):
        if not new:
            return
        keys = [json.dumps(list(key)) for key in new]
        with connection.cursor() as cursor:
            if is_second_try:
                cursor.execute(ADD_LINES, [source_id, now, keys])
            cursor.execute(FIND_LINES, [source_id, keys])
            for line_id, key in cursor.fetchall():
                line = new.pop(tuple(json.loads(key)), None)
                if line is not None:
                    line.id = line_id


def pack(sample: Sample) -> bytes:
    """A sample as a block of one tick."""
    order = sorted(range(len(sample.lines)), key=lambda place: sample.lines[place].id)
    columns = [[sample.values[place][column] for place in order] for column in range(len(sample.columns))]
    block = Block(
        ticks=[0],
        lengths=[round(sample.length * 1000)],
        full=[int(sample.is_full)],
        lines=[sample.lines[place].id for place in order],
        counts=[1] * len(order),
        places=[0] * len(order),
        columns=list(columns),
    )
    return packing.pack(block, [not is_counter(column) for column in sample.columns])


def open_gap(server: Server, at: dt.datetime, cause: Gap.Cause, text: str) -> None:
    """A gap of the whole server begins, unless one is open."""
    if not Gap.objects.filter(server=server, source=None, ended_at=None).exists():
        Gap.objects.create(server=server, started_at=at, cause=cause, text=text)


def close_gap(server: Server, at: dt.datetime) -> None:
    """The server answers again."""
    Gap.objects.filter(server=server, source=None, ended_at=None).update(ended_at=at)


def lines_of(source: Source, ids: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """The keys of lines by their numbers."""
    rows = Line.objects.filter(source=source, pk__in=list(ids)).values_list("pk", "key")
    return {line_id: tuple(key) for line_id, key in rows}
