"""Operations that do what tests of runs need: sleep, fail, leave something behind."""

import os
import signal
import time

from django import forms
from psycopg import sql

from dbadmin.operations import REGISTRY, Operation, Refused, Risk
from dbadmin.steps import Call, Command, Sql, Transaction

#: What a program may say without anybody ever reading it.
PASSWORD = "w0rd-of-the-pass"


def leave_and_sleep(work):
    """Make something that a clean-up has to remove, then take long."""
    work.remember(leftover="leftover")
    with work.connect() as connection:
        connection.execute("create table public.leftover ()")
    work.pause(60)


def die(work):
    """As kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def count(work):
    """Make progress."""
    for done in range(600):
        work.progress(done, 600, "rows")
        work.pause(0.1)


class Trial(Operation):
    """Do one of several things."""

    title = "Trial"
    risk = Risk.HARMLESS
    name, app = "trial", "dbadmin"

    class Form(forms.Form):
        kind = forms.CharField()
        target = forms.CharField(required=False)

    def target(self):
        return self.params.get("target") or self.params["kind"]

    def plan(self):
        return getattr(self, self.params["kind"])()

    def quick(self):
        return [Sql("select 1"), Sql("select 2", reverse="select -2")]

    def path(self):
        return [Sql("create table path as select pg_catalog.current_setting('search_path') as chosen")]

    def statement(self):
        return [Sql("select pg_sleep(60)")]

    def nap(self):
        return [Transaction([Sql("select pg_sleep(20)")])]

    def blocked(self):
        limits = {"lock_timeout": "300ms"}
        return [Sql("alter table held add x int", settings=limits, attempts=2), Sql("select 1")]

    def program(self):
        return [Command(["sleep", "60"])]

    def family(self):
        return [Command(["sh", "-c", "sleep 60 & sleep 60; true"])]

    def stubborn(self):
        return [Command(["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.2; done"])]

    def waits(self):
        return ""

    def python(self):
        return [Call(lambda work: time.sleep(60), says="sleep in Python")]

    def counting(self):
        return [Call(count, says="count to 600")]

    def leaving(self):
        return [Call(leave_and_sleep, says="leave a table, sleep")]

    def failing(self):
        return [Sql("select 1"), Sql("select 1 / 0")]

    def all_or_nothing(self):
        return [Transaction([Sql("create table half ()"), Sql("select 1 / 0")])]

    def talking(self):
        return [
            Command(["sh", "-c", "echo I know $TRIAL_PASSWORD; exit 3"], env={"TRIAL_PASSWORD": PASSWORD})
        ]

    def absent(self):
        return [Command(["no-such-program"])]

    def private(self):
        return [Command(["sh", "-c", "echo key=$SECRET_KEY name=$PGAPPNAME"])]

    def refusing(self):
        raise Refused("It is Sunday.", field="kind")

    def changing(self):
        names = self.server.rows("select relname from pg_class where relname like 'change%' order by 1")
        return [Sql(sql.SQL("select {}").format(sql.Literal(len(names))))]

    def clean_up(self, work):
        if "leftover" in work.facts:
            with work.connect() as connection:
                connection.execute("drop table if exists public.leftover")
            work.log("Dropped the leftover.")


class TrialThatBlocks(Trial):
    """Make others wait."""

    risk = Risk.BLOCKS
    name, app = "trial_that_blocks", "dbadmin"


class TrialThatStays(Trial):
    """Leave what its steps did."""

    name, app = "trial_that_stays", "dbadmin"
    clean_up = Operation.clean_up

    def slowly(self):
        return [Sql("create table stays ()"), Sql("select 1"), Sql("select pg_sleep(60)"), Sql("select 2")]

    def committed(self):
        return [Transaction([Sql("create table stays ()")]), Call(die, says="lose the worker")]

    def dying(self):
        return [Dying([Sql("create table stays ()")])]


class Dying(Transaction):
    """A transaction whose worker dies between its end and the word of it."""

    def run(self, work):
        super().run(work)
        die(work)


ALL = {operation.name: operation for operation in (Trial, TrialThatBlocks, TrialThatStays)}


def register():
    """Known to this process."""
    REGISTRY.update(ALL)
