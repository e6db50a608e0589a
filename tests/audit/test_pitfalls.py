"""The traps of trigger capture, one test each."""

import threading

import psycopg
import pytest

from audit.gaps import find_gaps
from audit.operations.ensure_partitions import EnsurePartitions
from audit.operations.watch_table import WatchTable
from tests.audit.conftest import letters

pytestmark = pytest.mark.servers


def test_copy(items, target):
    with target.connection.cursor().copy("copy items from stdin") as copy:
        copy.write_row((1, "a"))
        copy.write_row((2, "b\tc"))
    assert [new for _, _, new in items.told()] == [{"id": "1", "name": "a"}, {"id": "2", "name": "b\tc"}]


def test_on_conflict(items, execute):
    execute("insert into items values (1, 'a')")
    execute("insert into items values (1, 'b'), (2, 'c') on conflict (id) do update set name = excluded.name")
    execute("insert into items values (1, 'z') on conflict do nothing")
    assert sorted(letters(items).split()) == ["I1", "I1", "U1"]


def test_merge(items, execute, target):
    if target.major < 15:
        pytest.skip("MERGE came with PostgreSQL 15")
    execute("insert into items values (1, 'a'), (2, 'b')")
    execute(
        "merge into items i using (values (1, 'x'), (2, null), (3, 'c')) v (id, name) on i.id = v.id"
        " when matched and v.name is null then delete when matched then update set name = v.name"
        " when not matched then insert values (v.id, v.name)"
    )
    assert sorted(letters(items).split()) == ["D1", "I1", "I2", "U1"]


def test_cascades_are_statements_of_the_same_transaction(items, execute):
    execute("create table parts (id int primary key, item int references items on delete cascade)")
    items.watch("parts")
    execute("insert into items values (1, 'a')")
    execute("insert into parts values (1, 1), (2, 1)")
    execute("delete from items")
    *_, first, second = items.statements()
    assert {first.operation, second.operation} == {"D"}
    assert first.xid == second.xid
    assert {first.images, second.images} == {1, 2}


def test_truncate_also_by_cascade(items, execute):
    execute("create table parts (id int primary key, item int references items)")
    items.watch("parts")
    execute("insert into items values (1, 'a')")
    execute("truncate items cascade")
    assert letters(items) == "I1 T0 T0"


def test_writable_ctes_touch_a_table_twice(items, execute):
    execute("insert into items values (1, 'a'), (2, 'b')")
    execute("with x as (update items set name = 'x' where id = 1) update items set name = 'y' where id = 2")
    assert sorted(new["name"] for kind, _, new in items.told() if kind == "update") == ["x", "y"]


def test_swapped_keys_are_paired_with_their_own_rows(items, execute):
    execute("create table pairs (id int primary key deferrable initially deferred, name text)")
    items.watch("pairs")
    execute("insert into pairs values (1, 'a'), (2, 'b')")
    execute("update pairs set id = 3 - id")
    told = sorted(
        (old["id"], old["name"], new["id"], new["name"]) for k, old, new in items.told() if k == "update"
    )
    assert told == [("1", "a", "2", "a"), ("2", "b", "1", "b")]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_changed_key_is_found_by_the_old_and_by_the_new_key(items, execute, rows):
    execute(f"insert into items select g, 'n' from generate_series(1, {rows}) g")
    execute("update items set id = id + 100")
    assert [s.operation for s in items.statements(table="items", key="1")] == ["I", "U"]
    assert [s.operation for s in items.statements(table="items", key="101")] == ["U"]


def test_rolled_back_changes_are_not_in_the_log(items, target):
    with target.connection.transaction(force_rollback=True):
        target.connection.execute("insert into items values (1, 'a')")
    with target.connection.transaction():
        target.connection.execute("insert into items values (2, 'b')")
        with target.connection.transaction(force_rollback=True):
            target.connection.execute("insert into items values (3, 'c')")
    assert [new["id"] for _, _, new in items.told()] == ["2"]


def test_the_same_row_three_times_in_one_transaction(items, target):
    with target.connection.transaction():
        target.connection.execute("insert into items values (1, 'a')")
        for name in "bcd":
            target.connection.execute("update items set name = %s", [name])
    assert [new["name"] for _, _, new in items.told()] == ["a", "b", "c", "d"]
    assert len({s.xid for s in items.statements()}) == 1


def test_partitions_written_through_the_parent_or_directly(audit, execute):
    execute("create table events (id int, at date, primary key (id, at)) partition by range (at)")
    execute("create table events_1 partition of events for values from ('2020-01-01') to ('2021-01-01')")
    audit.watch("events")
    execute("insert into events values (1, '2020-05-05')")
    execute("insert into events_1 values (2, '2020-05-05')")
    execute("create table events_2 partition of events for values from ('2021-01-01') to ('2022-01-01')")
    execute("insert into events_2 values (3, '2021-05-05')")
    execute("update events set at = at + 300 where id = 1")
    execute("truncate events_1")
    assert letters(audit) == "I1 I1 A0 A0 I1 U1 T0"
    assert find_gaps(audit.session.rows) == []


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_a_trigger_keeps_from_their_new_partition_are_recorded_as_gone(audit, execute, rows):
    execute("create table events (id int, at date, primary key (id, at)) partition by range (at)")
    execute("create table events_1 partition of events for values from ('2020-01-01') to ('2021-01-01')")
    execute("create table events_2 partition of events for values from ('2021-01-01') to ('2022-01-01')")
    execute("create function keep_back() returns trigger language plpgsql as 'begin return null; end'")
    execute("create trigger b before insert on events_2 for each row execute function keep_back()")
    audit.watch("events")
    execute(f"insert into events select g, '2020-05-05' from generate_series(1, {rows}) g")
    execute("update events set at = '2021-05-05'")
    assert execute("select count(*) from events").fetchone()[0] == 0
    gone = sorted(old["id"] for _, old, new in audit.told() if old and not new)
    assert gone == [str(number) for number in range(1, rows + 1)]


def test_odd_names(audit, execute):
    execute('create schema "Odd ""schema"')
    execute(
        'create table "Odd ""schema"."a.b; drop" ("select" int primary key, "x $capture$ y" text, "%s" int, "Ü" int)'
    )
    table = {"schema": 'Odd "schema', "table": "a.b; drop"}
    audit.run(WatchTable(audit.server, table).plan())
    execute('insert into "Odd ""schema"."a.b; drop" values (1, \'v\', 2, 3)')
    execute('update "Odd ""schema"."a.b; drop" set "%s" = 5')
    assert audit.told()[1] == (
        "update",
        {"select": "1", "x $capture$ y": "v", "%s": "2", "Ü": "3"},
        {"select": "1", "x $capture$ y": "v", "%s": "5", "Ü": "3"},
    )


VALUES = {
    "numeric": "'NaN'",
    "float8": "0.1::float8 + 0.2",
    "float4": "'infinity'",
    "timestamptz": "'-infinity'",
    "date": "'infinity'",
    "timestamp": "'0044-03-15 00:00:00 BC'",
    "interval": "'1 year -2 days 03:04:05.000006'",
    "bytea": r"'\x00ff'",
    "json": """'{"b": 1,  "a": 1, "a": 2}'""",
    "jsonb": "'{\"n\": 12345678901234567890.10}'",
    "text[]": "'{a,NULL,\"b c\"}'",
    "int4range": "'[1,5)'",
    "xml": "'<a/>'",
    "point": "'(1,2)'",
    "char(5)": "'ab'",
    "bit(3)": "B'101'",
    "inet": "'10.0.0.1/8'",
    "uuid": "'00000000-0000-0000-0000-000000000001'",
    "money": "'12.30'",
    "tsvector": "'a:1 b:2'",
    "bigint": "9223372036854775807",
    "mood": "'glad'",
    "pair": "row(1, 'x')",
    "posint": "5",
    "name": "'n'",
    '"char"': "'c'",
    "time": "'24:00:00'",
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_come_back_exactly(audit, execute, kind):
    execute("create type mood as enum ('glad', 'sad')")
    execute("create type pair as (a int, b text)")
    execute("create domain posint as int check (value > 0)")
    execute(f"create table t (id int primary key, v {kind})")
    audit.watch("t")
    execute("set datestyle = 'German'; set intervalstyle = 'iso_8601'; set timezone = 'Asia/Tokyo'")
    execute("set bytea_output = 'escape'; set extra_float_digits = 0")
    execute(f"insert into t values (1, {VALUES[kind]})")
    execute("reset all")
    ((_, _, new),) = audit.told()
    same = "v::text = %s::text" if kind in {"json", "xml", "point"} else f"v is not distinct from %s::{kind}"
    assert execute(f"select {same}, v::text from t", [new["v"]]).fetchone()[0]


def test_generated_identity_and_toasted_columns(audit, execute):
    made = "b int generated always as (a * 2) stored"
    execute(f"create table t (id int generated always as identity primary key, a int, {made}, big text)")
    audit.watch("t")
    execute("insert into t (a, big) values (2, repeat(md5('x'), 10000))")
    execute("update t set a = 3")
    _, update = audit.changes()
    assert (update.changed, update.new["b"], len(update.old["big"])) == (["a", "b"], "6", 320000)


def test_a_table_without_a_key(audit, execute):
    execute("create table t (a int, b json)")
    audit.watch("t")
    execute("insert into t values (1, '{}'), (1, '{}')")
    execute("update t set a = 2")
    assert letters(audit) == "I2 U2"


def test_a_very_long_key_does_not_fail_the_write(audit, execute):
    execute("create table t (k text primary key)")
    audit.watch("t")
    key = "".join(chr(97 + i * i % 26) for i in range(2600))
    execute("insert into t values (%s)", [key])
    assert [s.operation for s in audit.statements(table="t", key=key)] == ["I"]


def test_secrets_are_in_no_part_of_the_log(audit, execute, target):
    execute("create table people (id int primary key, name text, password text, token text, pin text)")
    audit.watch("people", excluded="password", hashed="token", masked="pin", query_text="")
    execute("insert into people values (1, 'a', 'planted-1', 'planted-2', 'planted-3')")
    execute("update people set token = 'planted-4', pin = 'planted-3', name = 'b'")
    execute("alter table people rename password to passphrase")
    execute("alter table people add more int")
    execute("update people set passphrase = 'planted-5', pin = 'planted-6'")
    execute("delete from people")
    tables = (
        "select oid::regclass::text from pg_class"
        " where relnamespace = 'dbadmin_audit'::regnamespace and relkind = 'r'"
    )
    for (name,) in execute(tables).fetchall():
        assert "planted" not in str(execute(f"select * from {name} t").fetchall())
    insert, update, *_ = audit.changes()
    assert sorted(insert.new) == ["id", "name", "pin", "token"]
    assert update.changed == ["name", "token"]


def test_a_user_without_any_right_on_the_log_can_write(items, execute):
    execute("create role somebody")
    try:
        execute("grant insert on items to somebody")
        execute("set role somebody")
        execute("insert into items values (1, 'a')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute("select * from dbadmin_audit.statement")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute("select dbadmin_audit.capture_1()")
        execute("reset role")
        (statement,) = items.statements()
        assert (statement.session_role, statement.set_role) == ("postgres", "somebody")
    finally:
        execute("reset role")
        execute("drop owned by somebody; drop role somebody")


def test_nobody_can_attach_the_capture_function_to_a_table_of_theirs(items, execute):
    execute("create role forger")
    try:
        execute("grant create on schema public to forger; set role forger")
        execute("create table forged (id int, name text)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(
                "create trigger t after insert on forged referencing new table as new_rows"
                " for each statement execute function dbadmin_audit.capture_1()"
            )
    finally:
        execute("reset role")
        execute("drop owned by forger; drop role forger")


def test_an_unset_application_user_is_nobody(items, target):
    with target.connection.transaction():
        target.connection.execute("set local app.current_user_id = '7'")
        target.connection.execute("insert into items values (1, 'a')")
    target.connection.execute("insert into items values (2, 'b')")
    assert [s.app_user for s in items.statements()] == ["7", None]


def test_ddl_is_recorded(items, execute):
    execute("alter table items add price numeric")
    execute("alter table items disable trigger user")
    assert [s.note for s in items.statements(operation="definition")] == ["ALTER TABLE public.items"] * 2


def test_a_dropped_table_keeps_its_log(items, execute):
    execute("insert into items values (1, 'a')")
    execute("drop table items")
    assert letters(items) == "I1 A0"
    assert items.told()[0][2] == {"id": "1", "name": "a"}
    execute("create table items (id text primary key)")
    items.watch("items")
    execute("insert into items values ('new')")
    assert [s.operation for s in items.statements(table="public.items")] == ["I", "A", "I"]


def test_disabled_triggers_altered_columns_and_forged_functions_are_gaps(items, execute):
    execute("alter table items disable trigger dbadmin_audit_update")
    execute("alter table items add more int")
    head = "create or replace function dbadmin_audit.capture_1() returns trigger language plpgsql"
    execute(f"{head} as 'begin return null; end'")
    assert [gap.problem for gap in find_gaps(items.session.rows)] == [
        "1 of 4 triggers are disabled: changes are not recorded",
        "The capture function is not the one that was installed",
        "Columns changed since: rows are kept whole until capture is renewed",
    ]


def test_rows_of_a_month_without_a_partition_are_kept_and_moved_when_it_is_made(items, execute, target):
    execute("drop table dbadmin_audit.statement_" + f"{target.value('select now()'):%Y_%m}")
    execute("drop table dbadmin_audit.rows_1_" + f"{target.value('select now()'):%Y_%m}")
    execute("insert into items values (1, 'a')")
    assert execute("select count(*) from dbadmin_audit.statement_default").fetchone()[0] == 1
    items.run(EnsurePartitions(items.server, {"months": 1}).plan())
    assert execute("select count(*) from dbadmin_audit.statement_default").fetchone()[0] == 0
    assert letters(items) == "I1"


BROKEN = {
    "a month without a partition": "drop table dbadmin_audit.rows_1 cascade",
    "a full disk": """
        create function dbadmin_audit.full() returns trigger language plpgsql as $$
        begin raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$;
        create trigger full_disk before insert on dbadmin_audit.rows_1
            for each row execute function dbadmin_audit.full()
    """,
    "a bug in capture": "alter table dbadmin_audit.rows_1 rename c1 to gone",
}


@pytest.mark.parametrize("trouble", BROKEN)
def test_what_cannot_be_recorded_fails_the_write_or_passes_with_a_gap_as_was_chosen(audit, execute, trouble):
    execute("create table t (id int primary key)")
    audit.watch("t", on_failure="fail")
    execute(BROKEN[trouble])
    with pytest.raises(psycopg.Error):
        execute("insert into t values (1)")
    audit.watch("t", on_failure="continue")
    execute("insert into t values (2)")
    assert execute("select id from t").fetchall() == [(2,)]
    assert "1 changes were not recorded" in str([gap.problem for gap in find_gaps(audit.session.rows)])


def test_a_write_passes_with_a_warning_when_not_even_the_gap_can_be_recorded(audit, execute, target):
    said = []
    target.connection.add_notice_handler(lambda notice: said.append(notice.message_primary))
    execute("create table t (id int primary key)")
    audit.watch("t", on_failure="continue")
    execute("drop table dbadmin_audit.rows_1 cascade; drop table dbadmin_audit.gap")
    execute("insert into t values (1)")
    assert execute("select id from t").fetchall() == [(1,)]
    assert said[-1].startswith("dbadmin_audit could not record INSERT: ")


def test_concurrent_writers(items, postgres, target):
    def work(start):
        with postgres.connect(target.database) as connection:
            for number in range(start, start + 50):
                connection.execute("insert into items values (%s, 'x')", [number])

    threads = [threading.Thread(target=work, args=[n * 50]) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(int(new["id"]) for _, _, new in items.told()) == list(range(200))


def test_a_session_that_has_the_plan_notices_the_change_of_another(items, postgres, target):
    with postgres.connect(target.database) as other:
        for number in range(10):
            other.execute("insert into items values (%s, 'x')", [number])
        target.connection.execute("alter table items rename name to title")
        other.execute("insert into items values (11, 'y')")
        other.execute("begin isolation level repeatable read")
        other.execute("select 1")
        target.connection.execute("alter table items alter title type varchar(30)")
        other.execute("insert into items values (12, 'z')")
        other.execute("commit")
        other.execute("insert into items values (13, 'z')")
    assert [new.get("title") for _, _, new in items.told()][10:] == ["y", "z", "z"]


#: What the capture functions call things: variables, rows, columns of the log.
OURS = ("number", "moment", "version", "written", "types", "salt", "o", "n", "r", "old_rows", "new_rows", "side", "at",
        "statement_id", "watched", "tg_op", "new", "old")  # fmt: skip


@pytest.mark.parametrize("altered", [False, True], ids=["typed", "kept whole"])
def test_columns_may_bear_any_name_of_ours(audit, execute, altered):
    columns = ", ".join(f'"{name}" text' for name in OURS)
    execute(f"create table names (id int primary key, {columns})")
    audit.watch("names", hashed="written")
    if altered:
        execute("alter table names add more text")
    listed = ", ".join(f'"{name}"' for name in OURS)
    values = ", ".join(f"'{name} ' || g" for name in OURS)
    execute(f"insert into names (id, {listed}) select g, {values} from generate_series(1, 2) g")
    execute("update names set \"o\" = 'other' where id = 1")
    execute('update names set "n" = \'others\', "number" = null')
    execute("delete from names where id = 2")
    told = audit.told()
    assert [kind for kind, _, _ in told] == ["insert", "insert", "update", "update", "update", "delete"]
    for name in OURS:
        expected = f"{name} 1"
        kept = told[0][2][name]
        assert kept == expected if name != "written" else kept.startswith("sha256:")
    assert (told[2][1]["o"], told[2][2]["o"]) == ("o 1", "other")
    assert (told[3][2]["n"], told[3][2]["number"], told[5][1]["moment"]) == ("others", None, "moment 2")
