"""Who waited for what is known afterwards, without any extension on the server."""

import datetime as dt
import threading
import time

import pytest
from django.utils import timezone

from dbadmin.connections import Session, limit
from monitoring.keeper import Keeper
from monitoring.waits import WaitSampler, waiters, waits

pytestmark = [pytest.mark.django_db, pytest.mark.servers]


@pytest.fixture
def blocked(postgres, target, connection):
    """A session that waits for a row lock that another holds."""
    target.rows("create table seats (id int primary key, taken boolean)")
    target.rows("insert into seats values (1, false)")
    holder, waiter = connection(), connection()
    holder.execute("update seats set taken = true")
    thread = threading.Thread(target=lambda: waiter.execute("update seats set taken = false"))
    thread.start()
    yield waiter
    holder.rollback()
    thread.join()


@pytest.fixture
def session(postgres, database):
    """The sampler's connection."""
    with postgres.connect(database, "dbadmin_monitor") as connection:
        limit(connection)
        yield Session(connection)


def test_a_session_that_waits_for_a_lock_is_counted_second_by_second(server, blocked, session, database):
    sampler = WaitSampler()
    time.sleep(0.3)
    began = time.monotonic()
    for _ in range(4):
        sampler.look(session)
        time.sleep(sampler.pause())
    passed = time.monotonic() - began
    assert sampler.take() is None
    sampler.began -= 60
    sample = sampler.take()
    assert 2.5 < sample.length < passed + 0.5
    Keeper().keep(server, [sample], [], [])
    now = timezone.now()
    found = {
        (one.wait_kind, one.wait): one.waited_seconds
        for one in waits(server, now - dt.timedelta(minutes=5), now + dt.timedelta(seconds=1))
    }
    assert found["Lock", "transactionid"] == pytest.approx(sample.length, abs=1.2)
    rows = waiters(server, now - dt.timedelta(minutes=5), now + dt.timedelta(seconds=1))
    assert ("Lock", "transactionid", database) in {
        (row["wait_kind"], row["wait"], row["database"]) for row in rows
    }


def test_many_statements_are_summed_up_by_what_they_wait_for():
    sampler = WaitSampler()
    for number in range(1000):
        sampler.seconds["Lock", "tuple", "shop", number] = 1.0 + (number < 50)
    kept = sampler.largest()
    assert len(kept) == 201
    assert kept["Lock", "tuple", "shop", None] == 800.0
    assert sum(kept.values()) == 1050.0


def test_looks_that_take_long_are_taken_less_often(session, monkeypatch):
    sampler = WaitSampler()
    monkeypatch.setattr("monitoring.waits.REST", 1_000_000)
    sampler.look(session)
    assert sampler.pause() > 60
