"""Keys that tell rows apart by a period that none shares (WITHOUT OVERLAPS, PostgreSQL 18)."""

import pytest

from tests.audit.test_undo import undo

pytestmark = pytest.mark.servers

CONTENT = "select house, during::text, price from stays order by 1, 2"


@pytest.fixture
def stays(since_18, audit, execute):
    execute("create extension btree_gist")
    execute(
        "create table stays (house int, during daterange, price int, primary key (house, during without overlaps))"
    )
    execute(
        "create table visits (id int primary key, house int, during daterange,"
        " foreign key (house, period during) references stays (house, period during))"
    )
    audit.watch("stays")
    audit.watch("visits")
    execute(
        "insert into stays select n, daterange('2026-01-01', '2026-02-01'), n from generate_series(1, 2000) n"
    )
    execute("insert into stays values (1, '[2026-02-01,2026-03-01)', 7)")
    return audit


@pytest.mark.parametrize(
    "statement",
    [
        "insert into stays values (1, '[2026-05-01,2026-06-01)', 8)",
        "insert into stays select n, daterange('2026-06-01', '2026-07-01'), n from generate_series(1, 2000) n",
        "update stays set price = price + 1 where house = 1",
        "update stays set price = price + 1",
        "update stays set during = '[2026-02-01,2026-02-09)' where price = 7",
        "delete from stays where house = 1",
        "delete from stays",
    ],
)
def test_changes_of_rows_with_such_a_key_are_taken_back(stays, execute, statement):
    before = execute(CONTENT).fetchall()
    execute(statement)
    assert execute(CONTENT).fetchall() != before
    undo(stays, statement=stays.statements()[-1].id)
    assert execute(CONTENT).fetchall() == before


def test_a_transaction_with_rows_that_refer_by_their_periods_is_taken_back(stays, execute):
    execute("begin; insert into stays values (5000, '[2026-01-01,2026-04-01)', 1)")
    execute("insert into visits values (1, 5000, '[2026-02-01,2026-02-03)'); commit")
    undo(stays, transaction=str(stays.statements()[-1].xid))
    assert execute("select count(*) from stays where house = 5000").fetchone() == (0,)
    assert execute("select count(*) from visits").fetchone() == (0,)


def test_the_life_of_such_a_row_is_found_by_its_key(stays, execute):
    execute("update stays set price = 9 where house = 1 and price = 7")
    assert stays.changes()[-1].key == {"house": "1", "during": "[2026-02-01,2026-03-01)"}
