"""What is found by table, person and operation is what a look at each statement finds, whatever the map knows yet."""

import random

import psycopg
import pytest

from audit import activity, mapping, overview, search, walk
from tests.carrying_out import carry_out, operation

pytestmark = pytest.mark.servers

WANTED = [
    {"table": "people"}, {"table": "others"}, {"person": "user1"}, {"person": "rare"}, {"person": "nobody"},
    {"operation": "insert"}, {"operation": "delete"}, {"operation": "T"}, {"table": "others", "person": "user2"},
    {"person": "rare", "operation": "update"}, {"table": "people", "person": "user0", "operation": "update"},
    {"table": "others", "operation": "delete"},
]  # fmt: skip
CONDITIONS = {
    "table": "watched_id in (select id from dbadmin_audit.watched where table_name = %s)",
    "person": "coalesce(app_user, set_role, session_role) = %s",
    "operation": 'operation = upper(left(%s, 1))::"char"',
}


@pytest.fixture
def many(audit, execute):
    """Some hundred statements of two tables, by four people."""
    execute("create table people (id int primary key, name text); create table others (id int primary key)")
    audit.watch("people")
    audit.watch("others")
    write(execute, 1, 300)
    return audit


def write(execute, low, high):
    execute(f"""
        do $$ begin
            for n in {low}..{high} loop
                perform set_config('app.current_user_id',
                    case n % 150 when 7 then 'rare' else 'user' || n % 3 end, false);
                insert into people values (n, 'a');
                if n % 5 = 0 then update people set name = 'b' where id = n; end if;
                if n % 70 = 0 then insert into others values (n); end if;
            end loop;
        end $$;
        select set_config('app.current_user_id', '', false)""")


def expected(execute, wanted):
    """By a look at each."""
    parts = " and ".join(CONDITIONS[name] for name in wanted)
    query = f"select id from dbadmin_audit.statement where {parts} order by id desc"
    return [number for (number,) in execute(query, list(wanted.values())).fetchall()]


def walked(audit, wanted, after=None, limit=29, **times):
    """All pages of a search, from new to old or from old to new."""
    found, before = [], None
    while True:
        page = walk.find(
            audit.session.rows, audit.state, search.Filter(**wanted, **times), before, after, limit
        )
        found += [row.id for row in page.statements][:: -1 if after is not None else 1]
        before, after = (page.older, None) if after is None else (None, page.newer)
        if before is None and after is None:
            return found


def finds_all(audit, execute):
    for wanted in WANTED:
        numbers = expected(execute, wanted)
        assert walked(audit, wanted) == numbers, wanted
        assert walked(audit, wanted, after=0) == numbers[::-1], wanted
    return True


def through(audit):
    return mapping.through(audit.session.rows)


def top(execute):
    return execute("select max(id) from dbadmin_audit.statement").fetchone()[0]


@pytest.mark.parametrize("blocks", [(4, 64), (1, 1)])
def test_finds_the_same_without_a_map_with_one_and_behind_its_end(many, execute, server, monkeypatch, blocks):
    monkeypatch.setattr(walk, "BLOCKS", blocks)
    monkeypatch.setattr(walk, "LINES", (1, 1))
    monkeypatch.setattr(walk, "NUMBERS", (20, 50))
    assert finds_all(many, execute)
    assert through(many) == 0
    assert carry_out(operation("index_log", server)).status == "succeeded"
    assert through(many) == top(execute)
    assert finds_all(many, execute)
    write(execute, 301, 400)
    execute("truncate others; delete from people where id < 9")
    assert finds_all(many, execute)
    assert carry_out(operation("index_log", server)).status == "succeeded"
    assert through(many) == top(execute)
    assert finds_all(many, execute)
    middle = execute("select at from dbadmin_audit.statement where id = 200").fetchone()[0]
    for wanted in WANTED:
        numbers = [one for one in expected(execute, wanted) if one >= 200]
        assert walked(many, wanted, since=middle) == numbers


def test_a_transaction_that_ends_late_is_found_at_every_moment(many, execute, server, postgres, target):
    with postgres.connect(target.database) as late:
        late.execute("set app.current_user_id = 'rare'")
        with late.transaction():
            late.execute("insert into others values (-1)")
            write(execute, 301, 380)
            for _ in range(2):
                carry_out(operation("index_log", server))
                assert through(many) < top(execute)
                assert finds_all(many, execute)
            late.execute("update people set name = 'late' where id = 3")
        assert len(expected(execute, {"person": "rare"})) > 4
        assert finds_all(many, execute)
        for _ in range(2):
            carry_out(operation("index_log", server))
            assert finds_all(many, execute)
        assert through(many) == top(execute)


def test_marks_tell_below_which_number_nothing_can_come_any_more():
    assert mapping.settled([], 100) == (0, [])
    assert mapping.settled([(50, 7)], 50) == (0, [(50, 7)])
    assert mapping.settled([(40, 5), (50, 7), (60, 9)], 55) == (7, [(50, 7), (60, 9)])


def test_what_fits_nowhere_is_not_looked_for_in_the_log(many, execute, server):
    carry_out(operation("index_log", server))
    asked = []

    def rows(query, params=None):
        asked.append(query if isinstance(query, str) else query.as_string(None))
        return many.session.rows(query, params)

    for wanted in ({"person": "nobody"}, {"person": "rare", "operation": "delete"}):
        assert walk.find(rows, many.state, search.Filter(**wanted)).statements == []
    assert [each for each in asked if "session_role" in each and "from dbadmin_audit.statement" in each] == []


def test_two_filters_look_only_where_both_are(many, execute, server):
    carry_out(operation("index_log", server))
    way = walk.Walk(many.session.rows, many.state, search.Filter(table="others", person="rare"))
    others = {number >> 6 for number in expected(execute, {"table": "others"})}
    rare = {number >> 6 for number in expected(execute, {"person": "rare"})}
    assert set(way.blocks(walk.Span(), True)) == others & rare


def test_a_map_that_came_with_a_restore_goes_on(many, execute, server):
    carry_out(operation("index_log", server))
    execute("update dbadmin_audit.mapped set system_identifier = '1', marks = '{{9000000000000, 1}}'")
    write(execute, 301, 350)
    assert finds_all(many, execute)
    carry_out(operation("index_log", server))
    assert through(many) == top(execute)
    assert finds_all(many, execute)


def test_a_search_that_would_look_too_long_says_how_far_it_came(many, execute, monkeypatch):
    monkeypatch.setattr(walk, "NUMBERS", (100, 100))
    page = walk.find(many.session.rows, many.state, search.Filter(person="rare"), seconds=-1)
    assert (page.statements, page.older) == ([], top(execute) - 99)
    (at,) = execute("select at from dbadmin_audit.statement where id = %s", [page.older]).fetchone()
    assert page.searched_to == at
    found, before = [], None
    while True:
        page = walk.find(many.session.rows, many.state, search.Filter(person="rare"), before, seconds=-1)
        found += [row.id for row in page.statements]
        if page.older is None:
            break
        before = page.older
    assert found == expected(execute, {"person": "rare"})


def test_a_name_of_any_length_neither_fails_a_write_nor_gets_lost(items, execute, server):
    name = "".join(random.Random(1).choices("0123456789abcdefghijklmnopqrstuvwxyz", k=6000))
    execute("select set_config('app.current_user_id', %s, false)", [name])
    execute("insert into items values (1, 'a')")
    execute("reset app.current_user_id; insert into items values (2, 'b')")
    run = carry_out(operation("index_log", server))
    assert run.status == "succeeded", run.message
    assert walked(items, {"person": name}) == expected(execute, {"person": name}) != []
    execute("select set_config('app.current_user_id', %s, false)", [name])
    execute("insert into items values (3, 'c')")
    done = activity.of_person(items.session.rows, items.state, name, 1)
    assert [(day.statements, day.rows) for day in done.days] == [(2, 2)]
    assert name[:500] in [one.person for one in activity.people(items.session.rows, 1)]


def test_the_last_change_of_a_table_is_found_among_the_newest_or_by_the_map(
    many, execute, server, monkeypatch
):
    def last():
        return {
            state.name: state.last_at
            for state in overview.capture_overview(many.session.rows, many.state)
            if state.watched
        }

    whole = dict(
        execute(
            "select w.table_name, max(s.at) from dbadmin_audit.watched w"
            " join dbadmin_audit.statement s on s.watched_id = w.id group by 1"
        ).fetchall()
    )
    assert last() == whole
    monkeypatch.setattr(overview, "LAST", overview.LAST.replace("20000", "3"))
    assert last() == {"people": whole["people"], "others": None}
    carry_out(operation("index_log", server))
    assert last() == whole


def test_a_number_that_a_statement_takes_is_above_that_of_every_mark_before_it(items, execute):
    connection = items.session.connection
    with connection.transaction():
        first = mapping.make_mark(connection)
    assert first[1] == 0
    execute("insert into items values (1, 'a')")
    with connection.transaction():
        second = mapping.make_mark(connection)
    (number, transaction) = execute("select id, xid::text::bigint from dbadmin_audit.statement").fetchone()
    assert first[0] < transaction < second[0]
    assert first[1] < number <= second[1]


def test_nobody_who_may_not_read_the_log_reads_the_map(many, execute, server):
    carry_out(operation("index_log", server))
    execute("create role curious")
    try:
        for table in ("stretch", "mapped"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                execute(f"set role curious; select * from dbadmin_audit.{table}")
            execute("reset role")
    finally:
        execute("reset role; drop role curious")
