"""Refreshing a materialized view: without anybody waiting where that is possible, else saying who waits."""

import re
import threading

import pytest
from django.db import connections

from dbadmin.models import RunLine
from dbadmin.operations import Refused, Risk
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.runtime import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def view(target):
    target.rows("create table sales (day date, amount int)")
    target.rows("insert into sales select '2026-01-01'::date + n % 10, n from generate_series(1, 100) n")
    target.rows(
        "create materialized view totals as select day, sum(amount) as amount from sales group by day"
    )
    return target


def with_index(target, rest="(day)"):
    target.rows(f"create unique index totals_day on totals {rest}")


def refresh(server):
    return operation("refresh_view", server, view="totals")


def test_refreshes_while_readers_go_on_when_a_unique_index_allows(view, server):
    with_index(view)
    view.rows("insert into sales values ('2026-02-01', 7)")
    wanted = refresh(server)
    assert wanted.risk_now() is Risk.LOADS
    run = carry_out(wanted)
    assert run.status == "succeeded", run.message
    assert run.plan == [
        (
            "-- tried up to 5 times\nSET lock_timeout = '2s';\n"
            'REFRESH MATERIALIZED VIEW CONCURRENTLY "public"."totals";'
        )
    ]
    assert view.value("select amount from totals where day = '2026-02-01'") == 7
    assert log_of(run) == ["REFRESH MATERIALIZED VIEW"]
    assert run.result["before"]["size_bytes"] > 0


def test_says_what_it_changed_and_nothing_of_what_is_not_counted_yet(view, server):
    def kib():
        return view.value("select pg_total_relation_size('totals') / 1024")

    view.rows("analyze totals")
    before = kib()
    view.rows("insert into sales select '2027-01-01'::date + n, n from generate_series(1, 1000) n")
    run = carry_out(refresh(server))
    assert kib() > before
    assert re.fullmatch(rf"Finished in .+: size {kib()} KiB, was {before} KiB\.", run.message), run.message
    with_index(view)
    view.rows("analyze totals")
    view.rows("delete from sales where day > '2027-01-01'")
    run = carry_out(refresh(server))
    assert "estimated –" not in run.message


@pytest.mark.parametrize("rest", ["(day) where amount > 0", "((day + 1))"])
def test_says_who_waits_when_no_index_is_usable(view, server, rest):
    with_index(view, rest)
    wanted = refresh(server)
    assert wanted.risk_now() is Risk.BLOCKS
    assert wanted.waits() == (
        "Readers of public.totals wait until the refresh ends, for it has no unique index on plain columns."
        " With one, the next refresh makes nobody wait."
    )
    assert carry_out(wanted).status == "succeeded"


def test_fills_a_view_that_was_never_filled(view, server):
    with_index(view)
    view.rows("refresh materialized view totals with no data")
    wanted = refresh(server)
    assert wanted.waits() == "Readers of public.totals wait until it is filled; it was never filled before."
    assert carry_out(wanted).status == "succeeded"
    assert view.value("select count(*) from totals") == 10


def test_gives_up_in_between_so_that_nobody_queues_behind_it(view, server, postgres):
    def hold():
        with postgres.connect(view.database) as holder, holder.transaction():
            holder.execute("select * from totals")
            held.set()
            until(RunLine.objects.filter(text__startswith="Somebody holds a lock").exists)
        connections.close_all()

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    run = carry_out(refresh(server))
    holder.join()
    assert run.status == "succeeded", run.message
    assert log_of(run)[0] == "Somebody holds a lock on it; attempt 2 of 5 follows."


def test_refuses_what_is_no_materialized_view(view, server):
    with pytest.raises(Refused, match=r"^public.sales is a table, not a materialized view\.$"):
        operation("refresh_view", server, view="sales").plan()
    with pytest.raises(Refused, match=r"^There is no view public.nothing on shop\.$"):
        operation("refresh_view", server, view="nothing").plan()


def test_names_the_grant_that_is_missing(view, server, postgres):
    view.rows("create role stranger login password 'stranger'")
    try:
        server.seal_dsn(
            "operate_dsn",
            postgres.dsn_for(view.database).replace(f"postgres:{postgres.password}", "stranger:stranger"),
        )
        server.save()
        with pytest.raises(Refused) as refusal:
            refresh(server).plan()
        assert str(refusal.value) == (
            'The role stranger does not own public.totals. Remedy: GRANT "postgres" TO "stranger";'
        )
    finally:
        from dbadmin.connections import POOLS

        POOLS.__init__()
        view.rows("drop role stranger")
