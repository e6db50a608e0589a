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
    assert undone.message == "3 rows of public.parents are as before the copy, 1 was left as it is."
    assert target.rows("select id from parents order by 1") == [(1,), (2,), (5,)]
    assert target.rows("select id, parent from children") == [(4, 5)]


def test_rows_that_refer_by_a_key_that_is_not_enforced_do_not_keep_a_copy_from_being_taken_back(
    since_18: None, compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    made = (
        "create table parents (id int primary key); insert into parents values (1), (2);"
        "create table children (parent int references parents on delete cascade not enforced)"
    )
    found = compared(made, "parents", "delete from parents where id = 2")
    done = run("copy_rows", comparison=found.pk, kind="missing")
    target.connection.execute("insert into children values (2)")
    undone = run("undo_copy_rows", run=done.pk)
    assert undone.message == "1 rows of public.parents are as before the copy, 0 were left as they are."
    assert target.value("select count(*) from children") == 1


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


LEAVES = """
create table tree (id int primary key, parent int references tree on delete set null, name text unique);
insert into tree values (1, null, 'root'), (2, 1, 'branch'), (3, 2, 'leaf');
"""


def test_changed_rows_that_need_missing_ones_and_values_that_moved_are_copied_in_one_step_and_taken_back(
    compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    """A row that went set another one's column to null; its unique name went to a third one."""
    rows = "select id, parent, name from tree order by id"
    found = compared(
        LEAVES, "tree", "delete from tree where id = 2; update tree set name = 'branch' where id = 1"
    )
    before = target.rows(rows)
    assert before == [(1, None, "branch"), (3, None, "leaf")]
    done = run("copy_rows", comparison=found.pk, kind="both")
    assert (done.status, done.message) == (
        Run.Status.SUCCEEDED,
        "3 rows of public.tree are as in the backup.",
    )
    assert target.rows(rows) == [(1, None, "root"), (2, 1, "branch"), (3, 2, "leaf")]
    undone = run("undo_copy_rows", run=done.pk)
    assert undone.message == "3 rows of public.tree are as before the copy, 0 were left as they are."
    assert target.rows(rows) == before


def test_a_table_with_rules_takes_missing_and_changed_rows_only_apart(
    compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    rule = "create table log (n int); create rule also as on insert to places do also insert into log values (new.id);"
    found = compared(PLACES + rule, "places", BROKEN)
    done = run("copy_rows", comparison=found.pk, kind="both")
    assert done.status == Run.Status.FAILED
    assert done.message == (
        "Nothing was copied to public.places: DO ALSO rules are not supported for data-modifying statements in WITH. "
        "Copy the missing rows and the changed ones apart."
    )
    for kind in ("missing", "changed"):
        made = run("copy_rows", comparison=found.pk, kind=kind)
        assert made.status == Run.Status.SUCCEEDED, made.message
        assert run("undo_copy_rows", run=made.pk).status == Run.Status.SUCCEEDED
        assert run("compare_side_schema", side=found.side_id).status == Run.Status.SUCCEEDED


CHECK = (
    'new row for relation "places" violates check constraint "places_town_check".'
    " Failing row contains (2, t2, l2, 2.0)."
)
UNIQUE = (
    'duplicate key value violates unique constraint "places_town_idx". Key (town)=(t2) already exists. Another row of'
    " the live table has that by now: copy that one back as well, or give it another value first."
)
NOT_TODAY = """
    create function no() returns trigger language plpgsql as $$ begin raise exception 'not today'; end $$;
    create trigger no before insert on places for each row execute function no()"""


@pytest.mark.parametrize(
    ("since", "says"),
    [
        ("alter table places add check (town <> 't2')", CHECK),
        ("update places set town = 't2' where id = 3; create unique index on places (town)", UNIQUE),
        (NOT_TODAY, "not today."),
    ],
)
def test_what_the_live_table_refuses_is_told_in_its_words_with_what_helps(
    since: str, says: str, compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    found = compared(PLACES, "places", f"{BROKEN}; {since}")
    rows = target.value(ROWS)
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert (done.status, done.message) == (Run.Status.FAILED, f"Nothing was copied to public.places: {says}")
    assert target.value(ROWS) == rows
