"""What index_log prepares finds the same as looking row by row, and less is read."""

import pytest

from audit import activity, inside, prepared, search, walk
from tests.carrying_out import carry_out, log_of, operation

pytestmark = pytest.mark.servers

MONTHS = {"statement": "id", "loose": "statement_id", "rows_1": "statement_id", "pairs_1": "statement_id"}


@pytest.fixture(params=["pin", ""], ids=["with a hashed column", "with updates of one row in one line"])
def old(audit, execute, request):
    """A log whose first half happened months ago, in two months of their own."""
    execute("create extension pg_trgm")
    execute(
        "create table people (id int primary key, name text, seen timestamptz, data jsonb, pin text, tags text[])"
    )
    audit.watch("people", hashed=request.param)
    for number in range(1, 41):
        execute("select set_config('app.current_user_id', %s, false)", [f"user{number % 3}"])
        execute(
            "insert into people values (%s, %s, '2026-01-02 03:04:05+00', %s, %s, %s)",
            [
                number,
                f"Name {number:03} 50%",
                f'{{"city": "Town {number}", "nr": [{number}]}}',
                f"p{number}",
                ["a", f"t{number}"],
            ],
        )
        execute("update people set name = name || ' Öst' where id = %s and id %% 4 = 0", [number])
        execute('update people set data = \'{"city": "Rome"}\' where id = %s and id %% 10 = 0', [number])
    execute("alter table people add later text")
    execute("update people set later = 'loosely kept' where id = 7")
    audit.watch("people")
    execute("update people set later = 'typed' where id = 8")
    execute("reset app.current_user_id")
    top = execute("select max(id) from dbadmin_audit.statement").fetchone()[0]
    execute("set role dbadmin_audit")
    months = {
        parent: number for parent, number in MONTHS.items() if request.param == "" or parent != "pairs_1"
    }
    for back, low, high in ((3, 0, top // 3), (2, top // 3, top * 2 // 3)):
        month = execute("select to_char(now() - make_interval(months => %s), 'YYYY_MM')", [back]).fetchone()[
            0
        ]
        first = month.replace("_", "-") + "-01"
        for parent in months:
            execute(
                f"create table dbadmin_audit.{parent}_{month} partition of dbadmin_audit.{parent}"
                f" for values from ('{first} 00:00+00') to ('{first} 00:00+00'::timestamptz + interval '1 month')"
            )
        for parent, number in months.items():
            execute(
                f"update dbadmin_audit.{parent} set at = '{first} 05:00+00'::timestamptz"
                f" + {number} * interval '1 second' where {number} > %s and {number} <= %s",
                [low, high],
            )
    execute("reset role")
    return audit


EQUALS = {"how": "equals"}
SEARCHES = [
    {"text": "town 1"}, {"text": "Öst"}, {"text": "50%"}, {"text": "xyz"}, {"text": "Name 012"}, {"text": "03:04"},
    {"text": "loosely"}, {"text": "to"}, {"text": "add later"}, {"text": "{a,t1"}, {"column": "name"},
    {"column": "data"}, {"column": "later"}, {"column": "name", "text": "012"},
    {"column": "data", "person": "user1"}, {"value": "Name 004 50%", **EQUALS}, {"of": "name", "value": "öst"},
    {"of": "id", "value": "12", **EQUALS}, {"of": "data", "path": "city", "value": "Town 20", **EQUALS},
    {"of": "data", "path": "nr[0]", "value": "33"}, {"of": "pin", "value": "p13", **EQUALS},
    {"of": "pin", "value": "p13"}, {"text": "town", "operation": "update"},
    {"table": "people", "text": "Name 03", "person": "user2"}, {"key": "12", "table": "people", "text": "öst"},
]  # fmt: skip


def everything(audit, wanted, limit=3):
    """All pages of a search."""
    found, before, rows = [], None, audit.session.rows
    while True:
        page = inside.find(rows, audit.state, search.Filter(**wanted), before, None, limit)
        found += [row.id for row in page.statements]
        if page.older is None:
            return found
        before = page.older


def test_finds_the_same_as_row_by_row(old, server, monkeypatch):
    plain = [everything(old, wanted) for wanted in SEARCHES]
    assert sum(len(found) > 0 for found in plain) >= len(SEARCHES) - 2
    run = carry_out(operation("index_log", server))
    assert (run.status, run.message) == ("succeeded", run.message)
    monkeypatch.setattr(inside, "FIRST", -1)
    for wanted, expected in zip(SEARCHES, plain, strict=True):
        assert everything(old, wanted) == expected, wanted


def test_asks_the_indexes_of_months_that_are_over(old, server, monkeypatch):
    carry_out(operation("index_log", server))
    months = prepared.months(old.session.rows, old.state, search.Filter(text="town"))
    assert [(month.is_open, month.is_prepared) for month in months] == [
        (True, True),
        (False, True),
        (False, True),
    ]
    paired = {
        f"pairs_{number}" for number, shape in old.state.shapes.items() if shape.has_pairs and number == 1
    }
    assert {leaf.rpartition("_20")[0] for leaf in months[1].texts} == {"rows_1", "statement"} | paired
    asked = []
    monkeypatch.setattr(inside, "FIRST", -1)

    def rows(query, params=None):
        asked.append(query if isinstance(query, str) else query.as_string(None))
        return old.session.rows(query, params)

    inside.find(rows, old.state, search.Filter(text="Name 004"), months[0].low)
    hits = [each for each in asked if "hit as materialized" in each]
    old.session.rows("set enable_seqscan = off")
    plans = "\n".join(row[0] for row in old.session.rows("explain " + hits[0]))
    assert "_text" in plans
    assert not [each for each in asked if "concat_ws" in each and "= any('{1,2,3" in each]


def test_texts_of_the_open_month_are_found_by_their_copies(
    old, execute, server, postgres, target, monkeypatch
):
    """What was open when the copies were made, and what came since, is looked through row by row."""
    first = execute("select max(id) from dbadmin_audit.statement").fetchone()[0]
    with postgres.connect(target.database) as other:
        other.execute("set app.current_user_id = 'user2'")
        with other.transaction():
            other.execute("update people set name = 'Name 012 again' where id = 20")
            execute('update people set data = data || \'{"city": "Town 77"}\' where id > 30')
            execute("insert into people select g, 'Name Öst ' || g from generate_series(100, 140) g")
            assert carry_out(operation("index_log", server)).status == "succeeded"
            execute("update people set name = 'Name 004 late' where id = 21")
        execute("update people set name = 'Name 004 later' where id = 22")
    for _ in ("some are open", "all are copied"):
        plain = [everything(old, wanted) for wanted in SEARCHES]
        assert any(number > first for found in plain for number in found)
        monkeypatch.setattr(inside, "FIRST", -1)
        for wanted, expected in zip(SEARCHES, plain, strict=True):
            assert everything(old, wanted) == expected, wanted
        monkeypatch.undo()
        carry_out(operation("index_log", server))
    months = prepared.months(old.session.rows, old.state, search.Filter(text="town"))
    assert [month.is_open for month in months] == [True, False, False]
    assert execute("select count(*) > 0 from dbadmin_audit.open_text").fetchone()[0]


def test_copies_of_texts_begin_anew_with_a_month_a_crash_and_another_cluster(old, execute, server):
    carry_out(operation("index_log", server))
    reached = "select from_id, high from dbadmin_audit.open_text_reached"
    texts = "select count(*) from dbadmin_audit.open_text"
    before, count = execute(reached).fetchone(), execute(texts).fetchone()
    for change in (
        "update dbadmin_audit.open_text_reached set from_id = from_id - 10",
        "truncate dbadmin_audit.open_text, dbadmin_audit.open_text_reached",
        "update dbadmin_audit.open_text_reached set system_identifier = '1'",
        "update dbadmin_audit.open_text_reached set high = high + 1000000",
    ):
        execute(change)
        carry_out(operation("index_log", server))
        now = execute(reached).fetchone()
        assert now[0] == before[0]
        assert before[1] <= now[1] < before[1] + 1000
        assert execute(texts).fetchone() == count


def test_needs_no_extension(audit, execute, server):
    execute("create table t (id int primary key)")
    audit.watch("t")
    execute("insert into t values (1)")
    run = carry_out(operation("index_log", server))
    assert run.status == "succeeded"
    assert log_of(run)[-2:] == [
        "Texts are not indexed: the extension pg_trgm is not there.",
        "Added 1 statement to the sums.",
    ]


def test_sums_go_on_where_they_ended_and_miss_no_open_transaction(audit, execute, server, postgres, target):
    execute("create table t (id int primary key)")
    audit.watch("t")
    execute("insert into t values (1)")

    def sums():
        return execute(
            "select person, operation::text, statements, rows from dbadmin_audit.activity order by 1, 2"
        ).fetchall()

    with postgres.connect(target.database) as other:
        with other.transaction():
            other.execute("insert into t values (2)")
            execute("insert into t values (3), (4)")
            carry_out(operation("index_log", server))
            assert sums() == [("postgres", "I", 1, 1)]
            total = activity.people(audit.session.rows, 30)
            assert [(one.person, one.statements, one.rows) for one in total] == [("postgres", 2, 3)]
        assert [(one.statements, one.rows) for one in activity.people(audit.session.rows, 30)] == [(3, 4)]
        carry_out(operation("index_log", server))
        assert sums() == [("postgres", "I", 3, 4)]
        carry_out(operation("index_log", server))
        assert sums() == [("postgres", "I", 3, 4)]
    assert [(one.statements, one.rows) for one in activity.people(audit.session.rows, 30)] == [(3, 4)]


def test_the_page_of_people_says_the_same_from_sums_and_from_the_log(old, execute, server):
    def said():
        return activity.people(old.session.rows, 200)

    execute("create table others (id int primary key)")
    old.watch("others")
    unsummed = said()
    assert {one.person for one in unsummed} == {"user0", "user1", "user2"}
    carry_out(operation("index_log", server))
    assert said() == unsummed
    execute("set app.current_user_id = 'user1'; insert into others values (1), (2)")
    before, now = ({one.person: one for one in some} for some in (unsummed, said()))
    assert (now["user1"].statements, now["user1"].rows) == (
        before["user1"].statements + 1,
        before["user1"].rows + 2,
    )
    assert now["user1"].tables == 2
    waiting = said()
    carry_out(operation("index_log", server))
    assert said() == waiting
    # As an older dbadmin left it: the lines by day are made from those by table.
    execute("drop table dbadmin_audit.person_days")
    assert said() == waiting
    assert carry_out(operation("index_log", server)).status == "succeeded"
    assert said() == waiting
    assert execute("select count(*) > 0 from dbadmin_audit.person_days").fetchone()[0]


def test_a_log_that_was_put_into_another_cluster_is_summed_on(audit, execute, server):
    execute("create table t (id int primary key)")
    audit.watch("t")
    execute("insert into t values (1)")
    carry_out(operation("index_log", server))
    execute("update dbadmin_audit.summary set system_identifier = '1', high = high + 1000000")
    execute("insert into t values (2)")
    carry_out(operation("index_log", server))
    assert execute("select sum(statements) from dbadmin_audit.activity").fetchone()[0] == 2


def walked(audit, look, after=None, **wanted):
    """All pages of a search, from new to old, or from old to new."""
    found, before = [], None
    while True:
        page = look(audit.session.rows, audit.state, search.Filter(**wanted), before, after, 4)
        found += [row.id for row in page.statements][:: -1 if after is not None else 1]
        before, after = (page.older, None) if after is None else (None, page.newer)
        if before is None and after is None:
            return found


TOGETHER = [
    {"table": "people", "person": "user1"},
    {"table": "people", "operation": "insert"},
    {"person": "user2", "operation": "U"},
    {"table": "people", "person": "user0", "operation": "update"},
    {"table": "others", "person": "user1"},
    {"table": "others", "operation": "update"},
    {"person": "late", "operation": "insert"},
]


@pytest.mark.parametrize("state", ["summed", "some open", "loaded again", "all forgotten"])
def test_two_filters_together_find_by_days_what_a_look_at_all_finds(old, server, execute, state):
    execute("create table others (id int primary key)")
    old.watch("others")
    execute("set app.current_user_id = 'late'; insert into others values (1)")
    assert carry_out(operation("index_log", server)).status == "succeeded"
    if state == "some open":
        execute("insert into others values (2); update people set name = 'open' where id = 3")
    elif state == "loaded again":  # expire_log forgets the sums of the months that it drops
        execute("delete from dbadmin_audit.activity where day < current_date - 60")
    elif state == "all forgotten":
        execute("delete from dbadmin_audit.activity")
    for wanted in TOGETHER:
        expected = [
            row.id
            for row in walk.find(old.session.rows, old.state, search.Filter(**wanted), limit=999).statements
        ]
        assert walked(old, inside.find, **wanted) == expected
        assert walked(old, inside.find, after=0, **wanted) == expected[::-1]
        half = {"until": old.statements()[30].at}
        assert walked(old, inside.find, **wanted, **half) == walked(old, walk.find, **wanted, **half)


def test_an_older_preparation_gets_what_it_lacks(old, server, execute):
    assert carry_out(operation("index_log", server)).status == "succeeded"
    execute("drop index dbadmin_audit.activity_table")
    assert carry_out(operation("index_log", server)).status == "succeeded"
    assert (
        execute("select to_regclass('dbadmin_audit.activity_table')::text").fetchone()[0]
        == "dbadmin_audit.activity_table"
    )
