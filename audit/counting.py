"""What PostgreSQL itself counts of a watched table's changes, held against what it counts of the log's rows: changes
that passed capture by, in whatever way, are in the one and not in the other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import psycopg

from audit import fresh
from audit.models import CountedTable
from audit.sealing import place_of
from dbadmin.connections import named_rows
from dbadmin.models import Server
from dbadmin.units import several

#: How old a first suspicion is when it is looked at again: a session hands over all that it counted within so long.
SETTLED = dt.timedelta(seconds=60)
#: Rows that a transaction that was rolled back may have written by statements that failed, where only that is known.
PER_ROLLBACK = 100
#: One insert in so many may lose a race of ON CONFLICT: it is then counted as inserted and as deleted.
RACES = 500

# Counters alone: no lock on any table. A partition holds the rows of its table; all tables share the log's "loose".
# images: what a line there stands for.
COUNTERS = """
with recursive member as (
    select w.id as watched_id, true as is_table, w.relid, 1 as images from dbadmin_audit.watched w where w.until is null
    union
    select s.watched_id, false, to_regclass('dbadmin_audit.rows_' || s.id), 1 from dbadmin_audit.shape s
    union
    select s.watched_id, false, to_regclass('dbadmin_audit.pairs_' || s.id), 2 from dbadmin_audit.shape s
    union
    select 0, false, 'dbadmin_audit.loose'::regclass, 1
    union
    select m.watched_id, m.is_table, i.inhrelid, m.images from member m
    join pg_catalog.pg_class c on c.oid = m.relid and c.relkind = 'p'
    join pg_catalog.pg_inherits i on i.inhparent = m.relid
)
select m.watched_id, m.is_table, m.relid::bigint as relid,
       m.images * pg_catalog.pg_stat_get_tuples_inserted(m.relid) as inserted,
       m.images * pg_catalog.pg_stat_get_tuples_updated(m.relid) as updated,
       m.images * pg_catalog.pg_stat_get_tuples_deleted(m.relid) as deleted,
       m.images * pg_catalog.pg_stat_get_mod_since_analyze(m.relid) as lasting,
       pg_catalog.pg_stat_get_analyze_count(m.relid) + pg_catalog.pg_stat_get_autoanalyze_count(m.relid) as analyzed
from member m join pg_catalog.pg_class c on c.oid = m.relid and c.relkind = 'r'
order by 1, 2, 3
"""
TABLES = """
select id, schema_name, table_name, since::text as since,
       coalesce((choices ->> 'skip_unchanged')::boolean, true) as skips_unchanged,
       coalesce(choices ->> 'level', '') = 'row' as for_rows
from dbadmin_audit.watched where until is null order by id
"""
# What is lower than before, or differs in these, began anew: counters of a promoted standby do, and after a crash.
EPOCH = """
select clock_timestamp() as at, coalesce(stats_reset::text, '') as reset, xact_rollback as rollbacks,
       xact_commit as commits
from pg_catalog.pg_stat_database where datname = current_database()
"""


@dataclass(frozen=True)
class Counters:
    """Of one relation. lasting: inserted, updated and deleted since the last analyze, without what was rolled back."""

    inserted: int
    updated: int
    deleted: int
    lasting: int
    analyzed: int

    def since(self, before: Counters) -> Grown:
        """What was added."""
        is_exact = self.analyzed == before.analyzed
        return Grown(
            self.inserted - before.inserted,
            self.updated - before.updated,
            self.deleted - before.deleted,
            self.lasting - before.lasting if is_exact else None,
        )

    def is_less(self, before: Counters) -> bool:
        """Did it begin anew?"""
        return (
            self.inserted < before.inserted
            or self.updated < before.updated
            or self.deleted < before.deleted
            or self.analyzed < before.analyzed
            or (self.analyzed == before.analyzed and self.lasting < before.lasting)
        )


@dataclass(frozen=True)
class Grown:
    """What was counted between two looks. lasting: None when an analyze meanwhile set it back."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    lasting: int | None = 0

    def __add__(self, other: Grown) -> Grown:
        is_known = self.lasting is not None and other.lasting is not None
        return Grown(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.deleted + other.deleted,
            (self.lasting or 0) + (other.lasting or 0) if is_known else None,
        )

    @property
    def written(self) -> int:
        """Rows, whether they lasted or not."""
        return self.inserted + self.updated + self.deleted


NONE = Counters(0, 0, 0, 0, 0)
Relations = dict[str, Counters]


@dataclass(frozen=True)
class Look:
    """The counters of one table at one moment. log: what its changes are written to; unlisted: rows of the log that are
    still to be written there."""

    at: dt.datetime
    epoch: str
    rollbacks: int
    commits: int
    table: Relations
    log: Relations
    unlisted: int = 0

    def kept(self) -> dict[str, Any]:
        """For the control database."""
        return asdict(self) | {"at": self.at.isoformat()}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Look:
        """From the control database."""
        table, log = (
            {relid: Counters(**one) for relid, one in kept[part].items()} for part in ("table", "log")
        )
        return cls(
            dt.datetime.fromisoformat(kept["at"]),
            kept["epoch"],
            kept["rollbacks"],
            kept["commits"],
            table,
            log,
            kept.get("unlisted", 0),
        )

    def follows(self, before: Look) -> bool:
        """Did the counters go on since?"""
        return (
            self.epoch == before.epoch
            and self.commits >= before.commits
            and self.rollbacks >= before.rollbacks
            and not any(
                now.is_less(then[relid])
                for mine, then in ((self.table, before.table), (self.log, before.log))
                for relid, now in mine.items()
                if relid in then
            )
        )


class State(StrEnum):
    """What the counters say."""

    COMPLETE = "complete"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Told:
    """And why. rows: that at least are missing, or that may be."""

    state: State
    rows: int = 0
    why: str = ""


def grown(now: Relations, before: Relations, is_new_ours: bool) -> Grown:
    """Summed over relations. One that came since counts whole if it is ours; a table may have been written before."""
    total = Grown()
    for relid, counters in now.items():
        if relid in before or is_new_ours:
            total += counters.since(before.get(relid, NONE)) if relid in before else first(counters)
    return total


def log_grown(before: Look, now: Look) -> Grown:
    """What came into the log, or is on its way there."""
    waiting = now.unlisted - before.unlisted
    return grown(now.log, before.log, True) + Grown(inserted=waiting, lasting=waiting)


def first(counters: Counters) -> Grown:
    """All that was counted of a relation that is new."""
    lasting = counters.lasting if counters.analyzed == 0 else None
    return Grown(counters.inserted, counters.updated, counters.deleted, lasting)


def compare(before: Look, now: Look, skips_unchanged: bool, for_rows: bool = False) -> Told:
    """What passed capture by between two looks: the least that explains the counters, never a guess.

    for_rows: of what is recorded for each row, what was rolled back is in the counters of the table alone.
    """
    if not now.follows(before):
        return Told(State.UNKNOWN, 0, "the counters began anew")
    table, log = grown(now.table, before.table, False), log_grown(before, now)
    least, most = images_missing(table, log, skips_unchanged)
    if most <= 0:
        return Told(State.COMPLETE)
    is_exact = table.lasting is not None
    failed = 0 if is_exact else (now.rollbacks - before.rollbacks) * PER_ROLLBACK
    races = 2 + table.inserted // RACES if 2 * min(table.inserted, table.deleted) >= least else 0
    if least <= 0:
        return Told(
            State.UNKNOWN, -(-most // 2), "updates that changed nothing or were rolled back are not recorded"
        )
    if for_rows and not is_exact:
        return Told(State.UNKNOWN, least, "transactions that were rolled back may have written them")
    if least <= failed:
        return Told(State.UNKNOWN, least, "statements that failed may have written them")
    if least <= races:
        return Told(State.UNKNOWN, least, "inserts that lost a race of ON CONFLICT may have written them")
    why = "" if is_exact else ", unless statements that failed within savepoints wrote them"
    rows = least if skips_unchanged or not table.updated else -(-least // 2)
    return Told(State.MISSING, rows, why)


def images_missing(table: Grown, log: Grown, skips_unchanged: bool) -> tuple[int, int]:
    """How many rows of the log there should be beyond those that are, at least and at most.

    An update is two of them, or none where updates that change nothing are left out and it was one.
    """
    if table.lasting is None:
        recorded, rows, undone = log.inserted, table.written, 0
    else:
        recorded = log.inserted if log.lasting is None else log.lasting
        rows, undone = table.lasting, min(table.written - table.lasting, table.updated)
    most = rows + table.updated - recorded
    return most - (2 * table.updated if skips_unchanged else undone), most


def sentence(before: Look, now: Look, told: Told) -> str:
    """A gap in words."""
    table, log = grown(now.table, before.table, False), log_grown(before, now)
    change = "change is" if told.rows == 1 else "changes are"
    inserted, images = several(table.inserted, "row"), several(log.inserted, "row image")
    return (
        f"Between {before.at:%Y-%m-%d %H:%M} and {now.at:%Y-%m-%d %H:%M} UTC PostgreSQL counted"
        f" {inserted} inserted, {table.updated} updated and {table.deleted} deleted, and"
        f" {images} in the log: at least {told.rows} {change} not recorded{told.why}"
    )


def looks(connection: psycopg.Connection[Any]) -> Iterator[tuple[Any, Look]]:
    """Each watched table, and its counters now."""
    with connection.transaction():
        place, moment = place_of(connection), named_rows(connection.execute(EPOCH))[0]
        counted = named_rows(connection.execute(COUNTERS))
        tables = named_rows(connection.execute(TABLES))
        unlisted = fresh.images(connection)
    parts: dict[tuple[int, bool], Relations] = {}
    for row in counted:
        values = (row.inserted, row.updated, row.deleted, row.lasting, row.analyzed)
        parts.setdefault((row.watched_id, row.is_table), {})[str(row.relid)] = Counters(*values)
    loose = parts.get((0, False), {})
    for table in tables:
        epoch = f"{place.system_identifier} {place.timeline} {moment.reset} {table.since}"
        yield (
            table,
            Look(
                moment.at.astimezone(dt.UTC),
                epoch,
                moment.rollbacks,
                moment.commits,
                parts.get((table.id, True), {}),
                parts.get((table.id, False), {}) | loose,
                unlisted.get(table.id, 0),
            ),
        )


def record_uncounted(connection: psycopg.Connection[Any], server: Server) -> list[str]:
    """Hold each table's counters against those of its log since the last time. What is missing, twice in a row,
    becomes a line of the log; what was written."""
    written = []
    for table, now in looks(connection):
        kept = CountedTable.objects.filter(
            server=server, database=connection.info.dbname, watched_id=table.id
        ).first() or CountedTable(server=server, database=connection.info.dbname, watched_id=table.id)
        before = Look.of(kept.counters) if kept.counters else None
        told = (
            compare(before, now, table.skips_unchanged, table.for_rows)
            if before
            else Told(State.UNKNOWN, 0, "it is new")
        )
        kept.state, kept.rows, kept.why, kept.compared_at = told.state, told.rows, told.why, now.at
        if told.state != State.MISSING or before is None:
            kept.counters, kept.suspected_at = now.kept(), None
        elif kept.suspected_at is None:
            kept.suspected_at = now.at
        elif now.at - kept.suspected_at >= SETTLED:
            written.append(sentence(before, now, told))
            connection.execute(
                "insert into dbadmin_audit.gap (watched_id, kind, text) values (%s, 'uncounted', %s)",
                [table.id, written[-1]],
            )
            kept.counters, kept.suspected_at = now.kept(), None
        kept.save()
    return written
