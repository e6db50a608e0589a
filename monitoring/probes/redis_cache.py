"""title:    Redis
about:    The Redis that applications use as a cache: hits, memory, and what it had to throw out.
empty:    No Redis is known for this server.
scope:    instance
every:    60s
series:   hits_total, misses_total, used_bytes, evictions_total, expired_total, connections_count, keys_count
warning:  hit_ratio < 0.7
critical: used_ratio > 0.98
column hit_ratio:         since Redis started or its statistics were reset; empty below 1 000 look-ups
column used_ratio:        of maxmemory; empty when Redis has no limit
column evictions_total:   thrown out to make room, before their time
column fragmented_ratio:  memory taken against memory used; above 1.5 it is torn, below 1 swapped
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import redis

from dbadmin.connections import Session
from dbadmin.probes import ProbeProblem, Problem

COLUMNS = (
    "version",
    "uptime_seconds",
    "hit_ratio",
    "hits_total",
    "misses_total",
    "used_bytes",
    "limit_bytes",
    "used_ratio",
    "fragmented_ratio",
    "evicts",
    "evictions_total",
    "expired_total",
    "keys_count",
    "connections_count",
    "refused_connections_total",
    "commands_total",
)
SECONDS = 2


def rows(session: Session) -> Iterable[tuple[Any, ...]]:
    """One row, none when this server has no Redis."""
    address = session.server.unsealed("redis_url") if session.server else ""
    if not address:
        return []
    try:
        client = redis.Redis.from_url(
            address, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, decode_responses=True
        )
        with client:
            return [row(client.info())]
    except redis.RedisError as error:
        raise ProbeProblem(problem(error)) from error


def problem(error: redis.RedisError) -> Problem:
    """Why Redis gave no answer, without the address, which may hold a password."""
    match error:
        case redis.AuthenticationError():
            return Problem("privilege", "Redis refuses our password.")
        case redis.exceptions.NoPermissionError():
            return Problem("privilege", "Our Redis user may not run INFO.", "ACL SETUSER dbadmin +info")
        case redis.TimeoutError():
            return Problem("timeout", f"Redis gave no answer within {SECONDS} s.")
        case _:
            return Problem("unreachable", "Redis does not answer.")


def row(info: dict[str, Any]) -> tuple[Any, ...]:
    """The answer of INFO as one row."""
    hits, misses = info["keyspace_hits"], info["keyspace_misses"]
    used, limit = info["used_memory"], info.get("maxmemory") or None
    # Redis 8 tells more about each database, as in db0_distrib_strings_sizes.
    keys = sum(value["keys"] for name, value in info.items() if re.fullmatch(r"db\d+", name))
    return (
        info["redis_version"],
        float(info["uptime_in_seconds"]),
        hits / (hits + misses) if hits + misses >= 1000 else None,
        hits,
        misses,
        used,
        limit,
        used / limit if limit else None,
        info.get("mem_fragmentation_ratio"),
        info.get("maxmemory_policy"),
        info["evicted_keys"],
        info["expired_keys"],
        keys,
        info["connected_clients"],
        info["rejected_connections"],
        info["total_commands_processed"],
    )
