"""Reading a repository: what it holds now, or why nobody knows, kept with its row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import psycopg
from django import forms
from django.utils import timezone

from backups.foreign import sources
from backups.foreign.contents import Source, Unreadable, seen
from backups.foreign.models import ForeignRepository
from backups.physical.wal import SEGMENT_BYTES
from dbadmin.models import Server
from dbadmin.operations import Refused
from dbadmin.units import several

if TYPE_CHECKING:
    from dbadmin.work import Work

_TELLS = """
    select (select setting::bigint from pg_catalog.pg_settings where name = 'wal_segment_size') as segment_bytes,
           (select system_identifier::text from pg_catalog.pg_control_system()) as system_id,
           last_archived_wal, last_archived_time
    from pg_catalog.pg_stat_archiver"""


class RepositoryField(forms.TypedChoiceField):
    """One of a server's repositories of other tools."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(coerce=int, **kwargs)

    def offer(self, server: Server | None) -> None:
        found = ForeignRepository.objects.filter(server=server) if server else ForeignRepository.objects.all()
        self.choices = [(str(row.pk), str(row)) for row in found]


def repository_of(server: Server, params: Mapping[str, Any]) -> ForeignRepository:
    """The one that a form names."""
    found = ForeignRepository.objects.filter(server=server, pk=params["repository"]).first()
    if found is None:
        raise Refused("This repository is shown no longer.", field="repository")
    return found


def look(repository: ForeignRepository, work: Work) -> None:
    """Read it; what was known stays, with its age, when it cannot be read."""
    repository.tried_at, repository.trouble = timezone.now(), ""
    source = _source(repository.server)
    try:
        answer = sources.read(repository, work)
        repository.seen = understood(repository, answer, source)
        repository.as_of = answer.as_of
        work.say(_sentence(repository))
    except Unreadable as why:
        repository.trouble = work.clean(str(why))
    repository.save(update_fields=["tried_at", "trouble", "seen", "as_of"])


def understood(repository: ForeignRepository, answer: sources.Answer, source: Source) -> dict[str, Any]:
    """What the documents say; whatever else stands in them, an Unreadable is all that comes of it."""
    tool = sources.TOOLS[repository.tool]
    try:
        found = seen(
            tool.parse(answer.documents, repository.name, source.segment_bytes), source, answer.as_of
        )
        text = json.dumps(found, ensure_ascii=False, allow_nan=False)
        if "\\u0000" in text or not text.encode():
            raise ValueError("a character that no name has")
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as wrong:
        raise Unreadable(f"The JSON is not such as {tool.TITLE} prints: {wrong}.") from wrong
    return found


def _source(server: Server) -> Source:
    """What the server says of itself; while it does not answer, only the repository speaks."""
    try:
        told = server.row(_TELLS)
    except psycopg.Error:
        return Source(SEGMENT_BYTES)
    if told is None:
        return Source(SEGMENT_BYTES)
    return Source(
        int(told.segment_bytes),
        str(told.system_id or ""),
        told.last_archived_wal or "",
        told.last_archived_time,
    )


def _sentence(repository: ForeignRepository) -> str:
    problems, gaps = repository.seen["problems"], repository.gaps_count
    open_holes = f", {several(gaps, 'open hole')} in its WAL" if gaps else ""
    return " ".join(
        [f"{repository} holds {several(repository.seen['backups_count'], 'backup')}{open_holes}.", *problems]
    )
