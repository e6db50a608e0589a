"""How much was written to a database since a restore put it in place: what an undo would put aside."""

from __future__ import annotations

from typing import Any

import psycopg

from backups.models import KeptDatabase
from dbadmin.units import count

_COUNTERS = """
    select datname as name, tup_inserted as inserted, tup_updated as updated, tup_deleted as deleted,
           stats_reset::text as reset
    from pg_catalog.pg_stat_database where datname = any(%s)"""


def counters(connection: psycopg.Connection[Any], database: str) -> dict[str, Any]:
    """Where the server's counters of a database stand."""
    row = connection.execute(_COUNTERS, [[database]]).fetchone()
    return dict(zip(("name", "inserted", "updated", "deleted", "reset"), row, strict=True)) if row else {}


def sentences(kept: list[KeptDatabase]) -> dict[int, str]:
    """For each replaced database what happened to the one in its place; nothing where that is not known."""
    if not kept:
        return {}
    try:
        rows = kept[0].server.rows(_COUNTERS, [[one.original for one in kept]])
    except psycopg.Error:
        return {}
    now = {row.name: row for row in rows}
    return {one.pk: _sentence(one.facts.get("counters") or {}, now.get(one.original)) for one in kept}


def _sentence(before: dict[str, Any], now: Any) -> str:
    if not before or now is None or before["reset"] != now.reset:
        return ""
    changes = [(word, getattr(now, word) - before[word]) for word in ("inserted", "updated", "deleted")]
    said = [f"{count(number)} {word}" for word, number in changes if number > 0]
    return f"rows {', '.join(said)}" if said else "nothing"
