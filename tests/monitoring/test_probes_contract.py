"""What holds for every probe, on every version of PostgreSQL that the tests run on."""

import decimal
import json
import re
import time
from pathlib import Path

import psycopg
import pytest

from dbadmin.connections import Session, limit
from dbadmin.probes import PROBES, Probe, Problem, SqlProbe
from dbadmin.units import LABEL, unit_of

pytestmark = pytest.mark.servers

APPS = ("monitoring", "maintenance")
ALL = [probe for probe in PROBES.values() if probe.app in APPS and probe.source == "postgres"]
SAMPLED = [probe for probe in ALL if probe.every]
#: The columns of every probe, on every version: what history, alerts and exports rely on.
COLUMNS = json.loads(Path(__file__).with_name("columns.json").read_text())
#: Whole numbers that only name something.
IDENTIFIERS = re.compile(r"(^|_)(pid|id|depth)$")

WORLD = """
create extension pgstattuple; create extension pg_buffercache;
create schema shop;
create table shop.customers (id int generated always as identity primary key, email text unique);
create table shop.orders (
    id bigint generated always as identity primary key, customer_id int references shop.customers (id),
    state text, note text, created_at timestamptz default now());
alter table shop.orders add constraint state_known check (state <> '') not valid;
create index orders_state on shop.orders (state);
create index orders_state_again on shop.orders (state);
create index orders_lower on shop.orders (lower(state)) where note is not null;
create table shop.events (id bigint, at timestamptz, body text, primary key (id, at)) partition by range (at);
create table shop.events_1 partition of shop.events for values from ('2025-01-01') to ('2026-01-01');
create index on shop.events (body);
create materialized view shop.summary as select state, count(*) from shop.orders group by state;
create unique index on shop.summary (state);
create table shop.secrets (id int, owner text);
create policy own on shop.secrets using (owner = current_user);
insert into shop.customers (email) select i || '@example.org' from generate_series(1, 1000) i;
insert into shop.orders (customer_id, state, note)
    select i % 1000 + 1, 'new', repeat('x', 90) from generate_series(1, 20000) i;
insert into shop.events select i, '2025-03-01', md5(i::text) from generate_series(1, 20000) i;
alter table shop.orders set (fillfactor = 90);
analyze;
"""
LOCKED = """
lock table shop.customers, shop.orders, shop.events, shop.events_1, shop.secrets in access exclusive mode;
reindex index shop.orders_pkey;
drop index shop.orders_state_again;
alter sequence shop.customers_id_seq increment 2;
refresh materialized view shop.summary;
"""
#: What anyone who may create in a schema of the path can put in our way: for each pair of types that the server itself
#: only serves after a cast, an operator of the user that fits without, and functions alike.
TRAPS = """
create schema postgres;
do $$ declare
    kinds text[] := '{int2,int4,int8,numeric,float8,text,varchar,name,"char",oid,interval,timestamptz}';
    calls text[] := '{round,abs,lower,upper,length,sum,max,min,to_char,pg_size_pretty,quote_ident}';
    one text; other text; sign text; called text; begin
    foreach one in array kinds loop
        foreach called in array calls loop
            execute format($f$create function postgres.%I(%s) returns %2$s language plpgsql as
                'begin raise ''a function of a user ran: %1$s(%2$s)''; end'$f$, called, one);
        end loop;
        foreach other in array kinds loop
            execute format($f$create function postgres.trap(%s, %s) returns bool language plpgsql as
                'begin raise ''an operator of a user ran: %1$s, %2$s''; end'$f$, one, other);
            foreach sign in array '{+,-,*,/,=,<>,<,>,<=,>=,||,~~,~}'::text[] loop
                if to_regoperator(format('pg_catalog.%s(%s,%s)', sign, one, other)) is null then
                    execute format('create operator postgres.%s (function = postgres.trap,
                        leftarg = %s, rightarg = %s)', sign, one, other);
                end if;
            end loop;
        end loop;
    end loop;
end $$
"""


@pytest.fixture(scope="module")
def world(postgres):
    """A database with one of most things, and two roles that may do little."""
    with postgres.connect() as connection:
        connection.execute("drop database if exists contract with (force)")
        connection.execute("create database contract")
        for role in ("newcomer", "asker"):
            connection.execute(f"drop role if exists {role}")
            connection.execute(f"create role {role} login password '{postgres.password}'")
        connection.execute("grant pg_monitor to asker")
    with postgres.connect("contract") as connection:
        connection.execute("create extension if not exists pg_stat_statements")
        connection.execute(WORLD)
    yield "contract"
    with postgres.connect() as connection:
        connection.execute("drop database contract with (force)")
        connection.execute("drop role newcomer")
        connection.execute("drop role asker")


@pytest.fixture(scope="module")
def ask(postgres, world):
    """Read a probe as some role, under the limits of every reading."""
    sessions = {}

    def read(probe: Probe, role: str = "postgres"):
        if role not in sessions:
            connection = postgres.connect(world, role)
            limit(connection)
            sessions[role] = connection
        return probe.read(Session(sessions[role]), **told(probe))

    yield read
    for connection in sessions.values():
        connection.close()


def told(probe: Probe) -> dict[str, str]:
    """What a probe about one thing is told."""
    return {name: {"schema": "shop", "table": "orders"}[name] for name in probe.params}


def by_name(probe: Probe) -> str:
    return probe.name


@pytest.mark.parametrize("probe", ALL, ids=by_name)
def test_header_speaks_to_people_in_whole_sentences(probe):
    assert probe.title[0].isupper()
    assert not probe.title.endswith(".")
    assert probe.about.endswith(".")
    assert probe.header.get("empty", "").rstrip("0123456789")[-1:] in {".", "s"}


@pytest.mark.parametrize("probe", ALL, ids=by_name)
def test_header_names_only_columns_that_exist(probe):
    named = {*probe.notes, *probe.key}
    named |= {threshold.column for threshold in (probe.warning, probe.critical) if threshold}
    named |= {column for action in probe.actions for _, column in action.fields}
    named |= {part.rpartition("(")[2].rstrip(")") for part in probe.series if part != "rows"}
    assert named <= set(COLUMNS[probe.name])


@pytest.mark.parametrize("probe", [probe for probe in ALL if isinstance(probe, SqlProbe)], ids=by_name)
def test_statement_qualifies_every_catalog(probe):
    for statement in (*probe.variants.values(), *probe.earlier.values()):
        bare = re.sub(r"--.*|'[^']*'", "", statement)
        assert re.findall(r"(?<![\w.])(?:pg_[a-z_]+\s*\(|(?:from|join)\s+pg_(?!catalog\.)\w+)", bare) == []


@pytest.mark.parametrize("probe", ALL, ids=by_name)
def test_answers_with_the_same_columns_on_every_version(probe, ask):
    reading = ask(probe)
    if probe.on == "standby":
        assert reading.problem is not None
        assert reading.problem.message == "Only a standby can tell; this server is a primary."
        return
    assert reading.problem is None
    assert [column.name for column in reading.columns] == COLUMNS[probe.name]


@pytest.mark.parametrize("probe", [each for each in ALL if getattr(each, "earlier", None)], ids=by_name)
def test_what_version_13_is_asked_gives_the_same_columns(probe, postgres, world):
    with postgres.connect(world) as connection:
        cursor = connection.execute(probe.statement(13))
        assert [column.name for column in cursor.description] == COLUMNS[probe.name]


def test_a_version_without_the_role_says_that_only_a_superuser_can_be_told(postgres, world):
    probe = PROBES["table_bloat"]
    with postgres.connect(world, "newcomer") as connection:
        session = Session(connection, facts={"pg_read_all_data": None})
        assert probe.read(session).problem == Problem(
            "unsupported",
            f"PostgreSQL {session.major} has no role pg_read_all_data: there only a superuser can be told this.",
        )
    with postgres.connect(world) as connection:
        assert probe.read(Session(connection, facts={"pg_read_all_data": None})).problem is None


@pytest.mark.parametrize("probe", ALL, ids=by_name)
def test_every_number_has_a_unit_and_a_plain_type(probe, ask):
    for row in ask(probe).rows:
        for name, value in row._asdict().items():
            assert not isinstance(value, decimal.Decimal), name
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert unit_of(name) is not LABEL or IDENTIFIERS.search(name), name


@pytest.mark.parametrize("role", ["newcomer", "asker"])
@pytest.mark.parametrize("probe", ALL, ids=by_name)
def test_missing_right_comes_with_the_statement_that_mends_it(probe, role, ask, postgres, world):
    reading, granted = ask(probe, role), []
    while reading.problem is not None and reading.problem.kind == "privilege" and len(granted) < 3:
        assert reading.problem.remedy.startswith("GRANT "), reading.problem
        granted.append(reading.problem.remedy)
        with postgres.connect(world) as connection:
            connection.execute(reading.problem.remedy)
        reading = ask(probe, role)
    assert reading.problem is None or reading.problem.kind == "unsupported"
    with postgres.connect(world) as connection:
        for grant in granted:
            connection.execute(grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))


def test_no_function_or_operator_of_a_user_runs_in_a_reading(postgres, world, ask):
    """Whoever may create in a schema of the search path would have it run with the rights of dbadmin."""
    with postgres.connect(world) as connection:
        connection.execute(TRAPS)
        with pytest.raises(psycopg.errors.RaiseException, match="an operator of a user ran: int8, numeric"):
            connection.execute("select 1::bigint * 1.5")
        told_by = {probe.name: ask(probe).problem for probe in ALL if probe.on != "standby"}
        connection.execute("drop schema postgres cascade")
    assert {name: problem for name, problem in told_by.items() if problem is not None} == {}


def test_readings_write_nothing(postgres, world):
    """In a transaction that may not write, and without a transaction number."""
    with psycopg.connect(postgres.dsn_for(world)) as connection:
        connection.execute("set transaction read only")
        session = Session(connection)
        for probe in ALL:
            assert probe.read(session, **told(probe)).problem is None or probe.on == "standby", probe.name
        assert session.value("select pg_current_xact_id_if_assigned()") is None


@pytest.fixture(scope="module", params=["held", "queued"])
def locked(request, postgres, world):
    """ACCESS EXCLUSIVE on everything: held by one session, or asked for and waiting behind a reader."""
    first = psycopg.connect(postgres.dsn_for(world))
    if request.param == "held":
        first.execute(LOCKED)
        yield
        first.close()
        return
    first.execute("select 1 from shop.customers, shop.orders, shop.summary, shop.events limit 1")
    tables = ("shop.customers", "shop.orders", "shop.events", "shop.events_1")
    wishes = [f"lock table only {name} in access exclusive mode" for name in tables]
    wishes.append("refresh materialized view shop.summary")
    waiting = [psycopg.connect(postgres.dsn_for(world)) for _ in wishes]
    for connection, wish in zip(waiting, wishes, strict=True):
        connection.pgconn.send_query(f"begin; {wish}".encode())
    with postgres.connect(world) as connection:
        while connection.execute("select count(*) from pg_locks where not granted").fetchone() < (
            len(wishes),
        ):
            time.sleep(0.02)
    yield
    first.close()
    for connection in waiting:
        connection.close()


@pytest.mark.parametrize("probe", SAMPLED, ids=by_name)
def test_what_is_sampled_does_not_wait_behind_a_lock(probe, locked, ask):
    reading = ask(probe)
    assert reading.problem is None or reading.problem.kind == "unsupported"


@pytest.mark.parametrize("probe", [probe for probe in ALL if probe.params], ids=by_name)
def test_what_is_asked_about_a_locked_table_answers_or_says_that_it_is_locked(probe, locked, ask):
    opens = probe.name in {"exact_bloat", "table_size", "table_constraints"}
    reading = ask(probe)
    assert (reading.problem.kind if reading.problem else "") == ("locked" if opens else "")


@pytest.mark.parametrize("probe", [probe for probe in ALL if probe.params], ids=by_name)
def test_what_is_about_one_thing_has_no_rows_of_what_is_not_there(probe, world, postgres):
    with postgres.connect(world) as connection:
        for params in ({"schema": "shop", "table": "nosuch"}, {}):
            reading = probe.read(Session(connection), **params)
            assert (reading.rows, reading.problem) == ([], None)


def test_the_locks_are_real(locked, postgres, world):
    with postgres.connect(world) as connection:
        connection.execute("set lock_timeout = '100ms'")
        for name in ("orders", "events_1", "summary"):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute(f"select pg_total_relation_size('shop.{name}'::regclass)")
