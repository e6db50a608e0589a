"""Rows of a backup are copied into the live table all or none, and taken back as long as nobody wrote to them since."""

from collections.abc import Callable

import pytest
from django.test import Client

from backups.models import Backup, RowComparison, SideSchema, expiry
from dbadmin.connections import Session
from dbadmin.models import Run, Server
from tests.backups.conftest import queue
from tests.backups.test_faults import died, refusal, when, worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

TABLES = """
create type mood as enum ('good', 'bad');
create table parents (id int primary key);
insert into parents values (1), (2);
create table people (
    id int generated always as identity primary key, name varchar(9), mood mood, tags text[], doc json, raw bytea,
    price numeric(12, 3), parent int references parents, shout text generated always as (upper(name)) stored);
insert into people (name, mood, tags, doc, raw, price, parent)
select 'n' || n, 'good', array['a,b', null], '{"a" : 1}', '\\x00ff', n / 3.0, 1 from generate_series(1, 6) n;
create schema side;
create table side.people as select id, name, mood::text, tags, doc, raw, price, parent, shout from people;
alter table side.people add primary key (id);
update people set name = 'wrong', doc = 'null', raw = null where id in (1, 2);
delete from people where id in (3, 4);
"""
ROWS = "select array_agg(p::text order by id) from people p"
ALL = "select array_agg(s::text order by id) from side.people s"


@pytest.fixture
def people(target: Session, server: Server, database: str, run: Callable[..., Run]) -> RowComparison:
    """Two rows changed, two missing, against what lies beside."""
    target.connection.execute(TABLES)
    table = {"schema": "public", "name": "people", "side": "people", "rows": 6}
    side = SideSchema.objects.create(
        server=server, database=database, name="side", label="a backup", tables=[table], expires_at=expiry(1)
    )
    done = run("compare_side_schema", side=side.pk)
    assert (done.status, done.message) == (Run.Status.SUCCEEDED, "4 rows differ in 1 table.")
    return RowComparison.objects.get()


def test_rows_come_back_and_are_taken_back_except_those_written_since(
    people: RowComparison, target: Session, run: Callable[..., Run]
) -> None:
    before = target.value(ROWS)
    done = run("copy_rows", comparison=people.pk, kind="both")
    assert (done.status, done.message) == (
        Run.Status.SUCCEEDED,
        "4 rows of public.people are as in the backup.",
    )
    assert "UPDATE public.people: 2 rows\nINSERT INTO public.people: 2 rows" in done.plan[0]
    assert target.value(ROWS) == target.value(ALL)
    target.connection.execute("update people set name = 'later' where id = 2")
    undone = run("undo_copy_rows", run=done.pk)
    assert undone.message == "3 rows of public.people are as before the copy, 1 was left as it is."
    assert "Left as it is, since it was changed after the copy: 2" in [
        line.text for line in undone.lines.all()
    ]
    rows = target.value(ROWS)
    assert [rows[0], *rows[2:]] == [before[0], *before[2:]]
    assert "later" in rows[1]
    dropped = run("drop_side_schema", side=people.side_id)
    assert dropped.status == Run.Status.SUCCEEDED, dropped.message
    assert target.value("select to_regnamespace('side')::text") is None


def test_only_named_rows_are_copied(people: RowComparison, target: Session, run: Callable[..., Run]) -> None:
    done = run("copy_rows", comparison=people.pk, kind="missing", keys="4")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert target.value("select array_agg(id order by id) from people") == [1, 2, 4, 5, 6]


def test_rows_are_ticked_on_the_page_of_differences(
    people: RowComparison, server: Server, run: Callable[..., Run], client_as: Callable[[str], Client]
) -> None:
    client = client_as("admin")
    page = client.get(people.get_absolute_url()).content.decode()
    assert 'aria-label="Copy 4 back"' in page
    ticked = [row.pk for row in people.differences.filter(key__in=[["1"], ["4"]])]
    address = f"/servers/{server}/do/copy_rows/"
    given = {"comparison": people.pk, "kind": "both", "rows": ticked, "preview": "1"}
    preview = client.get(address, given).content.decode()
    assert "UPDATE public.people: 1 row" in preview
    assert "INSERT INTO public.people: 1 row" in preview
    assert preview.count('name="rows"') == 4  # kept in the form and in what is confirmed
    people.differences.all().delete()
    assert (
        "2 of the ticked rows are not listed any more: the tables were compared anew. Tick them again."
        in client.get(address, given).content.decode()
    )
    assert (
        'type="checkbox" name="rows"'
        not in client_as("operator").get(people.get_absolute_url()).content.decode()
    )


def test_a_table_that_is_gone_is_told_and_its_rows_are_not_shown_as_if_they_were_empty(
    people: RowComparison, target: Session, database: str, client_as: Callable[[str], Client]
) -> None:
    target.connection.execute(
        "alter schema side rename to elsewhere"
    )  # as after a restore in the database's place
    page = client_as("admin").get(people.get_absolute_url(), {"kind": "changed"}).content.decode()
    says = "any more: it was dropped, or the database is another since a restore."
    assert f"There is no table side.people in {database} {says}" in page
    assert "wrong" not in page
    target.connection.execute("alter schema elsewhere rename to side; drop table people")
    page = client_as("admin").get(people.get_absolute_url(), {"kind": "changed"}).content.decode()
    assert f"There is no table public.people in {database} {says}" in page


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ("delete from people; delete from parents", "2 rows of public.people went since the comparison."),
        ("update side.people set parent = 9", "violates foreign key constraint"),
        (("create function no() returns trigger language plpgsql as 'begin return null; end';"
         "create trigger no before insert on people for each row execute function no()"), "could be written"),
        ("update people set price = 7 where id = 2", "since the comparison, and would lose that: 2. Compare it anew"),
        ("alter table people drop column shout", "people has no column shout any more"),
        ("update side.people set mood = 'awful'", "invalid input value for enum"),
    ],
)  # fmt: skip
def test_what_cannot_be_copied_whole_is_not_copied_at_all(
    trouble: str, says: str, people: RowComparison, target: Session, run: Callable[..., Run]
) -> None:
    target.connection.execute(trouble)
    before = target.value(ROWS)
    done = run("copy_rows", comparison=people.pk, kind="both")
    assert done.status == Run.Status.FAILED
    assert says in done.message
    assert target.value(ROWS) == before
    assert target.value("select count(*) from pg_tables where schemaname = 'side'") == 1


def test_a_worker_killed_while_it_copies_leaves_the_live_table_as_it_was(
    people: RowComparison, target: Session, server: Server
) -> None:
    before = target.value(ROWS)
    slow = "create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(600); return new; end';"
    target.connection.execute(
        slow + "create trigger slow before insert on people for each row execute function slow()"
    )
    made = queue(server, "copy_rows", {"comparison": people.pk, "kind": "both"})
    process = worker(made)
    when(lambda: target.value("select count(*) from pg_stat_activity where wait_event = 'PgSleep'"))
    assert died(made, process).status == Run.Status.LOST
    assert target.value(ROWS) == before


def test_what_cannot_begin_is_refused(people: RowComparison, server: Server) -> None:
    said = refusal(server, "copy_rows", comparison=people.pk, kind="missing", keys="1")
    assert said == "No such row differs in this way: 1."


def test_a_comparison_that_does_not_know_how_the_rows_were_copies_over_none(
    people: RowComparison, server: Server
) -> None:
    people.differences.update(live_mark=None)
    RowComparison.objects.update(changed_marks=None)
    assert refusal(server, "copy_rows", comparison=people.pk, kind="both") == (
        "public.people was compared by an earlier version, which did not keep how the rows were: who changed one since "
        "would lose that. Compare it again."
    )


SALES = """
create domain cents as numeric(12, 2) check (value >= 0);
create table sales (
    region text, at date, n bigint generated always as identity, amount cents, note text default 'none',
    gross numeric generated always as (amount * 1.2) stored, primary key (region, at, n)) partition by list (region);
create table sales_north partition of sales for values in ('north') partition by range (at);
create table sales_north_old partition of sales_north for values from (minvalue) to ('2026-01-01');
create table sales_north_new partition of sales_north for values from ('2026-01-01') to (maxvalue);
create table sales_rest partition of sales default;
insert into sales (region, at, amount)
select (array['north', 'south', 'o''dd'])[g % 3 + 1], date '2025-06-01' + g % 400, g from generate_series(1, 12000) g;
create table seen (operation text, n bigint);
create function see() returns trigger language plpgsql as $$ begin
    insert into seen values (tg_op, coalesce(new.n, old.n)); return coalesce(new, old); end $$;
create trigger see after insert or update or delete on sales for each row execute function see();
"""
SUM = "select md5(string_agg(s::text, '|' order by n)) from sales s"


def test_all_rows_that_differ_are_copied_in_one_step_also_those_that_are_not_listed(
    target: Session, server: Server, database: str, run: Callable[..., Run], taken: Callable[..., Backup]
) -> None:
    """Of a table in partitions of partitions, with a key of three columns, one of them an identity, and a trigger."""
    target.connection.execute(SALES)
    backup, whole = taken(), target.value(SUM)
    target.connection.execute(
        "delete from sales where n <= 10500; update sales set note = null where n > 11900"
    )
    broken = target.value(SUM)
    assert run("restore_tables", backup=backup.pk, tables="sales", database=database).status == "succeeded"
    found = RowComparison.objects.get()
    assert (found.missing, found.changed, found.listed, found.key) == (
        10500,
        100,
        10000,
        ["region", "at", "n"],
    )
    target.connection.execute("truncate seen")
    done = run("copy_rows", comparison=found.pk, kind="both")
    assert (done.status, done.message) == (
        Run.Status.SUCCEEDED,
        "10\N{NARROW NO-BREAK SPACE}600 rows of public.sales are as in the backup.",
    )
    assert "Compared anew: 0 rows are not as in the backup." in [line.text for line in done.lines.all()]
    assert target.value(SUM) == whole
    assert target.rows("select operation, count(*) from seen group by 1 order by 1") == [
        ("INSERT", 10500), ("UPDATE", 100)
    ]  # fmt: skip
    found.refresh_from_db()
    assert (found.missing, found.changed, found.same) == (0, 0, 12000)
    undone = run("undo_copy_rows", run=done.pk)
    assert undone.status == Run.Status.SUCCEEDED, undone.message
    assert target.value(SUM) == broken


def test_rows_that_came_went_or_changed_since_the_comparison_stop_all_of_a_large_copy(
    target: Session, server: Server, database: str, run: Callable[..., Run], taken: Callable[..., Backup]
) -> None:
    target.connection.execute(SALES)
    backup = taken()
    target.connection.execute("delete from sales where n <= 10500")
    assert run("restore_tables", backup=backup.pk, tables="sales", database=database).status == "succeeded"
    target.connection.execute(
        "delete from sales where n = 11000; update sales set amount = 0 where n = 11001"
    )
    before, found = target.value(SUM), RowComparison.objects.get()
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.message == (
        "Nothing was copied: of public.sales 0 rows are changed and 10\N{NARROW NO-BREAK SPACE}501 missing now, 0 rows "
        "are changed and 10\N{NARROW NO-BREAK SPACE}500 missing at the comparison. Compare it anew."
    )
    assert target.value(SUM) == before
    target.connection.execute("update sales set note = 'other' where n > 11990")
    assert run("compare_side_schema", side=found.side_id).status == Run.Status.SUCCEEDED
    target.connection.execute("update sales set note = 'later' where n = 11995")
    assert run("copy_rows", comparison=found.pk, kind="both").message == (
        "Nothing was copied: somebody changed rows of public.sales since the comparison, and would lose that. "
        "Compare it anew, and look at them."
    )
    assert run("compare_side_schema", side=found.side_id).status == Run.Status.SUCCEEDED
    assert run("copy_rows", comparison=found.pk, kind="both").status == Run.Status.SUCCEEDED


def test_rows_of_tables_that_inherit_are_neither_copied_over_nor_in_the_way(
    target: Session, server: Server, database: str, run: Callable[..., Run], taken: Callable[..., Backup]
) -> None:
    target.connection.execute(
        "create table elder (id int primary key, t text); create table younger () inherits (elder)"
    )
    target.connection.execute(
        "insert into elder values (1, 'a'), (2, 'b'); insert into younger values (1, 'young')"
    )
    backup = taken()
    target.connection.execute(
        "update only elder set t = 'x' where id = 1; delete from only elder where id = 2"
    )
    target.connection.execute("insert into younger values (2, 'young')")
    assert run("restore_tables", backup=backup.pk, tables="elder", database=database).status == "succeeded"
    done = run("copy_rows", comparison=RowComparison.objects.get().pk, kind="both")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert target.rows("select id, t from only elder order by 1") == [(1, "a"), (2, "b")]
    assert target.rows("select id, t from younger order by 1") == [(1, "young"), (2, "young")]
    assert run("undo_copy_rows", run=done.pk).status == Run.Status.SUCCEEDED
    assert target.rows("select id, t from only elder") == [(1, "x")]
    assert target.rows("select id, t from younger order by 1") == [(1, "young"), (2, "young")]
