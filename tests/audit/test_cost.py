"""What watching costs is measured on the user's own rows, and nothing of that stays."""

import re

import pytest

from audit.capture import Choices
from audit.cost import NotMeasured, measure
from audit.tables import describe
from tests.carrying_out import operation

pytestmark = pytest.mark.servers
TITLE = "Cost, measured on a copy that was rolled back"
FIGURES = (
    r"Capture adds \d+ µs for each row of an insert of 500 rows, \d+ µs of an update, \d+ µs of a delete, and \d+ µs"
    r" to an insert of one row\. The log takes about \d+ bytes for a row before or after, and its indexes\."
)
EVERYTHING = """
select (select count(*) from pg_class), (select count(*) from pg_proc), (select count(*) from pg_roles),
       (select count(*) from pg_namespace where nspname !~ '^pg_(toast_)?temp'), (select count(*) from pg_event_trigger)
"""


@pytest.fixture
def items(execute):
    execute(
        "create table items (id int generated always as identity primary key, name text,"
        " twice text generated always as (name || name) stored, password text)"
    )
    execute("insert into items (name, password) select 'n' || g, 'geheim' from generate_series(1, 800) g")


def looked_at(server, **params):
    check, *_ = operation("watch_table", server, schema="public", table="items", **params).look()
    assert check.title == TITLE
    return check


def test_measures_before_anything_is_installed_and_leaves_nothing(items, server, target):
    before = target.rows(EVERYTHING), target.rows("select id, name, twice, xmin::text from items order by 1")
    check = looked_at(server, hashed="password")
    assert check.state == "ok"
    assert re.fullmatch(FIGURES, check.message)
    after = target.rows(EVERYTHING), target.rows("select id, name, twice, xmin::text from items order by 1")
    assert after == before


def test_measures_a_table_that_is_watched_and_adds_nothing_to_its_log(items, audit, server, target, execute):
    audit.watch("items")
    execute("insert into items (name) values ('new')")
    log = (
        "select (select count(*) from dbadmin_audit.statement), (select count(*) from dbadmin_audit.watched)"
    )
    before = target.rows(log)
    assert looked_at(server).state == "ok"
    assert target.rows(log) == before


def test_every_figure_is_of_work_that_was_done(items, audit, target):
    cost = measure(target.connection, describe(target.rows, "public", "items"), Choices())
    assert min(cost.insert, cost.update, cost.delete, cost.single) > 0
    assert cost.single > cost.insert
    assert cost.image_bytes > 40
    assert cost.rows == 500


def test_triggers_and_expressions_of_the_owner_do_not_run_as_us(items, server, execute):
    execute("create table ran (what text)")
    execute(
        "create function spoil() returns trigger language plpgsql as"
        " $$begin raise exception 'ran as %', current_user; end$$"
    )
    execute(
        "create trigger spoil before insert or update or delete on items for each row execute function spoil()"
    )
    execute("create function owns(text) returns text language plpgsql immutable as $$begin return $1; end$$")
    execute("create index on items (owns(name))")
    execute(
        "create or replace function owns(text) returns text language plpgsql immutable as"
        " $$begin raise exception 'ran as %', current_user; end$$"
    )
    assert looked_at(server).state == "ok"


def test_an_empty_table_has_no_figures(server, execute, target):
    execute("create table items (id int)")
    check = looked_at(server)
    assert (check.state, check.message) == ("unknown", "public.items has no rows to measure with.")
    with pytest.raises(NotMeasured):
        measure(target.connection, describe(target.rows, "public", "items"), Choices())


def test_it_waits_for_nobody(items, server, target, execute):
    with target.connection.transaction():
        execute("lock table items in access exclusive mode")
        check = looked_at(server)
    assert check.state == "unknown"
    assert check.message == "It could not be measured: canceling statement due to lock timeout"


def test_the_preview_shows_it_and_the_capture_page_leads_there(items, audit, client_as):
    client = client_as("admin")
    address = (
        "/servers/shop/do/watch_table/?preview=1&schema=public&table=items&keep_rules=on&skip_unchanged=on"
    )
    page = client.get(address).content.decode()
    assert TITLE in page
    assert re.search(FIGURES, page)
    audit.watch("items")
    link = re.search(
        r'<a class="button" href="([^"]*)">Cost…</a>',
        client.get("/servers/shop/audit/capture/").content.decode(),
    )
    assert "Cost…" not in client_as("auditor").get("/servers/shop/audit/capture/").content.decode()
    page = client_as("admin").get(link[1].replace("&amp;", "&")).content.decode()
    assert "public.items is watched already, with these choices." in page
    assert re.search(FIGURES, page)


@pytest.mark.parametrize("level, other", [("statement", "row"), ("row", "statement")])
def test_measures_the_other_level_beside_the_one_that_is_chosen(items, server, level, other):
    _, check = operation("watch_table", server, schema="public", table="items", level=level).look()
    assert check.title == f"Recorded for each {other} instead"
    figures = re.fullmatch(
        r"(\d+) µs for an insert of one row \((\d+) as chosen\); of many rows (\d+) µs for each \((\d+)\),"
        r" (\d+) µs for each of an update \((\d+)\)\.",
        check.message,
    )
    assert figures
    assert all(int(figure) > 0 for figure in figures.groups())


def test_a_level_that_cannot_be_chosen_is_not_measured(execute, server):
    execute(
        "create table items (id int primary key deferrable, name text); insert into items values (1, 'a')"
    )
    assert len(operation("watch_table", server, schema="public", table="items").look()) == 1
