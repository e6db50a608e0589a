"""Tables that are recorded for each row: written down in the fewest steps, listed behind the writers, nothing lost."""

import random
import threading

import pytest

from audit import fresh, searched
from audit.counting import State, Told, compare, looks
from audit.gaps import find_gaps
from audit.models import Seal
from audit.operations.watch_table import WatchTable
from audit.sealing import seal_next
from audit.verifying import verify
from dbadmin.connections import Session
from dbadmin.operations import Refused
from tests.audit.conftest import Watcher, inserted_by_others
from tests.audit.test_pages import page
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.runtime import until

pytestmark = pytest.mark.servers

TYPES = """
create type mood as enum ('glad', 'sad');
create domain positive as int check (value > 0);
create type pair as (a int, b text)
"""
WIDE = """
create table {0} (
    id int, part text, word text, dropped int, number numeric, ratio float8, at timestamptz, day date, span interval,
    raw bytea, doc jsonb, text_doc json, tags text[], moods mood[], feeling mood, amount positive, both_of pair,
    place point, net inet, num_range int4range, code char(4), short "char", kept_name name, key uuid, bits bit(3),
    secret text, twice int generated always as (id * 2) stored, primary key (id, part));
alter table {0} drop column dropped
"""
ROWS = """
insert into {} (id, part, word, number, ratio, at, day, span, raw, doc, text_doc, tags, moods, feeling, amount, both_of,
    place, net, num_range, code, short, kept_name, key, bits, secret) values
(1, 'a', 'wörd "x", (y)', 1.10, 'NaN', '2026-01-01 12:00:00.123456+02', 'infinity', '1 mon -2 days 03:00',
 '\\x00ff', '{{"a": [1, null]}}', '{{"b":  1}}', '{{a,NULL,"b,c"}}', '{{glad,sad}}', 'sad', 7, '(1,"x y")', '(1,2)',
 '10.0.0.1/8', '[1,5)', 'ab', 'x', 'n', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '101', 'hidden'),
(2, 'b', null, 'NaN', '-0', '-infinity', null, null, '', null, null, '{{}}', null, null, null, null, null, null,
 'empty', null, null, null, null, null, null);
"""
WRITES = (
    "update {} set word = 'other', number = 99999999999999999999.5, at = at + '1 s' where id = 1",
    "update {} set word = word where id = 1",
    "update {} set id = 3 where id = 2",
    "update {} set secret = 'another', doc = null where id = 3",
    "insert into {} (id, part, ratio) values (1, 'a', 0.1) on conflict (id, part) do update set ratio = 0.1 + 0.2",
    "delete from {} where id = 1",
)


@pytest.fixture
def items(audit, execute):
    """Recorded for each row."""
    execute("create table items (id int primary key, name text)")
    audit.watch("items", level="row")
    return audit


def unlisted(target):
    return target.value("select count(*) from dbadmin_audit.fresh")


def listed(target):
    return fresh.list_all(target.connection)


def told(audit, table):
    """What was recorded of a table."""
    return [(change.kind, change.old, change.new) for change in audit.changes(table=f"public.{table}")]


@pytest.mark.parametrize("rules", [{"excluded": "secret"}, {}])
def test_what_is_recorded_for_its_row_is_listed_as_if_for_its_statement(audit, execute, target, rules):
    execute(TYPES)
    for table, level in (("usual", "statement"), ("quick", "row")):
        execute(WIDE.format(table))
        audit.watch(table, level=level, **rules)
        execute("set datestyle = 'German'; set timezone = 'Asia/Tokyo'; set extra_float_digits = 0")
        execute(ROWS.format(table))
        for write in WRITES:
            execute(write.format(table))
        execute("reset all")
    assert unlisted(target) == 7
    assert listed(target) == 7
    assert unlisted(target) == 0
    usual = told(audit, "usual")
    assert told(audit, "quick") == usual
    assert [kind for kind, _, _ in usual] == [
        "insert",
        "insert",
        "update",
        "update",
        "update",
        "update",
        "delete",
    ]
    assert find_gaps(target.rows) == []


def test_who_did_it_is_told_as_for_a_statement(items, execute, target):
    execute("insert into items values (1, 'a')")
    execute("set role pg_monitor; reset role")
    execute("create role worker; grant all on items to worker; grant usage on schema public to worker")
    try:
        execute("set app.current_user_id = 'maria'; set application_name = 'shop'; set role worker")
        execute("update items set name = 'b'")
        execute("reset role; reset app.current_user_id; reset application_name")
        listed(target)
        assert [
            (one.session_role, one.set_role, one.app_user, one.application) for one in items.statements()
        ] == [("postgres", None, None, None), ("postgres", "worker", "maria", "shop")]
    finally:
        execute("drop owned by worker; drop role worker")


def test_a_masked_column_is_never_written_down_as_it_is(audit, execute, target):
    execute("create table people (id int primary key, pin text)")
    audit.watch("people", level="row", masked="pin")
    execute("insert into people values (1, '4711')")
    assert unlisted(target) == 0
    ((kind, _, new),) = told(audit, "people")
    assert (kind, new["pin"].partition(":")[0]) == ("insert", "masked")


@pytest.mark.parametrize(
    "before, value, after",
    [
        ("set client_encoding = 'LATIN1'", "ü", "reset client_encoding"),
        ("set session_replication_role = replica", "x", "reset session_replication_role"),
        ("alter table items add more text", "x", ""),
        ("select 1", "long " * 20_000, ""),
    ],
)
def test_what_cannot_be_written_down_in_short_is_listed_at_once(items, execute, target, before, value, after):
    execute("alter table items alter name set storage external")
    execute(before)
    execute(b"insert into items values (1, convert_from(%s, 'UTF8'))", [value.encode()])
    if after:
        execute(after)
    assert unlisted(target) == (1 if "replica" in before else 0)
    listed(target)
    ((kind, old, new),) = told(items, "items")
    assert (kind, old, new["name"]) == ("insert", None, value)


def test_a_change_is_sealed_once_it_is_listed_and_is_never_taken_for_one_that_somebody_added(
    items, execute, target
):
    seal = seal_next(target.connection, items.server)  # that the table is watched
    execute("insert into items values (1, 'a')")
    listed(target)
    execute("insert into items values (2, 'b')")
    assert seal_next(target.connection, items.server).statements == 1
    assert seal_next(target.connection, items.server) is None
    listed(target)
    assert seal_next(target.connection, items.server).statements == 1
    seals = list(Seal.objects.order_by("number"))
    assert [one.statements for one in seals] == [seal.statements, 1, 1]
    assert verify(target.connection, seals) == []


def test_the_operations_that_seal_and_verify_have_it_listed_first(items, execute, target, server):
    execute("insert into items values (1, 'a')")
    run = carry_out(operation("seal_log", server))
    assert "Sealed 1 statement with 1 row image in 1 seal." in log_of(run)
    execute("update items set name = 'b'")
    assert carry_out(operation("index_log", server)).status == "succeeded"
    assert unlisted(target) == 0
    assert carry_out(operation("seal_log", server)).status == "succeeded"
    execute("delete from items")
    assert carry_out(operation("verify_seals", server)).status == "succeeded"
    assert unlisted(target) == 0


def test_a_page_shows_what_was_written_down_a_moment_ago(items, execute, target, client_as):
    execute("insert into items values (1, 'Ada')")
    assert unlisted(target) == 1
    assert "Ada" in page(client_as, "row/public.items/?key=1")
    execute("update items set name = 'Ada L.'")
    assert "<ins>Ada L.</ins>" in page(client_as, "")
    assert unlisted(target) == 0


def test_a_page_tells_what_could_not_be_listed_and_why(items, execute, target, client_as):
    execute("insert into items values (1, 'Ada')")
    execute("alter table dbadmin_audit.rows_1 rename to away")
    text = " ".join(page(client_as, "").split())
    assert (
        "1 change is not listed yet, of tables that are recorded for each row. It could not be done for this page:"
        in text
    )
    assert "relation &quot;dbadmin_audit.rows_1&quot; does not exist" in text
    execute("alter table dbadmin_audit.away rename to rows_1")
    assert "Ada" in page(client_as, "")


def test_two_that_list_at_once_list_each_change_once(items, execute, target, postgres):
    execute("insert into items select g, 'n' || g from generate_series(1, 5000) g")
    done = []

    def work():
        with postgres.connect(target.database) as connection:
            done.append(fresh.list_all(connection))

    threads = [threading.Thread(target=work) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sum(done) == 5000
    assert len({new["id"] for _, _, new in told(items, "items")}) == len(told(items, "items")) == 5000


def test_counters_do_not_take_what_is_not_listed_yet_for_missing(items, execute, target):
    until_counted(target, 0)
    before = look(target)
    execute("insert into items select g, 'a' from generate_series(1, 10) g")
    until_counted(target, 10)
    assert compare(before, look(target), skips_unchanged=True).state == State.COMPLETE
    assert listed(target) == 10
    execute("set session_replication_role = replica; alter table items disable trigger dbadmin_audit_replica")
    execute("insert into items select g, 'c' from generate_series(11, 30) g")
    until_counted(target, 30)
    told_now = compare(before, look(target), skips_unchanged=True)
    assert (told_now.state, told_now.rows) == (State.MISSING, 20)


def look(target):
    """What the counters say now of the only table."""
    target.rows("select pg_stat_clear_snapshot()::text")
    return next(look for table, look in looks(target.connection))


def until_counted(target, rows):
    """PostgreSQL has counted so many inserts."""
    query = "select pg_stat_clear_snapshot()::text, pg_stat_get_tuples_inserted('items'::regclass) as rows"
    until(lambda: target.rows(query)[0].rows == rows)


def test_levels_change_under_load_without_a_lost_change(items, postgres, target):
    with inserted_by_others(postgres, target) as counts:
        for level in ("statement", "row", "statement", "row"):
            items.watch("items", level=level)
            listed(target)
    listed(target)
    assert sum(counts) > 0
    assert len(items.changes()) == sum(counts)
    assert find_gaps(target.rows) == []


def test_its_triggers_are_watched_over_like_others(items, execute, target):
    execute("alter table items disable trigger dbadmin_audit_update")
    (gap,) = find_gaps(target.rows)
    assert gap.problem == "1 of 4 triggers are disabled: changes are not recorded"
    execute("drop trigger dbadmin_audit_update on items")
    (gap,) = find_gaps(target.rows)
    assert gap.problem == "1 of 4 triggers are missing: some changes are not recorded"
    items.watch("items", level="row")
    assert find_gaps(target.rows) == []
    execute("insert into items values (1, 'a')")
    assert unlisted(target) == 1


def test_emptying_the_table_stands_behind_what_came_before(items, execute, target):
    execute("insert into items values (1, 'a')")
    execute("truncate items")
    execute("insert into items values (1, 'b')")
    listed(target)
    assert [statement.operation for statement in items.statements()] == ["I", "T", "I"]


def test_an_undo_sees_what_was_not_listed_yet(items, execute, target, server):
    execute("insert into items values (1, 'a')")
    execute("update items set name = 'b'")
    number = target.value("select max(id) from dbadmin_audit.fresh")
    run = carry_out(operation("undo_changes", server, statement=str(number)))
    assert run.status == "succeeded"
    assert target.value("select name from items") == "a"


def test_stopping_loses_nothing_that_is_not_listed_yet(items, execute, target, server):
    execute("insert into items values (1, 'a')")
    assert carry_out(operation("unwatch_table", server, schema="public", table="items")).status == "succeeded"
    execute("drop table items")
    assert listed(target) == 1
    assert [new for _, _, new in told(items, "items") if new] == [{"id": "1", "name": "a"}]


@pytest.mark.parametrize(
    "statements, table, message",
    [
        (
            "create table t (id int) partition by list (id)",
            "t",
            "public.t is partitioned: it can be recorded for each statement only.",
        ),
        (
            "create table t (id int); create table heir () inherits (t)",
            "t",
            "public.heir inherits from public.t: it can be recorded for each statement only.",
        ),
        (
            "create table t (id int primary key deferrable)",
            "t",
            "public.t_pkey of public.t is deferrable: it can be recorded for each statement only.",
        ),
    ],
)
def test_refuses_what_a_trigger_for_rows_would_not_see_as_it_is(audit, execute, statements, table, message):
    execute(statements)
    with pytest.raises(Refused) as refusal:
        WatchTable(audit.server, audit.params(table, level="row")).plan()
    assert (str(refusal.value), refusal.value.field) == (message, "level")


def test_who_is_no_superuser_has_it_listed_too(audit, execute, postgres, target):
    execute(f"create role plain login password '{postgres.password}'")
    try:
        execute(f'grant create on database "{target.database}" to plain')
        execute("grant create on schema public to plain")
        with postgres.connect(target.database, "plain") as connection:
            connection.execute("create table mine (id int primary key, name text)")
            audit.server.seal_dsn("operate_dsn", postgres.dsn_for(target.database, "plain"))
            audit.server.save()
            plain = Watcher(audit.server, Session(connection))
            plain.watch("mine", level="row")
            connection.execute("insert into mine values (1, 'a')")
            assert fresh.list_all(connection) == 1
            assert plain.told() == [("insert", None, {"id": "1", "name": "a"})]
    finally:
        execute("drop owned by plain cascade; drop role plain")


def test_what_is_sealed_summed_and_mapped_while_others_write_and_list_is_all_of_it_once(
    items, execute, postgres, target, server
):
    """Transactions of any length, some rolled back, listed by two at any moment."""
    stop, kept = threading.Event(), []

    def write(start):
        chance, number = random.Random(start), start
        with postgres.connect(target.database) as connection:
            while not stop.is_set():
                with connection.transaction(force_rollback=chance.random() < 0.1) as block:
                    count = chance.choice([1, 1, 1, 30])
                    for each in range(number, number + count):
                        connection.execute("insert into items values (%s, 'x')", [each])
                        connection.execute("update items set name = name || 'y' where id = %s", [each])
                    if chance.random() < 0.2:
                        stop.wait(0.2)
                    number += count
                if not block.force_rollback:
                    kept.append(2 * count)

    def list_again():
        with postgres.connect(target.database) as connection:
            while not stop.is_set():
                fresh.list_all(connection)
                stop.wait(0.05)

    assert carry_out(operation("index_log", server)).status == "succeeded"
    threads = [threading.Thread(target=write, args=[n * 1_000_000]) for n in range(3)]
    threads += [threading.Thread(target=list_again) for _ in range(2)]
    [thread.start() for thread in threads]
    try:
        for _ in range(4):
            while seal_next(target.connection, server):
                pass
            assert carry_out(operation("index_log", server)).status == "succeeded"
    finally:
        stop.set()
        [thread.join() for thread in threads]
    assert carry_out(operation("seal_log", server)).status == "succeeded"
    assert carry_out(operation("index_log", server)).status == "succeeded"
    seals = list(Seal.objects.order_by("number"))
    assert sum(seal.statements for seal in seals) == sum(kept) == len(items.statements(table="public.items"))
    assert verify(target.connection, seals) == []
    assert list(searched.differences(target.connection, seals[-1].number)) == []
    assert target.value("select sum(statements) from dbadmin_audit.activity") == sum(kept)


@pytest.mark.parametrize(
    "altered",
    [
        "rename name to title",
        "drop name",
        "alter name type int using 1",
    ],
)
def test_no_write_fails_when_a_column_is_renamed_dropped_or_of_another_type(
    items, execute, postgres, target, altered
):
    execute("insert into items values (1, 'a')")
    execute(f"alter table items {altered}")
    with postgres.connect(target.database) as other:
        for connection in (target.connection, other):
            connection.execute("insert into items (id) select coalesce(max(id), 0) + 1 from items")
            connection.execute("update items set id = id + 100")
            connection.execute("delete from items where id > 101")
    listed(target)
    assert len(items.changes()) == 10
    items.watch("items", level="row")
    execute("insert into items (id) values (5)")
    assert unlisted(target) == 1


def test_xml_and_what_sends_nothing_is_listed_at_once_as_it_is(audit, execute, target):
    execute("create table papers (id int primary key, text xml, rights aclitem[])")
    audit.watch("papers", level="row")
    text = '<?xml version="1.0" encoding="UTF-8"?><a/>'
    execute("insert into papers values (1, %s, array['=r/postgres'::aclitem])", [text])
    assert unlisted(target) == 0
    assert told(audit, "papers") == [("insert", None, {"id": "1", "text": text, "rights": "{=r/postgres}"})]


def test_what_cannot_be_listed_holds_back_nothing_else_and_is_told(items, execute, target, server, client_as):
    execute("insert into items select g, 'n' || g from generate_series(1, 30) g")
    execute(r"update dbadmin_audit.fresh set after = set_byte(after, length(after) - 1, 255) where id = 7")
    run = carry_out(operation("seal_log", server))
    assert run.status == "succeeded"
    told_first, told_next = log_of(run)[:2]
    assert told_first.startswith(
        "Changes that are recorded for each row could not all be listed: invalid byte sequence for encoding"
    )
    assert told_next == "1 change not listed yet, nor sealed, and what came later neither."
    assert len(items.changes()) == 29
    assert "1 change is not listed yet" in page(client_as, "")


def test_two_that_list_many_at_once_leave_none(items, execute, target, postgres, monkeypatch):
    monkeypatch.setattr(fresh, "MOST", 50)
    execute("insert into items select g, 'n' || g from generate_series(1, 2000) g")
    done = []

    def work():
        with postgres.connect(target.database) as connection:
            connection.execute("set default_transaction_isolation = 'serializable'")
            done.append(fresh.list_all(connection))

    threads = [threading.Thread(target=work) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sum(done) == 2000
    assert unlisted(target) == 0


def test_a_preview_leaves_what_is_not_listed_yet(items, execute, target, server):
    execute("insert into items select g, 'a' from generate_series(1, 10) g")
    operation("watch_table", server, schema="public", table="items", level="row").look()
    assert unlisted(target) == 10


@pytest.mark.parametrize(
    "statement, state, problem",
    [
        (
            "create table heir () inherits (items)",
            "critical",
            "heir inherits from it since: its rows that are changed through this table are not recorded",
        ),
        (
            "alter table items add unique (name) deferrable",
            "warning",
            "items_name_key is deferrable since: rows that exchange keys may be told apart wrongly",
        ),
    ],
)
def test_what_comes_later_and_does_not_go_with_it_is_a_finding(
    items, execute, target, statement, state, problem
):
    execute(statement)
    found = [gap for gap in find_gaps(target.rows) if gap.table == "items"]
    assert [(gap.state, gap.problem.removeprefix("public.")) for gap in found] == [(state, problem)]


def test_rows_that_were_rolled_back_are_not_told_as_missing(items, execute, target):
    until_counted(target, 0)
    before = look(target)
    with target.connection.transaction(force_rollback=True):
        execute("insert into items select g, 'a' from generate_series(1, 500) g")
    execute("analyze items")
    until_counted(target, 500)
    assert compare(before, look(target), skips_unchanged=True, for_rows=True) == Told(
        State.UNKNOWN, 500, "transactions that were rolled back may have written them"
    )
