"""What a copy says of its rows is what they are when it is done."""

from collections.abc import Callable

import pytest
from django.utils import timezone

from dbadmin import runner
from dbadmin.connections import Session
from dbadmin.models import Run, Server
from tests.backups.beside import Compared
from tests.carrying_out import log_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

STAMPED = """
create table notes (id int primary key, text text, changed_at timestamptz default 'epoch');
insert into notes select n, 't' || n from generate_series(1, 6) n;
create function stamp() returns trigger language plpgsql as
    $$ begin new.changed_at = now(); return new; end $$;
create function shout() returns trigger language plpgsql as
    $$ begin new.text = upper(new.text); return new; end $$;
create trigger stamp before insert or update on notes for each row execute function stamp();
create trigger shout before insert on notes for each row when (new.id = 4) execute function shout();
create trigger off before insert on notes for each row execute function shout();
create trigger gone after delete on notes for each row execute function shout();
alter table notes disable trigger off;
"""


def test_rows_that_triggers_changed_as_they_were_copied_are_not_called_as_in_the_backup(
    compared: Compared, run: Callable[..., Run]
) -> None:
    found = compared(
        STAMPED, "notes", "update notes set text = 'wrong' where id = 1; delete from notes where id in (3, 4)"
    )
    done = run("copy_rows", comparison=found.pk, kind="both")
    assert (done.status, done.message) == (
        Run.Status.SUCCEEDED,
        "3 rows of public.notes were copied. 3 of them are not as in the backup: they differ in text, changed_at.",
    )
    assert log_of(done) == [
        "Triggers that are enabled for such rows: shout, stamp.",
        "Not as in the backup: 1",
        "Not as in the backup: 3",
        "Not as in the backup: 4",
        "Compared anew: 3 rows are not as in the backup.",
    ]


def test_values_that_the_live_types_hold_otherwise_are_named(
    compared: Compared, target: Session, run: Callable[..., Run]
) -> None:
    found = compared(
        "create table prices (id int primary key, price numeric(8, 3)); insert into prices values (1, 1.234), (2, 2)",
        "prices", "delete from prices; alter table prices alter price type numeric(8, 1)",
    )  # fmt: skip
    done = run("copy_rows", comparison=found.pk, kind="missing")
    assert done.message == (
        "2 rows of public.prices were copied. 2 of them are not as in the backup: they differ in price."
    )
    assert target.rows("select price::text from prices order by 1") == [("1.2",), ("2.0",)]


def test_a_run_that_ended_after_its_rows_were_copied_says_so_and_is_taken_back(
    compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    """It was cancelled, or its worker died, while the table was compared anew."""
    found = compared(
        "create table goods (id int primary key); insert into goods values (1), (2)",
        "goods",
        "delete from goods",
    )
    ended = run("copy_rows", comparison=found.pk, kind="missing", keys="1")
    target.connection.execute("alter table goods add check (id <> 2)")
    failed = run("copy_rows", comparison=found.pk, kind="missing", keys="2")
    assert (failed.status, log_of(failed)) == (Run.Status.FAILED, [])
    now, message = timezone.now(), f"Cancelled by maria.{runner.OWED}"
    Run.objects.filter(pk=ended.pk).update(status="cancelled", clean_up_due_at=now, message=message)
    runner.clean_up(ended.pk)
    ended.refresh_from_db()
    assert ended.message == (
        f"Cancelled by maria. The rows were copied before this ended. What was there is in side.before_run_{ended.pk}: "
        "the operation “Take copied rows back” returns it."
    )
    undone = run("undo_copy_rows", run=ended.pk)
    assert undone.message == "1 row of public.goods is as before the copy, 0 were left as they are."
