"""title:    Pools
about:    PgBouncer's pools: who works, who waits for a connection, and for how long.
empty:    PgBouncer has no pool yet.
scope:    instance
source:   pgbouncer
every:    30s
key:      database, role
warning:  wait_seconds > 1
critical: wait_seconds > 10
column wait_seconds:          how long the first client in the queue has waited
column waiting_clients_count: more than zero for long means that the pool is too small or the server too slow
column tested_servers_count:  idle for a while, tried before they are used again
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dbadmin.connections import Session

COLUMNS = (
    "database",
    "role",
    "mode",
    "active_clients_count",
    "waiting_clients_count",
    "wait_seconds",
    "active_servers_count",
    "idle_servers_count",
    "tested_servers_count",
    "starting_servers_count",
)


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row for each pool, those that wait first; PgBouncer's own console is left out."""
    pools = [pool for pool in session.rows("SHOW POOLS") if pool.database != "pgbouncer"]
    pools.sort(key=lambda pool: (-wait(pool), -pool.cl_waiting, -pool.cl_active, pool.database, pool.user))
    return [row(pool) for pool in pools]


def wait(pool: Any) -> float:
    """Seconds, from the two columns that hold them."""
    return float(pool.maxwait + getattr(pool, "maxwait_us", 0) / 1_000_000)


def row(pool: Any) -> tuple[Any, ...]:
    """A line of SHOW POOLS under our names."""
    return (
        pool.database,
        pool.user,
        pool.pool_mode,
        pool.cl_active,
        pool.cl_waiting,
        wait(pool),
        pool.sv_active,
        pool.sv_idle,
        pool.sv_used + pool.sv_tested,
        pool.sv_login,
    )
