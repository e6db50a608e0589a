"""A run goes on while the control database restarts, and nobody takes it for lost."""

import os
import time

import pytest

from tests.fixtures.runtime import Process, until

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture
def control(new_postgres, monkeypatch):
    """A control database that a test may stop; new processes use it."""
    postgres = new_postgres()
    with postgres.connect() as connection:
        connection.execute("create database control")
    monkeypatch.setenv("DATABASE_URL", postgres.dsn_for("control"))
    return postgres


def test_a_run_goes_on_while_the_control_database_restarts(control, postgres, own_redis, tmp_path):
    def process(*words):
        log = tmp_path / f"{words[0]}.log"
        return Process(log, *words, redis_url=own_redis.url, database=os.environ["DATABASE_URL"])

    migrate = process("migrate", "-v", "0")
    assert migrate.popen.wait(120) == 0, migrate.log.read_text()
    started = [process("worker", "--name", "w1"), process("scheduler", "--name", "s1")]
    try:
        run_it_through_a_restart(control, postgres, process)
    finally:
        for one in started:
            one.end()


def run_it_through_a_restart(control, postgres, process):
    ask = Asker(control)
    until(lambda: ask("select count(*) from dbadmin_workerbeat") == 2, 60)
    added = process("add_server", "shop", postgres.dsn)
    assert added.popen.wait(60) == 0, added.log.read_text()
    process("operate", "trial", "shop", "kind=nap").popen.wait(60)
    until(lambda: ask("select status from dbadmin_run") == "running")
    time.sleep(1)
    control.stop()
    time.sleep(9)  # longer than the silence after which a run is looked at
    control.start()
    until(lambda: ask("select status from dbadmin_run") != "running", 60)
    assert ask("select status from dbadmin_run") == "succeeded"
    assert ask("select text from dbadmin_runline") == "Committed 1 statement."


class Asker:
    """Asks the control database, each time anew."""

    def __init__(self, postgres):
        self.postgres = postgres

    def __call__(self, query, params=None):
        with self.postgres.connect("control") as connection:
            row = connection.execute(query, params).fetchone()
        return row[0] if row else None
