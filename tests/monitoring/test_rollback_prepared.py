"""Ending a prepared transaction that nobody will commit."""

import pytest

from dbadmin.operations import Refused, Risk
from dbadmin.probes import PROBES
from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def forgotten(target):
    target.rows("begin; create table half (id int); prepare transaction 'forgotten'")
    yield target
    if target.rows("select from pg_prepared_xacts where gid = 'forgotten'"):
        target.rows("rollback prepared 'forgotten'")


def test_frees_what_a_forgotten_transaction_holds(forgotten, server):
    wanted = operation("rollback_prepared", server, name="forgotten")
    assert wanted.risk is Risk.DESTROYS
    run = carry_out(wanted)
    assert run.status == "succeeded", run.message
    (plan,) = run.plan
    assert plan.endswith(f"\\connect {forgotten.database}\nROLLBACK PREPARED 'forgotten';")
    assert PROBES["prepared_transactions"].read(forgotten).rows == []


def test_refuses_what_is_not_there(server):
    with pytest.raises(Refused) as refusal:
        operation("rollback_prepared", server, name="gone").plan()
    assert str(refusal.value) == "There is no prepared transaction gone on shop."
    assert refusal.value.field == "name"
