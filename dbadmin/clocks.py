"""What time it is for whatever is deleted when its time is over: two clocks must agree that it is."""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.utils import timezone


def earlier_now() -> datetime:
    """What both this host and the control database hold for past: a clock that runs ahead makes nothing old."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_catalog.clock_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
    return min(row[0], timezone.now())
