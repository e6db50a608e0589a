"""The sample is real: it loads once, survives interruption, and holds the problems that its page promises."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from dbadmin.sample import accounts
from dbadmin.sample.load import LoadError, load, status
from dbadmin.sample.requests import population, requests
from dbadmin.sample.troubles import Troubles
from dbadmin.sample.workload import ask, work, working_dsns
from tests.fixtures.servers import start_postgres
from tests.fixtures.stopwatch import took

pytestmark = pytest.mark.servers
SCALE = 0.05
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own():
    """A PostgreSQL of these tests: the sample makes roles, and a test restarts the server."""
    return start_postgres("sample")


def new_dsn(own, name: str) -> str:
    with own.connect() as connection:
        connection.execute(f"create database {name}")
    return own.dsn_for(name)


@pytest.fixture(scope="module")
def academy(own):
    """The DSN of a loaded sample."""
    dsn = new_dsn(own, "academy")
    load(dsn, SCALE, say=lambda text: None)
    return dsn


@pytest.fixture
def rows(academy):
    """rows("select …"): what the loaded sample answers."""
    with psycopg.connect(academy, autocommit=True) as connection:
        yield lambda query: connection.execute(query).fetchall()


def eventually(check, seconds: float = 60):
    """Wait until check() is true, and return it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := check():
            return found
        time.sleep(0.1)
    return check()


# Loading


def test_a_second_load_does_nothing_and_takes_less_than_a_second(academy):
    assert load(academy, SCALE) == 0
    assert took(lambda: load(academy, SCALE), 1) < 1


def test_a_load_without_a_size_keeps_the_one_that_is_there(academy):
    assert load(academy) == 0


def test_another_size_is_refused_in_words(academy):
    with pytest.raises(LoadError) as refused:
        load(academy, 0.1)
    assert str(refused.value) == (
        "This database holds the sample at scale 0.05, not 0.1. "
        "Load into an empty database, or ask for the same scale."
    )


def test_no_password_is_left_in_the_statistics_of_statements(academy, rows):
    texts = "\n".join(text for (text,) in rows("select query from pg_stat_statements"))
    assert "alter role academy_web" in texts.lower().replace('"', "")
    assert not any(accounts.password_of(role, academy) in texts for role in accounts.WORKING)


def test_a_size_out_of_reason_is_refused_in_words(academy):
    with pytest.raises(LoadError) as refused:
        load(academy, 0)
    assert str(refused.value) == "The scale must lie between 0.01 and 100, not 0."


def test_two_loads_at_once_are_refused_in_words(own, academy):
    with own.connect("academy") as other:
        other.execute("select pg_advisory_lock(hashtext('sample load'))")
        with pytest.raises(LoadError) as refused:
            load(academy, SCALE)
    assert str(refused.value) == "Another load of this sample is running. Wait for its end, then try again."


def test_a_load_that_lost_its_connection_goes_on_where_it_stopped(own, academy, rows):
    dsn = new_dsn(own, "interrupted")

    def cut(text: str) -> None:
        if text.startswith("enrollments"):
            with own.connect() as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = 'interrupted' and pid <> pg_backend_pid()"
                )

    with pytest.raises(psycopg.OperationalError):
        load(dsn, SCALE, say=cut)
    done_before = [stage.title for stage in status(dsn)]
    assert done_before[-1] == "enrollments"
    assert load(dsn, SCALE, say=lambda text: None) == len(status(academy)) - len(done_before)
    count = (
        "select (select count(*) from users), (select count(*) from courses), (select count(*) from lessons)"
    )
    with psycopg.connect(dsn) as connection:
        assert connection.execute(count).fetchall() == rows(count)


def test_ctrl_c_ends_a_load_with_a_sentence_and_the_next_one_completes_it(own, academy):
    dsn = new_dsn(own, "stopped")
    argv = [sys.executable, "manage.py", "sample", "load", "--dsn", dsn, "--scale", str(SCALE)]
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT, env=os.environ.copy()
    )
    for line in process.stdout:
        if line.startswith("courses"):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=30)
    assert errors == "Stopped. The next load goes on where this one stopped.\n"
    assert process.returncode == 130
    again = subprocess.run(argv, capture_output=True, text=True, cwd=CHECKOUT)
    assert again.stdout.splitlines()[-1].startswith("The sample is loaded (")
    assert len(status(dsn)) == len(status(academy))


def test_an_absent_server_is_named_without_the_password():
    with pytest.raises(LoadError) as refused:
        load("postgresql://someone:secret@127.0.0.1:1/academy")
    assert str(refused.value).startswith("The sample's database does not answer: ")
    assert "secret" not in str(refused.value)


def test_an_owner_without_more_rights_can_load_it(own):
    with own.connect() as connection:
        connection.execute("create role plain_owner login password 'plain'")
        connection.execute("create database plain owner plain_owner")
    dsn = f"host={own.host} port={own.port} user=plain_owner password=plain dbname=plain"
    assert load(dsn, 0.01, say=lambda text: None) > 30


# What it looks like


def test_all_objects_belong_to_the_owner(rows):
    owners = """select distinct relowner::regrole::text from pg_class
        where relnamespace in ('public'::regnamespace, 'billing'::regnamespace) and relname !~ '^pg_stat_'"""
    assert rows(owners) == [("academy",)]


def test_few_courses_have_most_of_the_learners(rows):
    share = """select sum(n) filter (where rank <= 0.1 * courses) / sum(n) > 0.3 from (
        select count(*) as n, rank() over (order by count(*) desc), count(*) over () as courses
        from enrollments group by course_id) counted"""
    assert rows(share) == [(True,)]


def test_people_learn_in_the_evening_and_the_platform_grows(rows):
    hours = """select count(*) filter (where extract(hour from occurred_at) between 18 and 21)
        > 5 * count(*) filter (where extract(hour from occurred_at) between 1 and 4) from analytics_events"""
    growth = """select count(*) filter (where created_at > now() - interval '100 days')
        > 1.5 * count(*) filter (where created_at < now() - interval '300 days') from users"""
    assert rows(hours) == [(True,)]
    assert rows(growth) == [(True,)]


def test_most_learners_stop_early_and_a_third_finishes(rows):
    curve = """select avg((state = 'completed')::int) between 0.2 and 0.45,
        count(*) filter (where progress < 0.25) > 2 * count(*) filter (where progress between 0.5 and 0.75)
        from enrollments"""
    assert rows(curve) == [(True, True)]


def test_nothing_lies_in_the_future(rows):
    assert rows("select count(*) from analytics_events where occurred_at > now()") == [(0,)]
    assert rows("select count(*) from lesson_progress where updated_at > now()") == [(0,)]
    assert rows("select count(*) from enrollments where enrolled_at > now()") == [(0,)]


# The problems that hide in it

PROBLEMS = {
    "the month in three months' time has no partition, the one after it has": """
        select array_agg(ahead) = '{0,1,2,4}' from generate_series(0, 6) as ahead
        where to_regclass('analytics_events_'
            || to_char(current_date + make_interval(months => ahead), 'YYYY_MM')) is not null""",
    "an index is invalid": """
        select array_agg(indexrelid::regclass::text) = '{users_email_lower_key}'
        from pg_index where not indisvalid""",
    "two indexes are the same, and a third covers both": """
        select count(*) = 2 from pg_index where indrelid = 'enrollments'::regclass and indkey::text = '2'""",
    "no request uses the index on time zones": """
        select idx_scan = 0 from pg_stat_user_indexes where indexrelname = 'users_time_zone_idx'""",
    "a foreign key has no index": """
        select not exists (select from pg_index
                           where indrelid = 'lesson_progress'::regclass and indkey[0] = 2)
           and exists (select from pg_constraint where conrelid = 'lesson_progress'::regclass
                       and confrelid = 'lessons'::regclass)""",
    "a constraint is not validated, and rows break it": """
        select not convalidated and exists (select from billing.payments where amount < 0)
        from pg_constraint where conname = 'payments_amount_not_negative'""",
    "a counter of four bytes is near its end": """
        select last_value > 0.98 * 2147483647 from device_pings_id_seq""",
    "dead rows stay, because autovacuum is off": """
        select n_dead_tup > n_live_tup and 'autovacuum_enabled=off' = any (reloptions)
        from pg_stat_user_tables join pg_class on pg_class.oid = relid
        where pg_class.relname = 'notifications'""",
    "a materialized view was never filled": """
        select not ispopulated from pg_matviews where matviewname = 'monthly_revenue'""",
    "bookmarks point to lessons that never were": """
        select count(*) > 0 from bookmarks where lesson_id not in (select id from lessons)""",
    "people have two accounts": """
        select count(*) > 0 from users a join users b on lower(a.email) = lower(b.email) and a.id < b.id""",
    "a table with an odd name has no primary key": """
        select count(*) > 0 from "Legacy Import 2023" where "Paid (EUR)" like '%,90'""",
    "a function runs with its owner's rights and the caller's search_path": """
        select prosecdef and proconfig is null from pg_proc where proname = 'course_seats'""",
    "the reports' sorts have too little memory": """
        select 'work_mem=1MB' = any (setconfig) from pg_db_role_setting
        where setrole = 'academy_reports'::regrole""",
}


@pytest.mark.parametrize("promise", PROBLEMS)
def test_a_promised_problem_is_there(promise, rows):
    with_statistics = "select pg_sleep(0) from pg_stat_clear_snapshot()"
    assert eventually(lambda: rows(with_statistics) and rows(PROBLEMS[promise]) == [(True,)], 5)


def test_two_views_can_be_refreshed_concurrently_and_the_third_can_not(rows, own):
    with own.connect("academy") as connection:
        connection.execute("refresh materialized view concurrently user_learning_summary")
        connection.execute("refresh materialized view concurrently course_performance")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute("refresh materialized view concurrently category_statistics")


# People at work


@pytest.fixture
def ways(academy):
    """How each account reaches the sample."""
    said: list[str] = []
    found = working_dsns(academy, "", said.append)
    assert said == []
    return found


@pytest.mark.parametrize("request_", requests(), ids=lambda request: f"{request.actor}: {request.name}")
def test_every_request_is_answered_to_its_own_role(request_, ways):
    account = {"reports": accounts.REPORTS, "batch": accounts.BATCH}.get(request_.actor, accounts.WEB)
    with psycopg.connect(ways[account][0], autocommit=True) as connection:
        ask(connection, request_, population(connection).draw())


def test_there_are_more_than_forty_statement_shapes():
    assert len({statement for request in requests() for statement in request.statements}) > 40


def test_a_role_that_cannot_sign_in_is_named_and_its_work_is_done_all_the_same(academy, monkeypatch):
    monkeypatch.setenv("SAMPLE_REPORTS_PASSWORD", "not the one")
    said: list[str] = []
    ways = working_dsns(academy, "", said.append)
    assert ways[accounts.REPORTS] == (academy, academy)
    assert len(said) == 1
    assert said[0].startswith("academy_reports cannot sign in (")
    assert said[0].endswith("); its work is done as the given user instead.")


def test_work_goes_on_after_a_dropped_table_and_a_restart(own):
    dsn = new_dsn(own, "busy")
    load(dsn, SCALE, say=lambda text: None)
    said: list[str] = []
    stop = threading.Event()
    worker = threading.Thread(target=work, args=[dsn], kwargs={"rate": 8, "say": said.append, "stop": stop})
    worker.start()
    try:
        assert eventually(lambda: said and said[-1].endswith("programs use the platform. Ctrl-C stops them."))
        with own.connect("busy") as connection:
            connection.execute("drop table reviews cascade")
        missing = (
            "academy-web: 'course page' failed: relation \"reviews\" does not exist. Going on without it."
        )
        assert eventually(lambda: missing in said)
        own.stop()
        own.start()
        assert eventually(lambda: "academy-web: the server is back." in said, 30)
        events = "select count(*) from analytics_events"
        with own.connect("busy") as connection:
            before = connection.execute(events).fetchone()
            assert eventually(lambda: connection.execute(events).fetchone() != before)
        assert said.count(missing) == 1
    finally:
        stop.set()
        worker.join(timeout=10)
    assert not worker.is_alive()


# Troubles


@pytest.fixture
def troubles(ways):
    """Troubles that begin when told to, and end with the test."""
    stop = threading.Event()
    made = Troubles(ways, stop, say=lambda text: None)
    running: list[threading.Thread] = []

    def begin(name: str) -> None:
        running.append(threading.Thread(target=made.happen, args=[getattr(made, name)]))
        running[-1].start()

    yield begin
    stop.set()
    for thread in running:
        thread.join(timeout=10)


def test_a_transaction_is_forgotten_while_it_is_idle(troubles, rows):
    troubles("forgotten_transaction")
    idle = """select 1 from pg_stat_activity
        where application_name = 'academy-checkout' and state = 'idle in transaction'"""
    assert eventually(lambda: rows(idle))


def test_two_sessions_queue_behind_one_row(troubles, rows):
    troubles("queue_behind_a_row")
    queue = """select application_name from pg_stat_activity
        where cardinality(pg_blocking_pids(pid)) > 0 and application_name ~ '^academy-editor' order by 1"""
    assert eventually(lambda: rows(queue) == [("academy-editor-1",), ("academy-editor-2",)])


def test_a_long_report_holds_back_the_vacuum(troubles, rows):
    troubles("long_report")
    horizon = """select 1 from pg_stat_activity
        where application_name = 'academy-yearly-report' and state = 'idle in transaction'
            and backend_xmin is not null"""
    assert eventually(lambda: rows(horizon))
