"""Where pages get readings from: the last stored one, or a live one that never makes them wait long."""

from __future__ import annotations

from dbadmin.reading_store import (
    databases,
    latest,
    latest_among,
    latest_of,
    main_database,
    store,
    store_many,
)
from dbadmin.single_flight import Question, live, live_all

__all__ = [
    "Question", "databases", "latest", "latest_among", "latest_of", "live", "live_all", "main_database", "store",
    "store_many",
]  # fmt: skip
