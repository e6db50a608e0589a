"""title:    Pool statistics
about:    What went through PgBouncer for each database, and how long clients waited for a connection.
empty:    Nothing has gone through PgBouncer yet.
scope:    instance
source:   pgbouncer
every:    60s
key:      database
column transaction_seconds_total: time that clients held a connection in transactions
column query_seconds_total:       time that statements ran on the server
column wait_seconds_total:        time that clients waited for a connection
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dbadmin.connections import Session

COLUMNS = (
    "database",
    "transactions_total",
    "queries_total",
    "received_bytes_total",
    "sent_bytes_total",
    "transaction_seconds_total",
    "query_seconds_total",
    "wait_seconds_total",
)
MICROSECONDS = 1_000_000


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each database, the busiest first; PgBouncer's own console is left out."""
    found = [line for line in session.rows("SHOW STATS") if line.database != "pgbouncer"]
    return [
        (
            line.database,
            int(line.total_xact_count),
            int(line.total_query_count),
            int(line.total_received),
            int(line.total_sent),
            float(line.total_xact_time) / MICROSECONDS,
            float(line.total_query_time) / MICROSECONDS,
            float(line.total_wait_time) / MICROSECONDS,
        )
        for line in sorted(found, key=lambda line: (-line.total_query_time, line.database))
    ]
