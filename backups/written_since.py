"""What was written to a database since a backup, or since a restore put it in place: what would be put aside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from django.utils import timezone

from backups.manifest import Manifest
from backups.models import KeptDatabase
from dbadmin.models import Server
from dbadmin.readiness import Check
from dbadmin.units import count, duration, moment

_COUNTERS = """
    select datname as name, tup_inserted as inserted, tup_updated as updated, tup_deleted as deleted,
           stats_reset::text as reset
    from pg_catalog.pg_stat_database where datname = any(%s)"""


def counters(connection: psycopg.Connection[Any], database: str) -> dict[str, Any]:
    """Where the server's counters of a database stand."""
    row = connection.execute(_COUNTERS, [[database]]).fetchone()
    return dict(zip(("name", "inserted", "updated", "deleted", "reset"), row, strict=True)) if row else {}


def checks(manifest: Manifest, server: Server, over: str) -> Iterator[Check]:
    """What whoever has a backup put in the place of a database is to know: whose it is, and how old."""
    is_home = manifest.server_key == str(server.key)
    if not is_home or manifest.database != over:
        whose = manifest.database if is_home else f"{manifest.database} of {manifest.server}"
        yield Check(
            "warning",
            "Another database",
            f"The backup is of {whose}: who connects to {over} finds that there.",
        )
    taken, ago = moment(manifest.started_at), duration((timezone.now() - manifest.started_at).total_seconds())
    yield Check(
        "warning",
        "Written since",
        f"The backup is of {taken}, {ago} ago. What was written to {over} after that is not in it; it stays in what is "
        "kept aside.",
    )


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
