"""What the receiver asks a source every few seconds, and how its slot is kept."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from backups.physical import heartbeat
from backups.physical.marks import Mark
from backups.physical.models import PointInTime
from backups.physical.wal import segment_name
from dbadmin import connections
from dbadmin.connections import Session

log = logging.getLogger("dbadmin.wal")

#: How our stream is called in pg_stat_replication.
APPLICATION = "dbadmin wal receiver"

_LOOK = """
    select clock_timestamp() as at,
           case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_receive_lsn()
                else pg_catalog.pg_current_wal_insert_lsn() end - '0/0'::pg_lsn as lsn,
           (select max(flush_lsn) - '0/0'::pg_lsn from pg_catalog.pg_stat_replication
            where application_name = %s) as flushed,
           (select system_identifier::text from pg_catalog.pg_control_system()) as system_id"""
_FLUSHED = """
    select max(flush_lsn) - '0/0'::pg_lsn from pg_catalog.pg_stat_replication where application_name = %s"""
_SLOT = """
    select wal_status, pg_catalog.to_jsonb(s) ->> 'invalidation_reason' as reason  -- from PostgreSQL 17 on
    from pg_catalog.pg_replication_slots s where slot_name = %s"""
#: Why a server gives a slot up; where it does not say it, the first.
_GIVEN_UP = {
    "wal_removed": "since it kept too much WAL",
    "idle_timeout": "since no receiver was at work for as long as idle_replication_slot_timeout allows",
}

_STANDS = """
    select restart_lsn - '0/0'::pg_lsn as lsn,
           pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) as timeline
    from pg_catalog.pg_replication_slots
    where slot_name = %s and restart_lsn is not null and not pg_catalog.pg_is_in_recovery()
    and current_setting('server_version_num')::int < 150000"""


@dataclass(frozen=True)
class Look:
    """The source now: a mark, and how far our stream has come; None when we cannot see it."""

    mark: Mark
    flushed: int | None
    system_id: str


def look(point: PointInTime) -> Look:
    """Write the beat if that is wished, then ask where the WAL stands: every commit before is included."""
    beat = write_beat(point) if point.heartbeat else None
    with connections.session(point.server, "operate") as session:
        row = session.row(_LOOK, [APPLICATION])
        flushed = _soon(session, int(row.lsn), row.flushed)
    mark = Mark(row.at, int(row.lsn), beat.number if beat else None, beat.at if beat else None)
    return Look(mark, flushed, row.system_id)


def _soon(session: Session, wanted: int, flushed: Any) -> int | None:
    """How far our stream has come; it gets a moment to bring what was written just now."""
    for _ in range(10):
        if flushed is None or int(flushed) >= wanted:
            break
        time.sleep(0.1)
        flushed = session.value(_FLUSHED, [APPLICATION])
    return None if flushed is None else int(flushed)


def write_beat(point: PointInTime) -> heartbeat.Beat:
    with connections.session(point.server, "operate", point.heartbeat_database) as session:
        return heartbeat.write(session)


def segment_before_slot(point: PointInTime) -> str | None:
    """The segment behind which the slot stands; None when the server tells pg_receivewal by itself.

    READ_REPLICATION_SLOT came with PostgreSQL 15. With an older server, a pg_receivewal that finds nothing in its
    directory begins at the server's newest position, and what the slot has kept would be passed over.
    """
    with connections.session(point.server, "operate") as session:
        found = session.row(_STANDS, [point.slot])
    if found is None:
        return None
    return segment_name(
        int(found.timeline, 16), int(found.lsn) // point.segment_bytes - 1, point.segment_bytes
    )


def keep_slot(point: PointInTime) -> str:
    """Make the slot where it is not, as on a replica that was promoted; a sentence when something was done."""
    with connections.connect(point.server, "operate") as connection:
        session = Session(connection, point.server)
        found = session.row(_SLOT, [point.slot])
        if found is not None and found.wal_status != "lost":
            return ""
        if found is not None:
            session.rows("select pg_catalog.pg_drop_replication_slot(%s)", [point.slot])
        make = sql.SQL("select pg_catalog.pg_create_physical_replication_slot({}, true)")
        session.rows(make.format(sql.Literal(point.slot)))
    if found is None:
        return f"The slot {point.slot} was not on the server and was made anew."
    why = _GIVEN_UP.get(found.reason, _GIVEN_UP["wal_removed"])
    return f"The server had given the slot {point.slot} up, {why}; it was made anew."
