"""Copied rows go back into the table that they came from as it was, and take no rows of others with them."""

from collections.abc import Callable

import pytest

from dbadmin.connections import Session
from dbadmin.models import Run, Server
from tests.backups.beside import Compared
from tests.backups.test_faults import refusal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

PLACES = """
create table places (id int primary key, town text, land text, size numeric(6, 1));
insert into places select n, 't' || n, 'l' || n, n from generate_series(1, 4) n;
"""
BROKEN = "update places set town = 'wrong' where id = 1; delete from places where id = 2"
ROWS = "select array_agg(p::text order by id) from places p"


@pytest.mark.parametrize(
    ("altered", "how"),
    [
        ("rename town to city", "gone: town text; new: city text"),
        ("drop town", "gone: town text"),
        ("add more int", "new: more integer"),
        ("alter size type numeric(8, 2)", "gone: size numeric(6,1); new: size numeric(8,2)"),
        ("rename town to spare; alter table places rename land to town; alter table places rename spare to land",
         "they are in another order"),
    ],
)  # fmt: skip
def test_nothing_goes_back_into_columns_that_are_others_by_now(
    altered: str, how: str, compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    found = compared(PLACES, "places", BROKEN)
    done = run("copy_rows", comparison=found.pk, kind="both")
    assert done.status == Run.Status.SUCCEEDED, done.message
    target.connection.execute(f"alter table places {altered}")
    after = target.value(ROWS)
    assert refusal(server, "undo_copy_rows", run=done.pk) == (
        f"The columns of public.places are not those of the copy any more ({how}). What was there before is in "
        f"side.before_run_{done.pk}: take it back by hand."
    )
    assert target.value(ROWS) == after


FAMILY = """
create table parents (id int primary key, name text unique);
create table children (id int primary key, parent int references parents on delete {action});
create table by_name (id int primary key, name text references parents (name) on delete {action});
insert into parents select n, 'p' || n from generate_series(1, 6) n;
insert into children values (1, 1);
"""


@pytest.mark.parametrize("action", ["cascade", "set null", "set default"])
def test_a_copy_is_taken_back_unless_rows_of_others_would_go_or_change_with_it(
    action: str, compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    found = compared(FAMILY.format(action=action), "parents", "delete from parents where id > 2")
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert done.plan[0].endswith(
        "\n-- It cannot be taken back while rows of public.by_name, public.children refer to rows that it inserted:"
        " they would go or change with them."
    )
    target.connection.execute(
        "insert into children values (2, 3), (3, 4), (4, 5); insert into by_name values (1, 'p3')"
    )
    target.connection.execute("update parents set name = 'later' where id = 5")
    assert refusal(server, "undo_copy_rows", run=done.pk) == (
        "Rows of public.by_name and public.children refer to rows of public.parents that this copy inserted (3; 4), and"
        " would go or change with them. Remove those rows first, or let them refer to others."
    )
    target.connection.execute("delete from by_name; delete from children where parent < 5")
    undone = run("undo_copy_rows", run=done.pk)
    assert undone.message == "3 rows of public.parents are as before the copy, 1 were left as they are."
    assert target.rows("select id from parents order by 1") == [(1,), (2,), (5,)]
    assert target.rows("select id, parent from children") == [(4, 5)]


def test_a_tree_is_copied_in_one_go_and_taken_back_in_one(
    compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    found = compared(
        "create table tree (id int primary key, parent int references tree on delete cascade);"
        "insert into tree values (1, null), (2, 1), (3, 2), (4, 3), (5, 1)",
        "tree", "delete from tree where id = 2",
    )  # fmt: skip
    assert found.missing == 3
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.SUCCEEDED, done.message
    target.connection.execute("insert into tree values (6, 4)")
    assert refusal(server, "undo_copy_rows", run=done.pk) == (
        "Rows of public.tree refer to rows of public.tree that this copy inserted (4), and would go or change with"
        " them. Remove those rows first, or let them refer to others."
    )
    target.connection.execute("delete from tree where id = 6")
    assert run("undo_copy_rows", run=done.pk).message == (
        "3 rows of public.tree are as before the copy, 0 were left as they are."
    )
    assert target.rows("select id from tree order by 1") == [(1,), (5,)]


def test_rows_of_partitions_that_refer_to_partitions_are_found(
    compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    found = compared(
        "create table months (at int primary key) partition by range (at);"
        "create table months_1 partition of months for values from (1) to (10);"
        "create table days (at int references months on delete cascade) partition by range (at);"
        "create table days_1 partition of days for values from (1) to (10);"
        "insert into months values (1), (2)",
        "months", "delete from months",
    )  # fmt: skip
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.status == Run.Status.SUCCEEDED, done.message
    target.connection.execute("insert into days values (2)")
    assert refusal(server, "undo_copy_rows", run=done.pk).startswith(
        "Rows of public.days refer to rows of public.months that this copy inserted (2), and would go"
    )
    target.connection.execute("truncate days")
    assert run("undo_copy_rows", run=done.pk).status == Run.Status.SUCCEEDED
    assert target.value("select count(*) from months") == 0
