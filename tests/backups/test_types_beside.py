"""Tables come back beside the live ones though the live database has their types otherwise by now: as texts."""

from collections.abc import Callable

import pytest

from backups.models import Backup, RowComparison
from dbadmin.connections import Session
from dbadmin.models import Run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

TABLES = """
create type mood as enum ('good', 'bad', 'ugly');
create type pair as (a text, b mood);
create domain moods as mood[] check (cardinality(value) < 9);
create table kept (id int primary key, at date);
create table felt (id mood primary key, n int);
create table pairs (id int primary key, one pair, many pair[], more moods);
insert into kept select n, current_date from generate_series(1, 3) n;
insert into felt values ('good', 1), ('bad', 2), ('ugly', 3);
insert into pairs select n, '(x,good)'::pair, array['(y,bad)'::pair], '{good,bad}' from generate_series(1, 3) n;
"""
COLUMNS = """
select relname || '.' || attname as column, atttypid::regtype::text as type
from pg_attribute join pg_class c on c.oid = attrelid
where relnamespace = to_regnamespace('side') and relkind = 'r' and attnum > 0 order by relname, attnum"""


def test_rows_with_types_that_were_altered_since_are_compared_and_those_that_fit_are_copied(
    target: Session, database: str, taken: Callable[..., Backup], run: Callable[..., Run]
) -> None:
    target.connection.execute(TABLES)
    backup = taken()
    target.connection.execute(
        "alter type mood rename value 'ugly' to 'odd'; delete from felt; delete from pairs"
    )
    made = run(
        "restore_tables", backup=backup.pk, tables="kept, felt, pairs", database=database, schema="side"
    )
    assert (made.status, made.message) == (Run.Status.SUCCEEDED, "6 rows differ in 3 tables.")
    assert [tuple(row) for row in target.rows(COLUMNS)] == [
        ("felt.id", "text"), ("felt.n", "integer"), ("kept.id", "integer"), ("kept.at", "date"),
        ("pairs.id", "integer"), ("pairs.one", "text"), ("pairs.many", "text"), ("pairs.more", "text"),
    ]  # fmt: skip
    felt, pairs = RowComparison.objects.get(name="felt"), RowComparison.objects.get(name="pairs")
    done = run("copy_rows", comparison=felt.pk, kind="missing")
    assert (
        done.message == 'Nothing was copied to public.felt: invalid input value for enum public.mood: "ugly".'
    )
    fitting = [each.pk for each in felt.differences.exclude(key=["ugly"])]
    done = run("copy_rows", comparison=felt.pk, kind="missing", rows=fitting)
    assert (done.status, done.message) == (
        Run.Status.SUCCEEDED,
        "2 rows of public.felt are as in the backup.",
    )
    done = run("copy_rows", comparison=pairs.pk, kind="missing")
    assert (done.status, done.message) == (
        Run.Status.SUCCEEDED,
        "3 rows of public.pairs are as in the backup.",
    )
    assert target.rows("select one::text, many::text, more::text from pairs limit 1") == [
        ("(x,good)", '{"(y,bad)"}', "{good,bad}")
    ]


def test_types_that_are_the_same_stay_what_they_are(
    target: Session, database: str, taken: Callable[..., Backup], run: Callable[..., Run]
) -> None:
    target.connection.execute(TABLES)
    backup = taken()
    made = run("restore_tables", backup=backup.pk, tables="felt, pairs", database=database, schema="side")
    assert (made.status, made.message) == (Run.Status.SUCCEEDED, "0 rows differ in 2 tables.")
    assert [tuple(row) for row in target.rows(COLUMNS)] == [
        ("felt.id", "mood"), ("felt.n", "integer"), ("pairs.id", "integer"), ("pairs.one", "pair"),
        ("pairs.many", "pair[]"), ("pairs.more", "mood[]"),
    ]  # fmt: skip
