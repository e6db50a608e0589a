"""Our RQ worker: its work-horse never outlives it, is stopped gently, and Redis may go away at any time."""

from __future__ import annotations

import logging
import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections
from rq import Worker
from rq.exceptions import DeserializationError, StopRequested
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

from dbadmin import beats, processes, queues, reconcile, runner

log = logging.getLogger("dbadmin.worker")

#: Seconds between heartbeats; also how long one look into the queues blocks.
BEAT = 5
#: All that a job may ask for.
OURS: dict[str, Callable[[int], None]] = {queues.EXECUTE: runner.execute, queues.CLEAN_UP: runner.clean_up}
#: Seconds that a run gets to tidy up when its worker has to stop at once.
TIDY = 20.0


class RunWorker(Worker):
    """Takes ids of runs from Redis; the runs' rows say everything else."""

    max_connection_wait_time = 5.0

    def __init__(self, names: list[str], beat_name: str, grace: float) -> None:
        connection = queues.connect_patiently()
        super().__init__(
            [queues.queue(name, connection) for name in names],
            # Redis may remember a worker of this name as alive; people see the beat's name.
            name=f"{beat_name}-{uuid.uuid4().hex[:8]}",
            connection=connection,
            worker_ttl=15 + BEAT,
            job_monitoring_interval=BEAT,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self.names, self.beat_name, self.grace = names, beat_name, grace
        self.stop_by = 0.0

    # -- no commands through Redis: who may stop a run is decided by us ----

    def subscribe(self) -> None:
        """Listen to no channel."""

    def unsubscribe(self) -> None:
        """There is none."""

    # -- alive --------------------------------------------------------------

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Tell the control database first: it is there when Redis is not."""
        if not self.is_horse:
            beats.beat("worker", self.beat_name, self.names)
        super().heartbeat(timeout, pipeline)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Fork, wait, sweep. Whoever can write to Redis can make a worker do a run that waits, and nothing else."""
        wanted = function_of(job)
        with suppress(redis.RedisError):
            self.connection.lrem(queue.intermediate_queue_key, 1, job.id)
        if wanted is None:
            log.warning("job %s is none of ours and was thrown away", job.id)
        else:
            connections.close_all()
            self.fork_work_horse(job, queue)
            try:
                self.monitor_work_horse(job, queue)
            finally:
                self._horse_pid = 0
        with suppress(redis.RedisError):
            job.delete()

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """In the horse: the function itself. Nothing else that a job may carry, such as callbacks, is looked at."""
        function, run_id = function_of(job) or (None, 0)
        try:
            if function is not None:
                function(run_id)
        except BaseException:
            log.exception("run %s", run_id)
            raise
        return True

    def monitor_work_horse(self, job: Job, queue: Queue) -> None:
        """Wait for the horse, beating; end it when we have to stop; close its run if it died."""
        pid, run_id = self.horse_pid, int(job.args[0])
        beaten_at = 0.0
        while (status := reaped(pid)) is None:
            if time.monotonic() - beaten_at >= BEAT:
                beats.beat("worker", self.beat_name, self.names, busy_with=run_id)
                beaten_at = time.monotonic()
            if self.stop_by and time.monotonic() > self.stop_by:
                self.kill_horse()
            wait_for_end(pid, 0.5)
        # The horse led its process group: whatever its programs left there goes too.
        processes.kill_group(pid)
        if status != 0:
            log.warning("the work-horse of run %s ended with status %s", run_id, status)
            try:
                reconcile.close_lost(run_id)
            except (DatabaseError, psycopg.Error) as error:
                log.warning("run %s is left to the scheduler: %s", run_id, error)
        connections.close_all()

    # -- stopping -------------------------------------------------------------

    def _shutdown(self) -> None:
        """Asked to stop: now when idle; else when the run ends, or is cancelled after the grace time."""
        if self.horse_pid:
            self._stop_requested = True
            self.stop_by = time.monotonic() + self.grace
        else:
            raise StopRequested

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Let the run tidy up, then end its whole group."""
        pid = self.horse_pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + TIDY
        while time.monotonic() < deadline:
            if not is_alive(pid):
                return
            time.sleep(0.1)
        processes.kill_group(pid)

    def setup_work_horse_signals(self) -> None:
        """In the horse: die with the worker; Ctrl-C is the worker's business; the run handles SIGTERM."""
        processes.die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getppid() != self.pid:
            os._exit(1)  # the worker died before the kernel knew of our wish
        self.guardian = processes.guard_group()

    @property
    def was_told_to_stop(self) -> bool:
        """By a signal, in contrast to trouble with Redis."""
        return self._shutdown_requested_date is not None


def function_of(job: Job) -> tuple[Callable[[int], None], int] | None:
    """What the job asks for, if it is one of the two things that we do."""
    try:
        function = OURS[job.func_name or ""]
        return function, int(job.args[0])
    except (LookupError, TypeError, ValueError, DeserializationError):
        return None


def reaped(pid: int) -> int | None:
    """The exit status of a child that has ended, None while it runs; an unknown child ended badly."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return -1
    return status if found else None


def is_alive(pid: int) -> bool:
    """Does the child still run? It stays there to be reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def wait_for_end(pid: int, seconds: float) -> None:
    """Sleep until the child ends, at most so long; signals are handled meanwhile."""
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def stop_at_once(*_: object) -> None:
    """Before there is a worker, and between two, nothing has to be waited for."""
    raise StopRequested


def serve(names: list[str], name: str = "", grace: float = 10.0) -> None:
    """Work until told to stop; while Redis is away, knock again with growing pauses."""
    beat_name = name or beats.default_name()
    settings.DBADMIN_WORKER_NAME = beat_name
    pause, worker = 1.0, None
    signal.signal(signal.SIGTERM, stop_at_once)
    signal.signal(signal.SIGINT, stop_at_once)
    try:
        while True:
            beats.beat("worker", beat_name, names)
            try:
                worker = RunWorker(names, beat_name, grace)
                began = time.monotonic()
                worker.work(logging_level=settings.LOG_LEVEL)
                if worker.was_told_to_stop:
                    return
                pause = 1.0 if time.monotonic() - began > 10 else pause
            except redis.RedisError as error:
                if worker is not None and worker.was_told_to_stop:
                    return
                log.warning("Redis does not answer (%s); trying again in %.0f s", error, pause)
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
    except StopRequested:
        log.info("stopped while waiting for Redis")
    finally:
        beats.leave("worker", beat_name)
