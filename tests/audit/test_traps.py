"""Further traps of trigger capture: none makes a write fail, loses a change, or seals too early."""

import psycopg
import pytest

from audit.gaps import find_gaps
from audit.operations.unwatch_table import UnwatchTable
from audit.operations.watch_table import WatchTable
from audit.sealing import seal_next
from dbadmin import runs
from dbadmin.models import Run
from dbadmin.operations import Refused
from tests.audit.conftest import letters
from tests.carrying_out import carry_out, operation

pytestmark = pytest.mark.servers


def test_a_prepared_transaction_is_sealed_once_it_is_committed(items, execute, target, server):
    execute("insert into items values (1, 'a')")
    execute("begin")
    execute("insert into items values (2, 'b')")
    execute(f"prepare transaction 'half_{target.database}'")
    execute("insert into items values (3, 'c')")
    assert seal_next(target.connection, server).statements == 1
    assert seal_next(target.connection, server) is None
    execute(f"commit prepared 'half_{target.database}'")
    assert seal_next(target.connection, server).statements == 2
    assert [new["id"] for _, _, new in items.told()] == ["1", "2", "3"]


def test_statements_that_touch_no_row_leave_nothing(items, execute):
    execute("update items set name = 'x'")
    execute("delete from items")
    execute("insert into items select 1, 'a' where false")
    assert items.statements() == []


def test_what_a_trigger_of_the_owner_made_of_a_row_is_what_is_recorded(items, execute):
    execute("""create function shout() returns trigger language plpgsql
               as 'begin new.name := upper(new.name); return new; end'""")
    execute("create trigger a before insert or update on items for each row execute function shout()")
    execute("insert into items values (1, 'a')")
    execute("update items set name = 'b'")
    assert items.told() == [
        ("insert", None, {"id": "1", "name": "A"}),
        ("update", {"id": "1", "name": "A"}, {"id": "1", "name": "B"}),
    ]


def test_the_text_of_a_statement_is_kept_once_and_not_without_end(audit, execute):
    execute("create table items (id int primary key, name text)")
    audit.watch("items", query_text=True)
    asked = "insert into items select n, 'x' from generate_series(1, 500) n"
    execute(asked)
    execute(f"delete from items /* {'long ' * 2000} */")
    first, second = audit.statements()
    assert (first.images, first.query) == (500, asked)
    assert (second.images, len(second.query)) == (500, 4000)


ODD_JSON = {
    "a sign that text cannot hold": r'{"a": "\u0000"}',
    "a number that numeric cannot hold": '{"a": 1e200000}',
}


@pytest.mark.parametrize("altered", [False, True], ids=["typed", "kept whole"])
@pytest.mark.parametrize("odd", ODD_JSON)
def test_json_that_jsonb_does_not_take_fails_no_write_and_is_kept_as_it_was_written(
    audit, execute, odd, altered
):
    execute("create table papers (id int primary key, paper json, papers json[])")
    audit.watch("papers")
    if altered:
        execute("alter table papers add more text")
    execute("insert into papers values (1, %s, array[%s::json])", [ODD_JSON[odd], ODD_JSON[odd]])
    execute("update papers set id = 2")
    insert, update = audit.told()
    listed = execute("select papers::text from papers").fetchone()[0]
    assert (insert[2]["paper"], insert[2]["papers"]) == (ODD_JSON[odd], listed)
    assert (update[1]["paper"], update[2]["paper"]) == (ODD_JSON[odd], ODD_JSON[odd])


def test_json_that_was_kept_whole_is_found_by_a_path_into_it(audit, execute):
    execute("create table papers (id int primary key, paper json)")
    audit.watch("papers")
    execute("alter table papers add more text")
    execute('insert into papers values (1, \'{"a": {"b": "x"}}\')')
    found = audit.statements(table="public.papers", of="paper", path="a.b", value="x", how="equals")
    assert [one.images for one in found] == [1]


@pytest.mark.parametrize(
    ("paper", "path"),
    [
        ('{"a.b": "x"}', '"a.b"'),
        ('{"a": {"b[0].c": ["x"]}}', 'a."b[0].c"[0]'),
        ('{"say \\"hi\\"": "x"}', '"say \\"hi\\""'),
        ('{"\\"": "x"}', '"'),
    ],
)
def test_a_path_of_json_is_found_as_the_page_of_a_change_writes_it(audit, execute, paper, path):
    execute("create table papers (id int primary key, paper jsonb)")
    audit.watch("papers")
    execute("insert into papers values (1, %s), (2, '{}')", [paper])
    found = audit.statements(table="public.papers", of="paper", path=path, value="x", how="equals")
    assert [one.images for one in found] == [2]


def test_json_that_lies_deep_hides_no_page_of_the_log(audit, execute, client_as):
    execute("create table papers (id int primary key, paper jsonb)")
    audit.watch("papers")
    execute("insert into papers values (1, '{}')")
    for end in "12":
        execute(f"update papers set paper = (repeat('[', 3000) || '{end}' || repeat(']', 3000))::jsonb")
    client = client_as("auditor")
    found = audit.statements(table="public.papers", operation="update")
    for address in (
        "",
        f"statement/{found[0].id}/",
        f"statement/{found[0].id}/1/",
        "row/public.papers/?key=1",
    ):
        answer = client.get(f"/servers/{audit.server.name}/audit/{address}")
        assert answer.status_code == 200, address


def test_a_path_is_followed_into_json_beside_what_jsonb_refuses(audit, execute):
    execute("create table papers (id int primary key, paper json)")
    audit.watch("papers")
    for number, text in enumerate(
        (
            r'{"city": "Basel", "other": "\u0000"}', r'{"city": "Basel", "other": "\ud800"}',
            '{"city": "Basel", "other": 1e400000}', f'{{"city": "Basel", "other": {"9" * 140_000}}}',
            r'{"city": "Bern", "other": "\ud83d\ude00 Basel"}', '{"city": "Basel"}', r'{"city": "Chur", "x": "\u0000"}',
        )
    ):  # fmt: skip
        execute("insert into papers values (%s, %s)", [number, text])
    for how in ("equals", "contains"):
        found = audit.statements(table="public.papers", of="paper", path="city", value="Basel", how=how)
        assert [one.id for one in found] == [one.id for one in audit.statements()[:4]] + [
            audit.statements()[5].id
        ]


def test_a_table_with_foreign_tables_below_it_is_not_watched_since_its_writes_would_fail(
    audit, execute, target
):
    here = target.connection.info
    execute("create extension postgres_fdw; create table there (id int)")
    where = f"host '{here.host}', port '{here.port}', dbname '{here.dbname}'"
    execute(f"create server far foreign data wrapper postgres_fdw options ({where})")
    execute(
        f"create user mapping for public server far options (user 'postgres', password '{here.password}')"
    )
    execute("create table orders (id int) partition by list (id)")
    execute("create table here partition of orders for values in (1)")
    execute("create table deep partition of orders for values in (2, 3) partition by list (id)")
    audit.watch("orders")
    execute(
        "create foreign table away partition of deep for values in (2) server far options (table_name 'there')"
    )
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot collect transition tuples"):
        execute("insert into orders values (2)")
    (gap,) = find_gaps(audit.session.rows)
    assert (gap.state, gap.table, gap.remedy) == ("critical", "orders", "unwatch_table")
    assert gap.problem == (
        "The foreign table public.away lies below it: PostgreSQL does not tell triggers what is written there, and "
        "refuses such writes through this table"
    )
    audit.run(UnwatchTable(audit.server, audit.params("orders")).plan())
    assert find_gaps(audit.session.rows) == []
    with pytest.raises(Refused) as refusal:
        audit.watch("orders")
    assert str(refusal.value) == (
        "public.orders has foreign tables below it: public.away. PostgreSQL does not tell triggers what is written "
        "there, and refuses it: such writes through public.orders would fail. Detach them first, and watch what they "
        "lead to on its own server."
    )
    execute("drop foreign table away")
    audit.watch("orders")
    execute("insert into orders values (1)")
    assert letters(audit, operation="insert") == "I1"


def test_nobody_seals_while_another_does(items, server):
    first = runs.start(operation("seal_log", server), None, Run.Door.COMMAND)
    with pytest.raises(Refused) as refusal:
        runs.start(operation("seal_log", server), None, Run.Door.COMMAND)
    assert str(refusal.value).startswith(f"Run {first.pk} is queued with the same: ")


KINDS = {
    "foreign": (
        "create foreign table odd (id int) server far",
        "a foreign table. Watch the tables that its rows come from.",
    ),
    "materialized": (
        "create materialized view odd as select 1 as id",
        "a materialized view. Watch the tables that its rows come from.",
    ),
    "sequence": ("create sequence odd", "a sequence. Watch the tables that its rows come from."),
    "partition": (
        "create table whole (id int) partition by list (id); create table odd partition of whole for values in (1)",
        "a partition. Watch the table that it belongs to: its partitions come along.",
    ),
    "bare": ("create table odd ()", "no columns."),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_rows_of_its_own_to_record_is_refused_with_the_way_round(items, execute, kind):
    statement, says = KINDS[kind]
    execute("create foreign data wrapper nothing; create server far foreign data wrapper nothing")
    execute(statement)
    with pytest.raises(Refused) as refusal:
        WatchTable(items.server, items.params("odd")).plan()
    assert str(refusal.value) == f"public.odd {'has' if kind == 'bare' else 'is'} {says}"


def test_a_table_that_somebody_writes_to_is_not_waited_for_long(audit, execute, postgres, target, server):
    execute("create table items (id int primary key, name text)")
    with postgres.connect(target.database) as other, other.transaction():
        other.execute("insert into items values (1, 'a')")
        done = carry_out(operation("watch_table", server, schema="public", table="items"))
    assert done.status == "failed"
    assert execute("select count(*) from pg_trigger where tgrelid = 'items'::regclass").fetchone()[0] == 0
    execute("insert into items values (2, 'b')")
