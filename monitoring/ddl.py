"""Changes of the schema, as the servers' own count of statements tells of them: at no cost to the server."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dbadmin.models import Server
from dbadmin.probes import Reading
from monitoring.marks import NewMark
from monitoring.models import Name, Statement
from monitoring.recorder import Sample
from monitoring.texts import Found

Place = tuple[int, int]
COMMENTS = r"^(\s|--[^\n]*\n|/\*([^*]|\*[^/])*\*/)*"
#: What begins like this changes what others find; temporary tables are of one session only.
PATTERN = (
    COMMENTS + r"(alter|comment|create|drop|grant|import|reassign|revoke|security|truncate)\s"
    r"(?!(or\s+replace\s+)?(global\s+|local\s+)?temp(orary)?\s)"
)
DDL = re.compile(PATTERN, re.IGNORECASE)
#: Characters of a statement in a mark; how many of one role in one database are told one by one: a restore creates
#: thousands of things.
LONGEST, MOST = 200, 5
#: Statements without a text yet that are remembered.
MOST_WAITING = 2000


@dataclass(frozen=True)
class Heard:
    """What the store knows of a server: its statements that change the schema, and the names of numbers."""

    texts: Mapping[Place, str] = field(default_factory=dict)
    names: Mapping[tuple[str, int], str] = field(default_factory=dict)


def heard(server: Server) -> Heard:
    """What earlier samplers left in the store."""
    kept = Statement.objects.filter(server=server, text__text__iregex=PATTERN)
    rows = kept.values_list("database_id", "query_id", "text__text")
    names = Name.objects.filter(server=server).values_list("kind", "number", "name")
    return Heard(
        {(database, query): text for database, query, text in rows},
        {(kind, number): name for kind, number, name in names},
    )


class SchemaWatch:
    """Tells which changes of the schema ran since the last look at the statements."""

    def __init__(self, before: Heard | None = None) -> None:
        before = before or Heard()
        self.texts, self.names = dict(before.texts), dict(before.names)
        self.waiting: dict[Place, NewMark] = {}

    def marks(
        self, sample: Sample | None, statements: Reading, texts: Found | None, last: dt.datetime | None
    ) -> list[NewMark]:
        """Marks for what ran since the last look, and for what ran earlier and whose text came only now.

        sample: the increases of this reading; last: when the server was last looked at, by its own clock.
        """
        if texts is not None:
            self.names |= {(kind, number): name for kind, number, name in texts.names}
            self.texts |= {place: text for place, text in texts.texts.items() if DDL.match(text)}
        found = [*self.told_late(texts), *(self.ran(sample, statements, last) if sample and last else ())]
        found.sort(key=lambda mark: (mark.at, mark.text))
        return [mark for some in by_whom_and_where(found) for mark in few(some)]

    def told_late(self, texts: Found | None) -> Iterator[NewMark]:
        """Statements that were seen before their text was."""
        for place in texts.texts if texts else ():
            mark = self.waiting.pop(place, None)
            if mark is not None and place in self.texts:
                yield self.mark(mark.at, place, **mark.facts)

    def ran(self, sample: Sample, statements: Reading, last: dt.datetime) -> Iterator[NewMark]:
        """Those of the sample that were called."""
        place_of_calls = sample.columns.index("calls_total")
        # Lines that the server forgot end in the sample too.
        there = {(row.user_id, row.database_id, row.query_id, row.toplevel) for row in statements.rows}
        for line, values in zip(sample.lines, sample.values, strict=True):
            role_id, database_id, query_id, _ = line.key
            place, calls = (database_id, query_id), values[place_of_calls]
            since: dt.datetime | None = next(iter(line.look.since), None)
            is_new = since is not None and since >= last
            if calls == 0 or (calls is None and (line.key not in there or not (is_new or since is None))):
                continue
            is_exact = since is not None and is_new
            at = min(since, sample.taken_at) if since and is_exact else sample.taken_at
            facts = {"role_id": role_id, "calls": calls, "since": None if is_exact else last}
            if place in self.texts:
                yield self.mark(at, place, **facts)
            elif len(self.waiting) < MOST_WAITING:
                self.waiting.setdefault(place, NewMark(at, "ddl", "", facts))

    def mark(
        self, at: dt.datetime, place: Place, role_id: int, calls: int | None, since: dt.datetime | None
    ) -> NewMark:
        """Who did what where; how often, when it was more than once. since: it ran after this moment, if at is when it
        was found."""
        role, database = (
            self.names.get(("role", role_id), str(role_id)),
            self.names.get(("database", place[0]), str(place[0])),
        )
        text = " ".join(re.sub(COMMENTS, "", self.texts[place]).split())
        text = text if len(text) <= LONGEST else text[:LONGEST] + "…"
        often = f" ({calls} times)" if calls and calls > 1 else ""
        whom = {"role": role, "database": database} | ({"since": since.isoformat()} if since else {})
        return NewMark(at, "ddl", f"{role} in {database}: {text}{often}", whom)


def by_whom_and_where(marks: list[NewMark]) -> list[list[NewMark]]:
    """The marks of each role in each database, in their order."""
    groups: dict[tuple[str, str], list[NewMark]] = {}
    for mark in marks:
        groups.setdefault((mark.facts["role"], mark.facts["database"]), []).append(mark)
    return list(groups.values())


def few(marks: list[NewMark]) -> list[NewMark]:
    """What one role did in one database between two looks: each, or all of many as one mark."""
    if len(marks) <= MOST:
        return marks
    first = marks[0]
    whom, text = f"{first.facts['role']} in {first.facts['database']}", first.text
    told = f"{whom}: {len(marks)} changes of the schema in a row, the first: {text.removeprefix(whom + ': ')}"
    return [NewMark(first.at, "ddl", told, first.facts)]
