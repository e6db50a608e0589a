"""Fills the database academy, stage by stage, so that an interrupted load goes on where it stopped."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from time import monotonic
from typing import NamedTuple

import psycopg
from psycopg import pq, sql

from dbadmin.sample import accounts
from dbadmin.sample.stages import Stage, events_in, stages, text_of

LOCK = "select pg_try_advisory_lock(hashtext('sample load'))"
EVENTS_AT_ONE = 600_000
Say = Callable[[str], None]


class LoadError(Exception):
    """A sentence for the person at the command line."""


class Loaded(NamedTuple):
    title: str
    scale: float
    took_seconds: float


def load(dsn: str, scale: float | None = None, say: Say = print) -> int:
    """Do what is missing; return how many stages that was. Without a scale: that of before, else 1."""
    if scale is not None and not 0.01 <= scale <= 100:
        raise LoadError(f"The scale must lie between 0.01 and 100, not {scale:g}.")
    with connected(dsn) as connection:
        became_owner(connection, dsn)
        try:
            done = journal(connection, scale)
            missing = [stage for stage in stages(first_month(connection)) if stage.title not in done]
            if missing:
                fill(connection, missing, say)
        finally:
            let_go(connection)
        return len(missing)


def status(dsn: str) -> list[Loaded]:
    """What was loaded, in order; empty where nothing was."""
    with connected(dsn) as connection:
        if not value(connection, "select to_regclass('sample.loaded')"):
            return []
        rows = connection.execute(
            "select stage, scale, took_seconds from sample.loaded order by at"
        ).fetchall()
        return [Loaded(title, float(scale), float(took)) for title, scale, took in rows]


def connected(dsn: str) -> psycopg.Connection:
    try:
        return psycopg.connect(dsn, autocommit=True, application_name="sample load", connect_timeout=5)
    except psycopg.OperationalError as error:
        raise LoadError(f"The sample's database does not answer: {error}") from error


def let_go(connection: psycopg.Connection) -> None:
    """Free the lock now: a server ends a session some time after its client left, and the next load may be quicker."""
    if not connection.closed and connection.info.transaction_status == pq.TransactionStatus.IDLE:
        connection.execute("select pg_catalog.pg_advisory_unlock_all()")


def value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def became_owner(connection: psycopg.Connection, dsn: str) -> None:
    """Take the load's lock, create roles and extension where allowed, then act as the objects' owner."""
    # A killed client's statement would hold the lock to its end; the server looks for the client meanwhile.
    connection.execute("set client_connection_check_interval = '1s'")
    connection.execute("set client_min_messages = warning")
    if not value(connection, LOCK):
        raise LoadError("Another load of this sample is running. Wait for its end, then try again.")
    accounts.prepare(connection, dsn)
    try:
        connection.execute("create extension if not exists pg_stat_statements")
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.UndefinedFile,
        psycopg.errors.FeatureNotSupported,
    ):
        pass  # the readiness page of the server says so with its remedy
    if value(connection, "select rolsuper from pg_catalog.pg_roles where rolname = current_user"):
        database = sql.Identifier(connection.info.dbname)
        owner = sql.Identifier(accounts.OWNER)
        connection.execute(sql.SQL("grant create on database {} to {}").format(database, owner))
        connection.execute(sql.SQL("grant usage, create on schema public to {}").format(owner))
        accounts.lend_ownership(connection)
        connection.execute(sql.SQL("set role {}").format(owner))


def journal(connection: psycopg.Connection, scale: float | None) -> set[str]:
    """The stages that are done. A load of one size is not continued with another."""
    connection.execute("create schema if not exists sample")
    connection.execute(
        "create table if not exists sample.loaded (stage text primary key, scale numeric not null,"
        " took_seconds numeric not null, at timestamptz not null default clock_timestamp())"
    )
    rows = connection.execute("select stage, scale::float8 from sample.loaded").fetchall()
    for _, loaded_scale in rows[:1]:
        if scale not in (None, loaded_scale):
            raise LoadError(
                f"This database holds the sample at scale {loaded_scale:g}, not {scale:g}. "
                "Load into an empty database, or ask for the same scale."
            )
    chosen = scale or (rows[0][1] if rows else 1.0)
    connection.execute("select set_config('sample.scale', %s, false)", [f"{chosen:g}"])
    return {stage for stage, _ in rows}


def first_month(connection: psycopg.Connection) -> date:
    month = value(connection, "select date_trunc('month', coalesce(min(at), now()))::date from sample.loaded")
    return month if isinstance(month, date) else date.min


def fill(connection: psycopg.Connection, missing: list[Stage], say: Say) -> None:
    connection.execute("set synchronous_commit = off")
    connection.execute("set work_mem = '64MB'")
    connection.execute("set maintenance_work_mem = '128MB'")
    connection.execute("set jit = off")
    connection.execute(
        "set default_statistics_target = 30"
    )  # enough for a start; autovacuum looks closer later
    connection.execute(text_of("words"))
    for stage in missing:
        started = monotonic()
        if stage.mode == "alone":
            done_alone(connection, stage, started)
        else:
            with connection.transaction():
                announce_month(connection, stage)
                connection.execute(stage.sql)
                note(connection, stage, started)
        say(f"{stage.title}: {monotonic() - started:.1f} s")


def done_alone(connection: psycopg.Connection, stage: Stage, started: float) -> None:
    """Statements that refuse a transaction; one that is marked so must fail, as it does in life."""
    for statement in stage.statements():
        try:
            connection.execute(statement)
        except psycopg.errors.UniqueViolation:
            if "-- fails: unique_violation" not in statement:
                raise
    accounts.grant(connection)
    note(connection, stage, started)


def announce_month(connection: psycopg.Connection, stage: Stage) -> None:
    """Tell the statements of one month which month it is and how many events it has."""
    if not stage.month:
        return
    newest = first_month(connection)
    scale = float(str(value(connection, "select current_setting('sample.scale')")))
    connection.execute(
        "select set_config('sample.month', %s, true), set_config('sample.events', %s, true),"
        " set_config('sample.users', (select count(*)::text from users), true),"
        " set_config('sample.courses', (select count(*)::text from courses), true)",
        [
            stage.month.isoformat(),
            str(events_in(stage.month, newest, datetime.now(UTC).date(), int(EVENTS_AT_ONE * scale))),
        ],
    )


def note(connection: psycopg.Connection, stage: Stage, started: float) -> None:
    connection.execute(
        "insert into sample.loaded (stage, scale, took_seconds)"
        " values (%s, current_setting('sample.scale')::numeric, %s)",
        [stage.title, round(monotonic() - started, 2)],
    )
