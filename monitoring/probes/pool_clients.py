"""title:    Clients of the pooler
about:    Every client that is connected to PgBouncer, those that wait for a connection first.
empty:    No client is connected to PgBouncer.
scope:    instance
source:   pgbouncer
every:    30s
series:   rows, max(wait_seconds)
warning:  wait_seconds > 1
critical: wait_seconds > 10
column wait_seconds: how long it waits for a connection
column encryption:   empty when the client speaks in the clear
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dbadmin.connections import Session

COLUMNS = ("database", "role", "application", "client", "state", "wait_seconds", "encryption")


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each client, without those of PgBouncer's own console."""
    clients = [client for client in session.rows("SHOW CLIENTS") if client.database != "pgbouncer"]
    found = [
        (
            client.database,
            client.user,
            getattr(client, "application_name", None) or None,
            client.addr,
            client.state,
            waited(client),
            getattr(client, "tls", "") or None,
        )
        for client in clients
    ]
    return sorted(found, key=lambda row: (-row[5], row[0], row[1], row[3]))


def waited(client: Any) -> float:
    """Seconds that it waits now; PgBouncer also counts for clients that have what they need."""
    if client.state != "waiting":
        return 0.0
    return float(client.wait + client.wait_us / 1_000_000)
