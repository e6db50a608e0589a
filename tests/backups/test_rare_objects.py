"""What few databases have comes back like tables do, and does nothing of its own while it is restored."""

from collections.abc import Callable, Iterator

import pytest

from backups.models import Backup
from dbadmin.models import Run
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

RARE = """
create table measured (a int, b int, t text);
insert into measured select n % 5, n % 10, 'x' || n from generate_series(1, 500) n;
create materialized view many as select count(*) from measured;
create statistics of_both (dependencies, ndistinct) on a, b from measured;
alter statistics of_both set statistics 500;
create publication all_of_it for all tables with (publish = 'insert');
create publication some_of_it for table measured;
create foreign data wrapper nothing; create server far foreign data wrapper nothing options (host 'x');
create user mapping for public server far options (password 'secret');
create foreign table away (n int) server far options (name 'y');
create collation german (locale = 'de-u-co-phonebk', provider = icu, deterministic = false);
create aggregate product (int) (sfunc = int4mul, stype = int, initcond = '1');
create text search configuration ours (copy = simple);
create function first_letter(text) returns "char" language sql immutable as 'select substr($1, 1, 1)::"char"';
create operator ~~> (leftarg = text, rightarg = int, function = repeat);
create rule quiet as on insert to measured where new.a < 0 do instead nothing;
create function bump() returns trigger language plpgsql as 'begin new.b := new.b + 1; return new; end';
create trigger bump before insert on measured for each row execute function bump();
alter table measured enable always trigger bump;
create table ddl_log (tag text);
create function log_ddl() returns event_trigger language plpgsql as
    'begin insert into public.ddl_log values (tg_tag); end';
create event trigger log_ddl on ddl_command_end execute function log_ddl()"""


@pytest.fixture
def rare(postgres: Postgres, database: str) -> Iterator[str]:
    """A database with one of each."""
    with postgres.connect(database) as connection:
        for statement in RARE.split(";\n"):
            connection.execute(statement)
    return database


def test_they_come_back_and_an_event_trigger_writes_nothing_meanwhile(
    rare: str, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres
) -> None:
    done = run("restore_backup", backup=taken().pk, into="new", database=f"{rare}_again")
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    assert done.result["differences"] == []
    with postgres.connect(f"{rare}_again") as connection:
        assert connection.execute("select count(*) from ddl_log").fetchone() == (0,)
        assert connection.execute("select evtenabled from pg_event_trigger").fetchone() == ("O",)


ON_LOGIN = """
create table logins (role text, at timestamptz default clock_timestamp());
create function note_login() returns event_trigger language plpgsql as
    'begin insert into public.logins (role) values (session_user); end';
create event trigger note_login on login execute function note_login();
alter event trigger note_login enable always"""


def test_what_is_to_happen_when_somebody_signs_in_does_not_happen_while_it_is_restored(
    taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    """It wrote to what was compared, or let nobody in who was to compare it."""
    if postgres.major < 17:
        pytest.skip("there are no event triggers on login before 17")
    with postgres.connect(database) as connection:
        for statement in ON_LOGIN.split(";\n"):
            connection.execute(statement)
    done = run("restore_backup", backup=taken().pk, into="new", database=f"{database}_again")
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    assert done.result["differences"] == []
    with postgres.connect(f"{database}_again") as connection:
        assert connection.execute("select evtenabled from pg_event_trigger").fetchone() == ("A",)
    postgres.admin.execute(f"drop database {database}_again")
