"""Redis carries the ids of runs to workers; it may forget them at any time, the runs' rows do not."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import redis
from django.conf import settings
from rq import Queue
from rq.serializers import JSONSerializer

from dbadmin import patience

if TYPE_CHECKING:
    from dbadmin.models import Run

WAITS = "Waits: Redis, which carries runs to workers, does not answer. It starts when Redis is back."
#: Seconds for one answer of Redis.
WAIT = 1.0
EXECUTE = "dbadmin.runner.execute"
CLEAN_UP = "dbadmin.runner.clean_up"


def connect() -> redis.Redis:
    """A client that asks once and waits a second, less for a page: a Redis that hangs holds up nobody."""
    wait = patience.left(WAIT)
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=wait, socket_connect_timeout=wait, retry=None
    )


def connect_patiently() -> redis.Redis:
    """The client of a worker, which has nothing to do without Redis but to wait for it."""
    return redis.Redis.from_url(settings.REDIS_SHORT)


def queue(name: str, connection: redis.Redis | None = None) -> Queue:
    """The queue of this name; jobs are JSON."""
    return Queue(name, connection=connection or connect(), serializer=JSONSerializer)


def job_id(run: Run, function: str = EXECUTE) -> str:
    """The job's id in Redis."""
    return str(run.pk) if function == EXECUTE else f"{run.pk}-clean-up"


def send(run: Run, function: str = EXECUTE) -> None:
    """Put the run's id on its queue; raises redis.RedisError. Twice is harmless: a run is claimed once."""
    with patience.spending():
        queue(run.queue).enqueue_call(
            function,
            args=[run.pk],
            job_id=job_id(run, function),
            timeout=-1,
            result_ttl=0,
            failure_ttl=600,
            description=f"{function.rpartition('.')[2]} run {run.pk}: {run.operation}",
        )


def forget(run: Run) -> None:
    """Take a run that will not begin off its queue, if Redis answers; a worker would only pass it over."""
    with patience.spending(), suppress(redis.RedisError):
        queue(run.queue).remove(job_id(run))


def waiting_ids(name: str, connection: redis.Redis) -> set[str]:
    """The jobs that wait on a queue."""
    return set(queue(name, connection).get_job_ids())
