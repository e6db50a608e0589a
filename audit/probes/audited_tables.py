"""title:    Watched tables
about:    Tables whose changes are recorded in the audit log, since when, and what their log takes.
empty:    No table is watched.
scope:    database
every:    5m
key:      schema, table
series:   log_bytes
actions:  unwatch_table(schema, table)
column log_bytes:  by the last vacuum or analyze of the log; empty before the first
column versions:   how often the table's columns changed, plus one
"""

from collections.abc import Iterable

from audit.overview import SIZES, log_bytes
from audit.registry import installed
from dbadmin.connections import Session

COLUMNS = ("schema", "table", "since_at", "key", "versions", "log_bytes")


def rows(session: Session) -> Iterable[tuple[object, ...]]:
    """One row per watched table."""
    state = installed(session.rows)
    sizes = {row.shape_id: row.size_bytes for row in session.rows(SIZES)} if state.version else {}
    for table in state.active():
        key = ", ".join(table.shapes[-1].key) if table.shapes else ""
        yield (table.schema, table.name, table.since, key, len(table.shapes), log_bytes(table, sizes))
