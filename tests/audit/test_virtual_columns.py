"""Columns that are computed when they are read: no trigger is told their values, so the log keeps none of them."""

import pytest

from audit import fresh
from tests.audit.test_undo import undo

pytestmark = pytest.mark.servers

CONTENT = "select id, price, gross from goods order by id"


@pytest.fixture
def goods(since_18, audit, execute):
    execute(
        "create table goods (id int primary key, price int, gross int generated always as (price * 2) virtual)"
    )
    audit.watch("goods")
    execute("insert into goods values (1, 10), (2, 20)")
    return audit


def test_a_virtual_column_is_not_in_the_log(goods, execute):
    execute("update goods set price = 11 where id = 1")
    assert goods.told() == [
        ("insert", None, {"id": "1", "price": "10"}),
        ("insert", None, {"id": "2", "price": "20"}),
        ("update", {"id": "1", "price": "10"}, {"id": "1", "price": "11"}),
    ]


def test_nor_of_a_table_that_is_recorded_for_each_row(goods, execute, target):
    goods.watch("goods", level="row")
    execute("update goods set price = 11 where id = 1")
    assert fresh.list_all(target.connection) == 1
    assert goods.told()[-1] == ("update", {"id": "1", "price": "10"}, {"id": "1", "price": "11"})


@pytest.mark.parametrize(
    "statement",
    [
        "insert into goods select n, n from generate_series(9000, 9000 + {}) n",
        "update goods set price = price + 1",
        "delete from goods",
    ],
)
@pytest.mark.parametrize("rows", [1, 2000])
def test_changes_of_a_table_with_one_are_taken_back(goods, execute, statement, rows):
    execute("insert into goods select n, n from generate_series(10, 10 + %s) n", [rows])
    before = execute(CONTENT).fetchall()
    execute(statement.format(rows))
    undo(goods, statement=goods.statements()[-1].id)
    assert execute(CONTENT).fetchall() == before


def test_rows_that_were_kept_whole_are_without_it_and_are_taken_back(goods, execute):
    execute("alter table goods rename price to net")
    execute("alter table goods add half int generated always as (net / 2) virtual")
    content = "select id, net, gross, half from goods order by id"
    before = execute(content).fetchall()
    execute("update goods set net = 12 where id = 1")
    update = goods.changes()[-1]
    assert (update.old, update.new) == ({"id": "1", "net": "10"}, {"id": "1", "net": "12"})
    undo(goods, statement=goods.statements()[-1].id)
    assert execute(content).fetchall() == before
