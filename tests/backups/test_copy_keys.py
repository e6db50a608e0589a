"""A row is copied over the one with its key and over no other, whatever its key is made of."""

from collections.abc import Callable

import pytest
from django.test import Client

from dbadmin.connections import Session
from dbadmin.models import Run, Server
from tests.backups.beside import Compared
from tests.backups.test_faults import refusal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

COMMAS = """
create table pairs (a text, b text, n int, primary key (a, b));
insert into pairs values ('a, b', 'c', 1), ('a', 'b, c', 2), ('x', 'y', 3);
"""


def test_a_line_that_two_keys_are_written_as_is_refused_and_the_rows_can_be_ticked(
    compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    found = compared(COMMAS, "pairs", "delete from pairs")
    assert refusal(server, "copy_rows", comparison=found.pk, kind="missing", keys="x, y\na, b, c") == (
        "a, b, c is how the keys of several rows are written. Tick those rows on the page of differences."
    )
    wanted = found.differences.get(key=["a", "b, c"])
    done = run("copy_rows", comparison=found.pk, kind="missing", rows=[wanted.pk])
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert target.rows("select a, b, n from pairs") == [("a", "b, c", 2)]


TWICE = (
    "create table goods (id int, name text); insert into goods values (1, 'a'), (1, 'b'), (2, 'c'), (3, 'd');"
)


def test_rows_are_compared_as_a_whole_where_the_live_key_repeats_in_the_backup(
    compared: Compared, client_as: Callable[[str], Client]
) -> None:
    found = compared(
        TWICE, "goods", "delete from goods where name <> 'c'; alter table goods add primary key (id)"
    )
    assert (found.key, found.missing, found.changed, found.same) == ([], 3, 0, 1)
    page = client_as("admin").get(found.get_absolute_url(), {"kind": ""}).content.decode()
    assert (
        "The key id does not tell the rows of the backup apart: of some it is 1. No key tells the rows apart"
        in page
    )


def test_rows_are_compared_as_a_whole_where_the_key_of_the_backup_is_none_any_more(
    compared: Compared, client_as: Callable[[str], Client]
) -> None:
    found = compared(
        "create table goods (id int primary key, name text); insert into goods values (1, 'a'), (2, 'b');", "goods",
        "alter table goods drop constraint goods_pkey, alter id drop not null; insert into goods values (null, 'x')",
    )  # fmt: skip
    assert (found.key, found.missing, found.extra, found.same) == ([], 0, 1, 2)
    page = client_as("admin").get(found.get_absolute_url(), {"kind": ""}).content.decode()
    assert "The key id does not tell the rows of the live table apart: of some it is null. No key" in page


def test_the_live_key_serves_where_each_row_of_the_backup_has_one_of_its_own(compared: Compared) -> None:
    found = compared(
        TWICE.replace("(1, 'b'), ", ""),
        "goods",
        "delete from goods where id = 2; alter table goods add primary key (id)",
    )
    assert (found.key, found.missing, found.same) == (["id"], 1, 2)


@pytest.fixture
def extended(target: Session) -> None:
    """Types whose equality lives in public, where an empty search path does not find it."""
    target.connection.execute("create extension citext; create extension hstore; create extension ltree")


@pytest.mark.parametrize(
    ("kind", "one", "other", "third"),
    [("citext", "A", "b", "C"), ("ltree", "a.b", "a.c", "d"), ("hstore", "a=>1", "b=>2", "c=>3")],
)
def test_rows_with_keys_of_a_type_of_an_extension_are_compared_shown_copied_and_taken_back(
    kind: str, one: str, other: str, third: str, extended: None, compared: Compared, target: Session,
    run: Callable[..., Run], client_as: Callable[[str], Client],
) -> None:  # fmt: skip
    found = compared(
        f"create table tagged (tag {kind} primary key, n int);"
        f"insert into tagged values ('{one}', 1), ('{other}', 2), ('{third}', 3)",
        "tagged",
        f"delete from tagged where tag = '{one}'; update tagged set n = 7 where tag = '{other}'",
    )
    page = client_as("admin").get(found.get_absolute_url(), {"kind": ""}).content.decode()
    assert "<del>7</del> <ins>2</ins>" in page
    done = run("copy_rows", comparison=found.pk, kind="both")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert target.rows("select n from tagged order by n") == [(1,), (2,), (3,)]
    undone = run("undo_copy_rows", run=done.pk)
    assert undone.message == "2 rows of public.tagged are as before the copy, 0 were left as they are."
    assert target.rows("select n from tagged order by n") == [(3,), (7,)]


def test_a_key_that_the_live_table_takes_for_another_spelling_of_its_own_is_not_copied(
    extended: None, compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    found = compared(
        "create table mails (mail citext primary key, n int); insert into mails values ('Ann@x', 1)", "mails",
        "update mails set mail = 'ann@x'",
    )  # fmt: skip
    assert (found.missing, found.extra) == (1, 1)
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.FAILED
    assert done.message == (
        "Nothing was copied: rows of public.mails that were missing at the comparison are there now, or have such a key"
        " in another spelling: ann@x. Compare it anew."
    )
    assert target.rows("select mail::text, n from mails") == [("ann@x", 1)]


@pytest.mark.parametrize("collation", ['"C"', "ignoring"])
def test_keys_of_another_collation_than_that_of_the_database_are_met_by_it(
    collation: str,
    compared: Compared,
    target: Session,
    run: Callable[..., Run],
    client_as: Callable[[str], Client],
) -> None:
    target.connection.execute(
        "create collation ignoring (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
    )
    found = compared(
        f"create table names (name text collate {collation} primary key, n int);"
        "insert into names values ('a', 1), ('B', 2), ('c', 3)",
        "names", "delete from names where n = 1; update names set n = 7 where n = 2",
    )  # fmt: skip
    page = client_as("admin").get(found.get_absolute_url(), {"kind": ""}).content.decode()
    assert "<del>7</del> <ins>2</ins>" in page
    done = run("copy_rows", comparison=found.pk, kind="both")
    assert (done.status, done.message) == (
        Run.Status.SUCCEEDED,
        "2 rows of public.names are as in the backup.",
    )
    assert run("undo_copy_rows", run=done.pk).status == Run.Status.SUCCEEDED
    assert target.rows("select name, n from names order by n") == [("c", 3), ("B", 7)]


def test_a_page_of_differences_whose_key_is_no_column_of_the_live_table_any_more_is_shown(
    compared: Compared, target: Session, client_as: Callable[[str], Client]
) -> None:
    found = compared(COMMAS, "pairs", "update pairs set n = 9 where n = 3")
    target.connection.execute("alter table pairs rename a to other")
    page = client_as("admin").get(found.get_absolute_url(), {"kind": ""})
    assert page.status_code == 200
    assert "The table public.pairs has no column a any more: compare it again." in page.content.decode()


def test_a_page_of_differences_shows_the_rows_of_the_table_and_not_of_those_that_inherit_from_it(
    compared: Compared, client_as: Callable[[str], Client]
) -> None:
    found = compared(
        "create table elder (id int primary key, t text); create table younger () inherits (elder);"
        "insert into elder values (1, 'old'); insert into younger values (1, 'young')",
        "elder", "update only elder set t = 'wrong'",
    )  # fmt: skip
    page = client_as("admin").get(found.get_absolute_url(), {"kind": ""}).content.decode()
    assert "<del>wrong</del> <ins>old</ins>" in page


def test_a_page_of_differences_shows_keys_that_are_no_values_of_the_live_type(
    compared: Compared, target: Session, run: Callable[..., Run], client_as: Callable[[str], Client]
) -> None:
    found = compared(
        "create type mood as enum ('good', 'bad'); create table felt (id text primary key, n int);"
        "insert into felt values ('good', 1), ('ugly', 2)",
        "felt",
        "delete from felt where n = 2; update felt set n = 7; alter table felt alter id type mood using id::mood",
    )  # fmt: skip
    page = client_as("admin").get(found.get_absolute_url(), {"kind": ""}).content.decode()
    assert "cannot be shown" not in page
    assert "<del>7</del> <ins>1</ins>" in page
    assert "<ins>2</ins>" in page


def test_rows_told_apart_by_periods_beside_a_virtual_column_are_compared_copied_and_taken_back(
    since_18: None, compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    target.connection.execute("create extension btree_gist")
    found = compared(
        "create table stays (house int, during daterange, price int, twice int generated always as (price * 2) virtual,"
        " primary key (house, during without overlaps), check (price > 99) not enforced);"
        "alter table stays add constraint priced not null price not valid;"
        "insert into stays values (1, '[2026-01-01,2026-02-01)', 1), (1, '[2026-02-01,2026-03-01)', 2),"
        " (2, '[2026-01-01,2026-02-01)', 3)",
        "stays",
        "delete from stays where house = 2; update stays set price = 7 where price = 2",
    )
    assert (found.key, found.missing, found.changed, found.same) == (["house", "during"], 1, 1, 1)
    done = run("copy_rows", comparison=found.pk, kind="both")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert done.message == "2 rows of public.stays are as in the backup."
    assert target.rows("select price, twice from stays order by 1") == [(1, 2), (2, 4), (3, 6)]
    undone = run("undo_copy_rows", run=done.pk)
    assert undone.message == "2 rows of public.stays are as before the copy, 0 were left as they are."
    assert target.rows("select price, twice from stays order by 1") == [(1, 2), (7, 14)]
