"""How tests do an operation: with consent given, in this process, as a worker would."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from dbadmin import runner, runs, watch
from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY, Operation


def operation(name: str, server: Server, /, **params: Any) -> Operation:
    """An operation whose parameters went through its form."""
    found = REGISTRY[name]
    form = found.form(server)
    defaults = {key: field.initial for key, field in form.fields.items() if field.initial is not None}
    bound = found.form(server, {**defaults, **params})
    assert bound.is_valid(), bound.errors
    return found(server, bound.cleaned_data)


def carry_out(wanted: Operation, user: Any = None) -> Run:
    """Start it and do it here; the run as it ended."""
    run = runs.start(wanted, user, Run.Door.COMMAND)
    with watcher_that_sees():
        runner.execute(run.pk)
    run.refresh_from_db()
    return run


@contextmanager
def watcher_that_sees() -> Iterator[None]:
    """In a test's own transaction no other connection sees the run: its watcher would soon take it for closed."""
    with pytest.MonkeyPatch.context() as patch:
        if connection.in_atomic_block:
            patch.setattr(watch, "LOOK", 3600)
        yield


def log_of(run: Run) -> list[str]:
    """The lines of its log."""
    return [line.text for line in run.lines.all()]
