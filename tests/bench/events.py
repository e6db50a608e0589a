"""Rows as an application writes them: moments, addresses, documents and prose that nobody wrote twice."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

TABLE = """
create table events (
    id bigint generated always as identity primary key, at timestamptz not null, user_id int not null,
    kind text not null, url text not null, doc jsonb not null, prose text not null)"""
INDEXES = "create index on events (at); create index on events using gin (doc); analyze"
KINDS = ("view", "click", "search", "buy", "sign_in", "sign_out")
PARAGRAPHS = 100_000


def events(count: int, seed: int = 1) -> Iterator[tuple[object, ...]]:
    """The rows, the same for the same seed."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlucmfwypvbgkjqxz", k=rng.randint(2, 10))) for _ in range(8000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    paragraphs = [" ".join(rng.choices(words, weights, k=rng.randint(10, 60))) for _ in range(PARAGRAPHS)]
    agents = [f"Mozilla/5.0 ({word}) Gecko/{number}" for number, word in enumerate(words[:40])]
    at = datetime(2024, 1, 1, tzinfo=UTC)
    for _ in range(count):
        at += timedelta(milliseconds=rng.randint(1, 9000))
        user = int(rng.paretovariate(0.8)) % 90_000
        document = {
            "session": f"{rng.getrandbits(128):032x}",
            "trace": f"{rng.getrandbits(128):032x}",
            "agent": agents[user % 40],
            "ms": rng.randint(2, 4000),
            "tags": [words[rng.randrange(300)], words[rng.randrange(300)]],
        }
        url = f"https://shop.example.org/{words[user % 700]}/{rng.getrandbits(48):x}?ref={words[rng.randrange(90)]}"
        yield at, user, KINDS[user % 6], url, json.dumps(document), paragraphs[rng.randrange(PARAGRAPHS)]


def fill(connection: psycopg.Connection, count: int) -> None:
    """Make the table and its indexes."""
    connection.execute(TABLE)
    cursor = connection.cursor()
    with cursor.copy("copy events (at, user_id, kind, url, doc, prose) from stdin") as copy:
        for row in events(count):
            copy.write_row(row)
    connection.execute(INDEXES)
