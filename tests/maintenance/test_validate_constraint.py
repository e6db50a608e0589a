"""Validating a constraint checks the rows that were there before it."""

import pytest

from dbadmin.operations import Refused
from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def orders(target):
    target.rows("create table orders (amount int)")
    target.rows("insert into orders values (1), (2)")
    target.rows("alter table orders add constraint positive check (amount > 0) not valid")
    return target


def validate(server, constraint="positive"):
    return operation("validate_constraint", server, table="orders", constraint=constraint)


def test_rows_that_hold_make_it_valid(orders, server):
    run = carry_out(validate(server))
    assert run.status == "succeeded", run.message
    assert orders.value("select convalidated from pg_constraint where conname = 'positive'")
    with pytest.raises(Refused, match=r"positive holds for every row of public\.orders already\."):
        validate(server).plan()


def test_a_row_that_breaks_it_is_named_and_nothing_changes(orders, server):
    orders.rows("alter table orders disable trigger all")
    orders.rows("alter table orders drop constraint positive")
    orders.rows("insert into orders values (-1)")
    orders.rows("alter table orders add constraint positive check (amount > 0) not valid")
    run = carry_out(validate(server))
    assert run.status == "failed"
    assert run.message == 'Check constraint "positive" of relation "orders" is violated by some row.'


def test_an_absent_constraint_is_refused_at_its_field(orders, server):
    with pytest.raises(Refused, match=r"public\.orders has no constraint nothing\.") as refused:
        validate(server, "nothing").plan()
    assert refused.value.field == "constraint"


def test_what_is_not_enforced_is_refused(since_18, orders, server):
    orders.rows("alter table orders add constraint round check (amount % 10 = 0) not enforced")
    with pytest.raises(Refused) as refused:
        validate(server, "round").plan()
    assert str(refused.value) == (
        "round of public.orders is not enforced: PostgreSQL holds no row to it, old or new. Add it anew without NOT"
        " ENFORCED."
    )
