"""Work that apps want done every so often by the scheduler that leads; each job has its own thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import connections

log = logging.getLogger("dbadmin.periodic")


@dataclass(frozen=True)
class Job:
    """A function that is called while this process leads, so many seconds after it last returned."""

    name: str
    every: float
    work: Callable[[], object]


JOBS: dict[str, Job] = {}


def register(name: str, every: float, work: Callable[[], object]) -> None:
    """Called once by an app that is ready."""
    JOBS[name] = Job(name, every, work)


class Periodic:
    """The threads of all jobs; a job that hangs or fails keeps no other one from its work."""

    def __init__(self, leads: Callable[[], bool]) -> None:
        self.leads, self.stopping = leads, threading.Event()
        self.threads = [
            threading.Thread(target=self.repeat, args=(job,), name=f"periodic {job.name}", daemon=True)
            for job in JOBS.values()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self.threads:
            thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """End after the work under way, or leave it behind after so many seconds in all."""
        self.stopping.set()
        until = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))

    def repeat(self, job: Job) -> None:
        """One job for ever."""
        while not self.stopping.wait(job.every):
            if self.leads():
                run(job)


def run(job: Job) -> None:
    """Call it; an error of its own is logged and costs one turn."""
    try:
        job.work()
    except Exception:
        log.exception("The periodic job %s failed", job.name)
    finally:
        connections.close_all()
