"""Beside the writer of the sampler: judges every round by the rules, on a thread that delays nobody."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

from django.db import Error, connection
from django.utils import timezone

from dbadmin.models import Server
from dbadmin.probes import Reading
from monitoring import judging
from monitoring.alert_models import AlertRule
from monitoring.alerts import Book, narrowest
from monitoring.baselines import Baselines
from monitoring.judging import Judgement, Ticks
from monitoring.recorder import Sample
from monitoring.rounds import Batch

logger = logging.getLogger(__name__)

#: Rounds that wait to be judged; beyond that the oldest is left out.
MOST_WAITING = 200
#: How often the rules are read again, seconds.
LOOK = 10.0


class Judge:
    """Judges rounds; remembers increases, baselines, and what is wrong but has not lasted yet."""

    def __init__(self) -> None:
        self.rules: list[AlertRule] = []
        self.read_at = -LOOK
        self.books: dict[int, Book] = {}
        self.ticks: dict[tuple[int, str, str, str, str], Ticks] = {}
        self.baselines = Baselines()

    def look(self, batch: Batch) -> None:
        """One round of one server."""
        if batch.trouble is not None:
            return
        rules = self.by_probe(batch.server)
        samples = {(sample.probe, sample.database): sample for sample in batch.samples}
        due = [
            (rule, reading)
            for reading in batch.readings
            if reading.problem is None
            for rule in rules.get(reading.probe.name, ())
        ]
        if not due:
            return
        book = self.books.setdefault(batch.server.pk, Book(batch.server))
        book.server = batch.server
        book.read()
        for rule, reading in due:
            sample = samples.get((reading.probe.name, reading.database))
            book.enter(rule, reading.database, self.judged(rule, reading, sample, batch.server))

    def by_probe(self, server: Server) -> dict[str, list[AlertRule]]:
        """The rules on readings that hold on this server."""
        if time.monotonic() - self.read_at > LOOK:
            rules = list(AlertRule.objects.filter(kind=AlertRule.Kind.READING))
            if [fingerprint(rule) for rule in rules] != [fingerprint(rule) for rule in self.rules]:
                self.baselines.forget()
            self.rules, self.read_at = rules, time.monotonic()
        found: dict[str, list[AlertRule]] = {}
        for rule in narrowest(self.rules, server):
            found.setdefault(rule.probe, []).append(rule)
        return found

    def judged(self, rule: AlertRule, reading: Reading, sample: Sample | None, server: Server) -> Judgement:
        """By the value as read, or by the increases of the last minutes."""
        needs_base = rule.against == AlertRule.Against.BASELINE
        bases = self.baselines.of(rule, server, reading.database) if needs_base else None
        if rule.measure == AlertRule.Measure.VALUE:
            return judging.by_value(rule, reading, bases)
        place = (server.pk, reading.database, rule.probe, rule.column, rule.other)
        ticks = self.ticks.setdefault(place, Ticks())
        if sample is None:
            return Judgement(timezone.now(), is_whole=False)
        ticks.add(rule, sample)
        return judging.by_increase(rule, reading, ticks, bases)


def fingerprint(rule: AlertRule) -> tuple[Any, ...]:
    """What a rule says, for seeing that it was changed."""
    return (rule.pk, rule.subject, rule.at_least)


class Evaluator(threading.Thread):
    """The thread: takes rounds over, judges one after the other."""

    def __init__(self) -> None:
        super().__init__(name="evaluator", daemon=True)
        self.waiting: queue.Queue[Batch | None] = queue.Queue()
        self.judge = Judge()

    def put(self, batch: Batch) -> None:
        """Take a stored round over; never blocks."""
        while self.waiting.qsize() >= MOST_WAITING:
            try:
                self.waiting.get_nowait()
            except queue.Empty:
                break
        self.waiting.put(batch)

    def run(self) -> None:
        """Until finish() is called."""
        while (batch := self.waiting.get()) is not None:
            try:
                self.judge.look(batch)
            except Error as error:
                logger.warning("A round on %s was not judged: %s", batch.server, str(error).strip())
                connection.close()
            except Exception:
                logger.exception("A round on %s was not judged", batch.server)
        connection.close()

    def finish(self, seconds: float) -> None:
        """Judge what waits, within so many seconds."""
        self.waiting.put(None)
        self.join(seconds)
