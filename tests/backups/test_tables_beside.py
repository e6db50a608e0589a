"""Tables come back beside the live ones, proven; what differs is told row by row, and nothing live is touched."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from backups import restoring_tables
from backups.models import Backup, RowComparison, SideSchema
from backups.restoring import plan_restore
from dbadmin import runs
from dbadmin.models import Run, Server
from dbadmin.work import Work
from tests.backups.conftest import queue
from tests.backups.test_faults import databases, died, refusal, when, worker
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

BEFORE = """
    create type mood as enum ('good', 'bad');
    create domain positive as int check (value > 0);
    create table parents (id int primary key, name text);
    insert into parents select g, 'p' || g from generate_series(1, 50) g;
    create table "odd name" (
        "the key" text, part int, mood mood, amount numeric(12, 3), tags text[], doc jsonb, raw bytea, at timestamptz,
        parent int references parents, size positive, twice int generated always as (part * 2) stored,
        primary key ("the key", part)
    );
    insert into "odd name"
    select E'k\\\\"\\t' || g, g, 'good', g / 3.0, array['a,b', null, '"'], '{"x": 1}', '\\x00ff', 'infinity', g, g
    from generate_series(1, 50) g;
    create table keyless (a int, b text);
    insert into keyless values (1, 'x'), (1, 'x'), (2, null);
    create table months (at date not null, n int, primary key (at, n)) partition by range (at);
    create table months_1 partition of months for values from ('2026-01-01') to ('2026-02-01');
    create table months_2 partition of months for values from ('2026-02-01') to ('2026-03-01');
    insert into months select date '2026-01-15' + g, g from generate_series(1, 30) g;
    create table elder (id int primary key);
    create table younger () inherits (elder);
    insert into elder values (1);
    insert into younger values (7);
    create table untouched (id int primary key);"""
AFTER = """
    delete from "odd name" where part in (3, 4);
    update "odd name" set tags = array['changed'], amount = 'NaN' where part = 7;
    insert into "odd name" values ('new', 99, 'bad', 1, '{}', 'null', null, null, null, 1);
    delete from months where n = 20;
    delete from keyless where a = 2;"""


@pytest.fixture
def shop(postgres: Postgres, database: str) -> str:
    """A database as it was."""
    with postgres.connect(database) as connection:
        connection.execute(BEFORE)
    return database


def contents(postgres: Postgres, database: str) -> list[Any]:
    """All rows of the live tables."""
    with postgres.connect(database) as connection:
        return [
            connection.execute(f"select array_agg(t order by t::text) from public.{name} t").fetchone()
            for name in ('"odd name"', "months", "keyless", "parents")
        ]


def schemas(postgres: Postgres, database: str) -> list[str]:
    with postgres.connect(database) as connection:
        rows = connection.execute(
            "select nspname from pg_namespace where nspname like 'restored%' order by 1"
        )
        return [name for (name,) in rows.fetchall()]


def test_they_come_back_beside_the_live_ones_and_each_row_that_differs_is_told(
    server: Server, shop: str, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres,
    client_as: Callable[[str], Client],
) -> None:  # fmt: skip
    backup = taken()
    with postgres.connect(shop) as connection:
        connection.execute(AFTER)
    live = contents(postgres, shop)
    done = run(
        "restore_tables", backup=backup.pk, tables="odd name\npublic.months\nkeyless, elder", database=""
    )
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    assert done.message == "6 rows differ in 4 tables."
    assert contents(postgres, shop) == live
    side = SideSchema.objects.get()
    assert schemas(postgres, shop) == [side.name]
    assert runs.undo_url(done) == f"/servers/shop/do/drop_side_schema/?side={side.pk}&preview=1"
    counts = {
        str(one): (one.missing, one.changed, one.extra, one.same) for one in RowComparison.objects.all()
    }
    assert counts == {
        "public.odd name": (2, 1, 1, 47),
        "public.months": (1, 0, 0, 29),
        "public.keyless": (1, 0, 0, 2),
        "public.elder": (0, 0, 0, 1),  # not the row of the table that inherits from it
    }
    assert databases(postgres, shop) == [shop]
    admin = client_as("admin")
    page = admin.get(side.get_absolute_url()).content.decode()
    assert "No key tells the rows apart: they are compared as a whole, and cannot be copied back." in page
    odd = RowComparison.objects.get(name="odd name")
    first = admin.get(odd.get_absolute_url()).content.decode()
    assert first.count("<tr>") == 3  # what is missing comes first: the head, and two rows
    page = admin.get(odd.get_absolute_url(), {"kind": ""}).content.decode()
    assert "<del>NaN</del> <ins>2.333</ins>" in page
    assert page.count("<tr>") == 5  # the head, and four rows
    assert client_as("viewer").get(odd.get_absolute_url()).status_code == 403
    dropped = run("drop_side_schema", side=side.pk)
    assert dropped.status == Run.Status.SUCCEEDED, dropped.message
    assert schemas(postgres, shop) == []
    assert contents(postgres, shop) == live
    assert "Dropped" in admin.get(side.get_absolute_url()).content.decode()


@pytest.mark.parametrize("step", [2, 4, 5, 7])
def test_killed_in_any_step_it_leaves_the_live_tables_and_no_half_schema(
    server: Server, shop: str, taken: Callable[..., Backup], postgres: Postgres, step: int
) -> None:
    backup = taken()
    live = contents(postgres, shop)
    run = queue(
        server, "restore_tables", {"backup": backup.pk, "tables": "odd name, months", "database": shop}
    )
    process = worker(run)
    when(lambda: process.poll() is not None or Run.objects.get(pk=run.pk).step >= step)
    if process.poll() is None:
        run = died(run, process)
    assert contents(postgres, shop) == live
    kept = SideSchema.objects.values_list("name", flat=True)
    assert schemas(postgres, shop) == sorted(kept)
    with postgres.connect(shop) as connection:
        left = "select count(*) from pg_database where datname like %s"
        assert connection.execute(left, [f"{shop}\\_\\_restore%"]).fetchone() == (0,)
    backup.refresh_from_db()
    assert not backup.is_leased


def test_what_cannot_begin_is_refused_with_its_reason(
    server: Server, shop: str, taken: Callable[..., Backup], postgres: Postgres
) -> None:
    wanted = {"backup": taken().pk, "tables": "nothing", "database": shop}
    assert refusal(server, "restore_tables", **wanted) == (
        "The backup holds no table nothing. Write it as schema.table."
    )
    assert refusal(server, "restore_tables", **{**wanted, "tables": "months", "database": "nowhere"}) == (
        "There is no database nowhere on shop."
    )
    assert refusal(server, "restore_tables", **{**wanted, "tables": "months", "database": "template1"}) == (
        "template1 is a template: every new database would get these tables."
    )
    assert refusal(server, "restore_tables", **{**wanted, "tables": "months", "schema": "public"}) == (
        f"{shop} cannot have a new schema public: the name is taken."
    )


def test_a_clean_up_drops_no_schema_that_somebody_else_made(
    server: Server, shop: str, postgres: Postgres
) -> None:
    with postgres.connect(shop) as connection:
        connection.execute("create schema restored_by_hand; create table restored_by_hand.kept (n int)")
    run = Run.objects.create(server=server, server_name="shop", operation="restore_tables")
    run.facts = {"side": "restored_by_hand", "side_database": shop}
    restoring_tables.clean_up(Work(run))
    assert schemas(postgres, shop) == ["restored_by_hand"]


def test_two_restores_that_begin_in_one_second_have_each_a_database_of_its_own(
    server: Server, shop: str, taken: Callable[..., Backup], postgres: Postgres
) -> None:
    backup, moment, made = taken(), timezone.now(), []
    for name in ("one", "two"):
        run = Run.objects.create(server=server, server_name="shop", operation="restore_backup", target=name)
        run.queued_at = moment
        job = plan_restore(server, backup)
        job.create(Work(run))
        made.append(job.scratch)
    assert len(set(made)) == 2
    with postgres.connect() as connection:
        for name in made:
            connection.execute(f'drop database "{name}"')


@pytest.fixture
def beside(shop: str, taken: Callable[..., Backup], run: Callable[..., Run]) -> SideSchema:
    """One table that was brought back, and its time is over."""
    done = run("restore_tables", backup=taken().pk, tables="parents", database=shop)
    assert done.status == Run.Status.SUCCEEDED, done.message
    side = SideSchema.objects.get()
    side.expires_at = timezone.now() - timedelta(hours=1)
    side.save()
    return side


def test_what_has_expired_goes_with_a_preview_and_a_record_and_may_be_kept_longer_until_then(
    beside: SideSchema, server: Server, run: Callable[..., Run], postgres: Postgres, shop: str,
    client_as: Callable[[str], Client],
) -> None:  # fmt: skip
    client = client_as("admin")
    page = client.get(beside.get_absolute_url()).content.decode()
    assert "No schedule drops it: it stays until somebody does." in page
    assert client.get("/schedules/add/?server=shop&operation=drop_expired_schemas").status_code == 200
    kept = run("keep_side_schema", side=beside.pk, hours=24)
    beside.refresh_from_db()
    assert kept.message == f"{beside} is kept until {timezone.localtime(beside.expires_at):%Y-%m-%d %H:%M}."
    assert timedelta(hours=23) < beside.expires_at - timezone.now() <= timedelta(hours=24)
    assert "Its time is over" not in client.get(beside.get_absolute_url()).content.decode()
    assert refusal(server, "drop_expired_schemas") == "No tables brought back on shop have expired."
    SideSchema.objects.update(expires_at=timezone.now())
    done = run("drop_expired_schemas")
    assert done.plan[0].splitlines() == [
        f"\\connect {shop}", "BEGIN;", "SET lock_timeout = '2s';", f'DROP TABLE "{beside.name}"."parents";',
        "SET lock_timeout = '2s';", f'DROP SCHEMA "{beside.name}";', "COMMIT;",
    ]  # fmt: skip
    assert (done.status, log_of(done)) == (
        Run.Status.SUCCEEDED,
        ["Committed 2 statements.", f"Dropped {beside}."],
    )
    assert schemas(postgres, shop) == []
    beside.refresh_from_db()
    assert beside.dropped_at


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ("create view public.seen as select id from {side}.parents", 'rule "_RETURN" on public.seen'),
        ("create table {side}.mine (n int)", "table {side}.mine"),
        ("create function {side}.f() returns int language sql as 'select 1'", "function {side}.f()"),
        ("create index handy on {side}.parents (name)", "index {side}.handy"),
        ("create table r (p int references {side}.parents)", "table constraint r_p_fkey on public.r"),
        ("create publication p for table {side}.parents", "publication relation {side}.parents in publication p"),
        ("comment on schema {side} is 'mine now'", "schema {side} (its comment is not ours)"),
    ],
)  # fmt: skip
def test_what_somebody_else_put_there_or_hung_on_it_is_named_and_nothing_is_dropped(
    made: str,
    what: str,
    beside: SideSchema,
    server: Server,
    run: Callable[..., Run],
    postgres: Postgres,
    shop: str,
) -> None:
    with postgres.connect(shop) as connection:
        connection.execute(made.format(side=beside.name))
    reason = f"this is not ours, and is in it or depends on it: {what.format(side=beside.name)}"
    done = run("drop_expired_schemas")
    assert done.plan == [f"-- {beside} stays: {reason}."]
    assert (done.status, log_of(done)) == (Run.Status.SUCCEEDED, [f"{beside} stays: {reason}."])
    assert refusal(server, "drop_side_schema", side=beside.pk) == (
        f"{beside.name} is not dropped: {reason}. Drop or move that first."
    )
    assert schemas(postgres, shop) == [beside.name]
    beside.refresh_from_db()
    assert beside.dropped_at is None


def test_one_that_somebody_reads_keeps_no_other_from_going(
    beside: SideSchema, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, shop: str
) -> None:
    assert (
        run("restore_tables", backup=beside.backup_id, tables="months", database=shop).status == "succeeded"
    )
    SideSchema.objects.update(expires_at=timezone.now())
    other = SideSchema.objects.exclude(pk=beside.pk).get()
    with postgres.connect(shop) as connection, connection.transaction():
        connection.execute(f"select from {beside.name}.parents")
        done = run("drop_expired_schemas")
    assert done.status == Run.Status.SUCCEEDED, done.message
    waited = (
        f"{beside} stays: Canceling statement due to lock timeout. Somebody holds a lock on it for long: the locks "
        "page says who. This step changed nothing."
    )
    assert sorted(log_of(done)) == ["Committed 2 statements.", f"Dropped {other}.", waited]
    assert schemas(postgres, shop) == [beside.name]


def test_they_are_compared_again_when_the_live_ones_changed(
    beside: SideSchema, run: Callable[..., Run], postgres: Postgres, shop: str
) -> None:
    comparison = RowComparison.objects.get()
    with postgres.connect(shop) as connection:
        connection.execute('delete from "odd name"; delete from parents where id > 40')
    done = run("compare_side_schema", side=beside.pk)
    assert (done.status, done.message) == (Run.Status.SUCCEEDED, "10 rows differ in 1 table.")
    assert RowComparison.objects.get(pk=comparison.pk).missing == 10  # its address stays


def test_a_table_whose_name_holds_a_comma_comes_back_by_its_button(
    server: Server, shop: str, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres,
    client_as: Callable[[str], Client],
) -> None:  # fmt: skip
    with postgres.connect(shop) as connection:
        connection.execute('create schema "s, t"; create table "s, t"."a, b" (id int primary key)')
    backup = taken()
    page = client_as("admin").get(backup.get_absolute_url()).content.decode()
    assert f"do/restore_tables/?backup={backup.pk}&amp;tables=s%2C+t.a%2C+b" in page
    done = run("restore_tables", backup=backup.pk, tables="s, t.a, b\nparents, months", database=shop)
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert done.message == "0 rows differ in 3 tables."


def test_a_drop_gives_up_soon_where_somebody_reads_what_it_drops(
    beside: SideSchema, run: Callable[..., Run], postgres: Postgres, shop: str
) -> None:
    with postgres.connect(shop) as reader:
        # Without a limit the drop would wait for as long as this lasts.
        reader.execute("set idle_in_transaction_session_timeout = '20s'")
        reader.execute("begin")
        reader.execute(f"table {beside.name}.parents")
        done = run("drop_side_schema", side=beside.pk)
        assert reader.execute("select 1").fetchone() == (1,)
    said = (
        "Step 1 of 2 failed: Canceling statement due to lock timeout. Somebody holds a lock on it for long: the locks "
        "page says who. This step changed nothing."
    )
    assert (done.status, done.message) == (Run.Status.FAILED, said)
    assert schemas(postgres, shop) == [beside.name]
    assert run("drop_side_schema", side=beside.pk).status == Run.Status.SUCCEEDED
