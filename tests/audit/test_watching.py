"""To watch and to stop watching: what is chosen, what is refused, who may, and that no change is lost meanwhile."""

from urllib.parse import parse_qs, urlsplit

import pytest

from audit.gaps import find_gaps
from audit.operations.ensure_partitions import EnsurePartitions
from audit.operations.unwatch_table import UnwatchTable
from audit.operations.watch_schema import WatchSchema
from audit.operations.watch_table import WatchTable
from dbadmin.connections import Session
from dbadmin.operations import Refused
from dbadmin.runs import undo_url
from tests.audit.conftest import Watcher, inserted_by_others, letters
from tests.carrying_out import carry_out, operation

pytestmark = pytest.mark.servers


def test_stops_watching_and_keeps_the_log(items, execute):
    execute("insert into items values (1, 'a')")
    items.run(UnwatchTable(items.server, items.params("items")).plan())
    execute("insert into items values (2, 'b')")
    assert letters(items) == "I1"
    items.watch("items")
    execute("insert into items values (3, 'c')")
    assert [s.operation for s in items.statements(table="items")] == ["I", "I"]


def test_watches_a_schema(audit, execute):
    execute(
        "create table a (id int primary key, password text); create table b (id int); create view v as select 1 as x"
    )
    audit.run(WatchSchema(audit.server, {"schema": "public", "leave_out": "b"}).plan())
    execute("insert into a values (1, 'geheim'); insert into b values (1)")
    (change,) = audit.changes()
    assert change.new["password"].startswith("masked:")


def test_what_was_previewed_is_previewed_again_after_a_fresh_proof_of_who_sits_there(
    audit, execute, client_as
):
    """The choices that stood there by default went: rules of before were dropped, updates that change nothing kept."""
    execute("create table a (id int primary key, token text)")
    client = client_as("admin")
    page = client.get(f"/servers/{audit.server.name}/do/watch_table/", {"table": "a"})
    (back,) = parse_qs(urlsplit(page.context["reauthenticate_url"]).query)["next"]
    again = client.get(back)
    assert page.context["form"].cleaned_data["keep_rules"] is True
    assert again.context["form"].cleaned_data == page.context["form"].cleaned_data
    assert again.context["plan_digest"] == page.context["plan_digest"]
    unticked = client.get(f"/servers/{audit.server.name}/do/watch_table/?schema=public&table=a&preview=1")
    (back,) = parse_qs(urlsplit(unticked.context["reauthenticate_url"]).query)["next"]
    assert client.get(back).context["form"].cleaned_data["keep_rules"] is False


def test_watches_only_the_tables_that_are_named(audit, execute):
    execute("create table a (id int); create table b (id int); create table c (id int)")
    audit.run(WatchSchema(audit.server, {"schema": "public", "only": "a, c"}).plan())
    assert [table.name for table in audit.state.active()] == ["a", "c"]
    with pytest.raises(Refused) as refusal:
        WatchSchema(audit.server, {"schema": "public", "only": "b, bb"}).plan()
    assert str(refusal.value) == "public on shop has no table bb that can be watched."


def test_the_run_says_how_many_tables_are_watched_now(server, target):
    target.rows("create table a (id int); create table b (id int); create table c (id int)")
    for params, says in (
        ({"only": "a"}, "1 table is watched from now on; before, 0 of 1 were."),
        ({}, "2 tables are watched from now on; before, 1 of 3 were."),
    ):
        run = carry_out(operation("watch_schema", server, schema="public", **params))
        assert (run.status, run.message) == ("succeeded", says)


def test_a_schedule_that_finds_all_partitions_there_has_succeeded(items):
    (step,) = EnsurePartitions(items.server, {"months": 2}).plan()
    assert str(step) == "All partitions are there: nothing is to be done"


@pytest.mark.parametrize(
    "table, message",
    [
        ("nothing", "There is no table public.nothing on shop."),
        ("v", "public.v is a view. Watch the tables that its rows come from."),
        ("items", "public.items is watched already, with these choices."),
        ("pg_catalog.pg_class", "pg_catalog.pg_class belongs to the system."),
    ],
)
def test_refuses(items, execute, table, message):
    execute("create view v as select 1 as x")
    with pytest.raises(Refused) as refusal:
        WatchTable(items.server, items.params(table)).plan()
    assert str(refusal.value) == message


def test_choices_are_changed_under_load_without_a_lost_change(items, postgres, target):
    with inserted_by_others(postgres, target) as counts:
        for setting in ("app.a", "app.b", "app.c"):
            items.watch("items", user_setting=setting)
    assert sum(counts) > 0
    assert len(items.told()) == sum(counts)


def test_needs_no_superuser(audit, execute, postgres, target):
    execute(f"create role plain login password '{postgres.password}'")
    try:
        execute(f'grant create on database "{target.database}" to plain')
        execute("grant create on schema public to plain")
        with postgres.connect(target.database, "plain") as connection:
            connection.execute("create table mine (id int primary key, name text)")
            audit.server.seal_dsn("operate_dsn", postgres.dsn_for(target.database, "plain"))
            audit.server.save()
            Watcher(audit.server, Session(connection)).watch("mine")
            connection.execute("insert into mine values (1, 'a')")
            assert Watcher(audit.server, Session(connection)).told() == [
                ("insert", None, {"id": "1", "name": "a"})
            ]
            assert find_gaps(Session(connection).rows) == []
    finally:
        execute("drop owned by plain cascade; drop role plain")


def test_a_restored_copy_keeps_its_secrets_and_is_taken_up_again(audit, execute):
    execute("create table people (id int primary key, pin text, token text)")
    audit.watch("people", excluded="pin", masked="token")
    # What a dump and a restore do: other numbers of tables and columns.
    execute(
        'update dbadmin_audit.watched set relid = 1, choices = choices || \'{"rules": {"77": "excluded"}}\''
    )
    execute("alter table people add more int")
    execute("insert into people values (1, 'planted', 'planted')")
    assert "planted" not in str(execute("select * from dbadmin_audit.loose").fetchall())
    audit.watch("people", excluded="pin", masked="token")
    execute("insert into people values (2, 'planted', 'planted')")
    assert [new["id"] for _, _, new in audit.told()] == ["1", "2"]
    assert audit.statements()[-1].shape_id == 2


def test_rules_stay_when_capture_is_renewed_and_go_when_told(audit, execute):
    execute("create table people (id int primary key, pin text)")
    audit.watch("people", masked="pin")
    execute("alter table people rename pin to code")
    execute("alter table people add more int")
    audit.watch("people")
    execute("insert into people values (1, 'planted')")
    audit.watch("people", keep_rules=False)
    execute("insert into people values (2, 'open')")
    first, second = audit.changes()
    assert first.new["code"].startswith("masked:")
    assert second.new["code"] == "open"


def test_a_renamed_table_keeps_its_log_and_is_watched_anew_and_no_more_by_its_new_name(items, execute):
    execute("insert into items values (1, 'a')")
    execute("alter table items rename to goods")
    execute("insert into goods values (2, 'b')")
    with pytest.raises(Refused) as refusal:
        UnwatchTable(items.server, items.params("items")).plan()
    assert str(refusal.value) == "public.items is called public.goods now. Choose it by that name."
    (gap,) = find_gaps(items.session.rows)
    assert (gap.table, gap.state, gap.problem) == (
        "goods", "warning", "The log still calls it public.items: watch it again, so that it has its name of today",
    )  # fmt: skip
    items.watch("goods")
    assert find_gaps(items.session.rows) == []
    execute("insert into goods values (3, 'c')")
    assert letters(items, table="public.goods") == "I1 A0 I1 I1"
    assert [table.name for table in items.state.active()] == ["goods"]
    items.run(UnwatchTable(items.server, items.params("goods")).plan())
    execute("insert into goods values (4, 'd')")
    assert letters(items, table="public.goods") == "I1 A0 I1 I1"


def test_a_new_table_of_the_old_name_has_a_log_of_its_own(items, execute):
    execute("insert into items values (1, 'a')")
    execute("alter table items rename to goods")
    execute("create table items (id int primary key, name text)")
    items.watch("items")
    execute("insert into items values (1, 'new')")
    execute("insert into goods values (2, 'b')")
    assert [statement.watched_id for statement in items.statements(operation="insert")] == [1, 2, 1]
    with pytest.raises(Refused) as refusal:
        WatchSchema(items.server, {"schema": "public"}).plan()
    assert str(refusal.value) == "All 2 tables of public are watched already."


def test_a_former_partition_is_watched_as_a_table_of_its_own(audit, execute):
    execute("create table orders (id int) partition by list (id)")
    execute("create table one partition of orders for values in (1)")
    audit.watch("orders")
    execute("alter table orders detach partition one")
    audit.watch("one")
    execute("insert into one values (1)")
    (statement,) = audit.statements(operation="insert")
    assert audit.state.watched[statement.watched_id].name == "one"
    assert [str(table) for table in audit.state.active()] == ["public.orders", "public.one"]


def test_watching_is_taken_back_by_stopping_and_stopping_by_watching(audit, server, execute):
    """Their triggers alone would leave a table that is said to be watched, or said to be watched again."""
    execute("create table first (id int); create table items (id int)")
    audit.watch("first")
    place = {"schema": "public", "table": "items"}
    began = carry_out(operation("watch_table", server, **place))
    assert undo_url(began).endswith("/do/unwatch_table/?schema=public&table=items&preview=1")
    changed = carry_out(operation("watch_table", server, **place, query_text=True))
    assert (changed.status, undo_url(changed)) == ("succeeded", "")
    ended = carry_out(operation("unwatch_table", server, **place))
    assert undo_url(ended).endswith("/do/watch_table/?schema=public&table=items&preview=1")
    several = carry_out(operation("watch_schema", server, schema="public", leave_out="first"))
    assert (several.status, undo_url(several)) == ("succeeded", "")
