"""Where pages get readings from: the last stored one, or a live one that never makes them wait long."""

from __future__ import annotations

from dbadmin.reading_store import databases, latest, latest_of, main_database, store, store_many
from dbadmin.single_flight import ask, live

__all__ = ["ask", "databases", "latest", "latest_of", "live", "main_database", "store", "store_many"]
