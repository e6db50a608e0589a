"""A search for one row together with other filters finds all that fit, however often the row changed."""

import pytest

from audit import search, walk
from audit.search import Filter

pytestmark = pytest.mark.servers


@pytest.fixture
def counter(audit, execute):
    """A row that changed a thousand times: once by eve, long ago."""
    execute("create table counters (name text primary key, total int)")
    audit.watch("counters")
    execute("insert into counters values ('visits', 0), ('other', 0)")
    execute("begin; set local app.current_user_id = 'eve'; update counters set total = -1; commit")
    loop = "do $$ begin for i in 1..1000 loop update counters set total = i where name = 'visits'; end loop; end $$"
    execute(loop)
    return audit


def pages(audit, after=None, **wanted):
    """All pages of a search, walked from new to old, or from old to new."""
    found, before = [], None
    while True:
        page = walk.find(audit.session.rows, audit.state, Filter(**wanted), before, after, limit=7)
        found.append([row.id for row in page.statements])
        before, after = (page.older, None) if after is None else (None, page.newer)
        if (before if after is None else after) is None:
            return found


def test_a_rare_person_is_found_below_many_changes_of_the_row(counter, execute):
    (eve,) = execute("select id from dbadmin_audit.statement where app_user = 'eve'").fetchone()
    assert pages(counter, table="counters", key="visits", person="eve") == [[eve]]
    assert pages(counter, after=0, table="counters", key="visits", person="eve") == [[eve]]
    assert pages(counter, table="counters", key="visits", person="nobody") == [[]]


@pytest.mark.parametrize("part", ["since", "until"])
def test_times_are_those_of_the_rows_own_changes(counter, execute, part):
    middle, at = execute(
        "select id, at from dbadmin_audit.statement where operation = 'U' order by id offset 500 limit 1"
    ).fetchone()
    found = [
        number for page in pages(counter, table="counters", key="visits", **{part: at}) for number in page
    ]
    expected = execute(
        f"select id from dbadmin_audit.statement where id {'>=' if part == 'since' else '<'} %s order by id desc",
        [middle],
    ).fetchall()
    assert found == [number for (number,) in expected]


def test_versions_of_columns_are_walked_together(counter, execute):
    execute("alter table counters add column note text")
    counter.watch("counters")
    loop = (
        "do $$ begin for i in 1..40 loop update counters set note = i where name = 'visits'; end loop; end $$"
    )
    execute(loop)
    expected = [number for (number,) in execute("select id from dbadmin_audit.statement where watched_id = 1"
        " and operation in ('I', 'U') order by id desc").fetchall()]  # fmt: skip
    down = [number for page in pages(counter, table="counters", key="visits") for number in page]
    assert down == expected
    up = [number for page in pages(counter, after=0, table="counters", key="visits") for number in page[::-1]]
    assert up == expected[::-1]


def test_a_search_in_a_row_that_changed_for_ever_says_how_far_it_came(counter, monkeypatch):
    monkeypatch.setattr(search, "SECONDS", -1)
    page = walk.find(
        counter.session.rows, counter.state, Filter(table="counters", key="visits", person="eve")
    )
    assert page.statements == []
    assert page.searched_to is not None
    assert page.older is not None
