"""Direct connections to the control database, for what a pooled connection cannot hold: advisory locks."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection as default_connection

#: The server notices within half a minute that our host is gone, and frees our locks.
KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}


def direct_connection(application_name: str) -> psycopg.Connection[Any]:
    """A connection of our own in autocommit mode; DATABASE_DIRECT_URL names the way around a pooler."""
    url = getattr(settings, "DATABASE_DIRECT_URL", "")
    wanted: dict[str, Any] = {
        "application_name": application_name,
        "connect_timeout": 3,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    if url:
        connection = psycopg.connect(url, autocommit=True, **wanted)
    else:
        params = default_connection.get_connection_params()
        for ours in ("cursor_factory", "context", "pool", "prepare_threshold", *wanted):
            params.pop(ours, None)
        connection = psycopg.connect(autocommit=True, **params, **wanted)
    for name, value in KEEPALIVES.items():
        connection.execute("select pg_catalog.set_config(%s, %s, false)", [name, value])
    return connection


def lock_key(*parts: object) -> int:
    """The number of an advisory lock, made of words."""
    digest = hashlib.sha256("\x00".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def try_lock(connection: psycopg.Connection[Any], key: int) -> bool:
    """Take a session's advisory lock, or say at once that somebody has it."""
    row = connection.execute("select pg_catalog.pg_try_advisory_lock(%s)", [key]).fetchone()
    return bool(row and row[0])


def unlock(connection: psycopg.Connection[Any], key: int) -> None:
    """Give it back."""
    connection.execute("select pg_catalog.pg_advisory_unlock(%s)", [key])
