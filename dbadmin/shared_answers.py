"""Live answers that all processes share through Redis, and which of them asks; many at once in one round trip."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import redis
from django.conf import settings

from dbadmin.packed_readings import pack
from dbadmin.probes import Reading

#: How long an absent Redis is not waited for again, seconds.
REST = 5.0
#: Readings are shared this long at most, seconds; who wants them fresher asks for it with max_age.
KEEP = 600

#: Server, database, probe, and as JSON what the probe is told.
Key = tuple[str, str, str, str]


def name_of(key: Key) -> str:
    """The key in Redis."""
    return "dbadmin:live:" + ":".join(key)


class Shared:
    """Answers and flights shared by all processes through Redis; when it is away each process flies alone."""

    def __init__(self) -> None:
        self.client: redis.Redis | None = None
        self.away_until = 0.0

    def call(self, work: Callable[[redis.Redis], Any], otherwise: Any) -> Any:
        """Do something with Redis, or give the other answer at once when it is away."""
        if time.monotonic() < self.away_until:
            return otherwise
        try:
            if self.client is None:
                self.client = redis.Redis.from_url(
                    settings.REDIS_URL, socket_timeout=0.2, socket_connect_timeout=0.2, retry=None
                )
            return work(self.client)
        except redis.RedisError:
            self.away_until = time.monotonic() + REST
            return otherwise

    def get(self, keys: Collection[Key]) -> dict[Key, tuple[float, bytes]]:
        """The moment and the packed reading that some process put there, of those that are there."""
        texts = self.call(lambda client: client.mget([name_of(key) for key in keys]), None) if keys else None
        found = {}
        for key, text in zip(keys, texts or [], strict=False):
            if text:
                head = bytes(text).partition(b"\n")[0]
                found[key] = (float(json.loads(head)["at"]), bytes(text))
        return found

    def land(self, readings: Mapping[Key, Reading]) -> None:
        """Show readings to all processes; their flights are over."""

        def put(client: redis.Redis) -> None:
            with client.pipeline(transaction=False) as commands:
                for key, reading in readings.items():
                    head = {"at": reading.taken_at.timestamp(), "took": reading.took_ms}
                    text = json.dumps(head).encode() + b"\n" + pack(reading)
                    commands.set(name_of(key), text, ex=KEEP)
                commands.delete(*(f"{name_of(key)}:flight" for key in readings))
                commands.execute()

        self.call(put, None) if readings else None

    def take_off(self, keys: Collection[Key], seconds: float) -> list[Key]:
        """For which of them this process may ask the server; for all when Redis is away."""

        def take(client: redis.Redis) -> list[Key]:
            with client.pipeline(transaction=False) as commands:
                for key in keys:
                    commands.set(f"{name_of(key)}:flight", os.getpid(), nx=True, px=int(seconds * 1000))
                return [key for key, taken in zip(keys, commands.execute(), strict=True) if taken]

        found: list[Key] = self.call(take, list(keys)) if keys else []
        return found
