"""A backup of one server comes back on another, of the same or a later version, with everything that belongs to it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from backups.compare import compare
from backups.manifest import Contents, Table
from backups.models import Backup, KeptDatabase
from dbadmin import runner
from dbadmin.connections import POOLS
from dbadmin.models import Run, Server
from dbadmin.operations import Refused
from tests.backups.conftest import queue
from tests.carrying_out import log_of, operation
from tests.fixtures.servers import Postgres, server_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

#: Whose it is and what holds for it, by names: numbers differ from server to server.
PROPERTIES = """
    select pg_get_userbyid(datdba), array(select unnest(datacl)::text order by 1), datconnlimit,
           shobj_description(oid, 'pg_database'), pg_encoding_to_char(encoding), datcollate, datctype,
           array(select coalesce(pg_get_userbyid(nullif(setrole, 0)), '') || setconfig::text from pg_db_role_setting
                 where setdatabase = d.oid order by 1)
    from pg_database d where datname = current_database()"""
OWNED = """
    select c.relname, c.relkind, pg_get_userbyid(c.relowner),
           array(select replace(unnest(c.relacl)::text, 'arwdDxtm/', 'arwdDxt/') order by 1) -- more since 17
    from pg_class c where c.relnamespace = 'shop'::regnamespace and c.relkind in ('r', 'v', 'S', 'm', 'p') order by 1"""
ROWS = "select array_agg(g::text order by g::text) from shop.goods g"


def made(names: dict[str, str]) -> str:
    """A database with everything whose owner or rights could go astray."""
    return """
        create role {owner}; create role {reader}; create role {tuned};
        create schema shop authorization {owner};
        create type shop.mood as enum ('good', 'bad');
        create table shop.goods (
            id int generated always as identity primary key, name text collate "C", mood shop.mood, doc jsonb,
            twice int generated always as (length(name) * 2) stored);
        insert into shop.goods (name, mood, doc) select 'n' || g, 'bad', '[1]' from generate_series(1, 500) g;
        create table shop.months (at date, n int) partition by range (at);
        create table shop.months_1 partition of shop.months default;
        create view shop.good as select * from shop.goods;
        create materialized view shop.many as select count(*) from shop.goods;
        create function shop.f() returns int language sql as 'select 1';
        select lo_from_bytea(0, '\\x00ff');
        alter table shop.goods owner to {owner}; alter view shop.good owner to {owner};
        grant select on shop.goods, shop.good to {reader}; grant usage on schema shop to {reader};
        alter default privileges for role {owner} in schema shop grant select on tables to {reader};
        alter table shop.goods enable row level security; create policy p on shop.goods to {reader} using (true);
        alter database {database} owner to {owner}; alter database {database} connection limit 44;
        alter database {database} set work_mem = '5MB';
        alter role {tuned} in database {database} set statement_timeout = '7s';
        grant connect on database {database} to {reader} with grant option;
        revoke temporary on database {database} from public;
        comment on database {database} is 'the shop';
    """.format(**names)


@pytest.fixture
def shop(postgres: Postgres, database: str) -> Iterator[dict[str, str]]:
    """The names of the database and of its roles on its own server."""
    names = {"database": database, **{name: f"{name}_{database}" for name in ("owner", "reader", "tuned")}}
    with postgres.connect(database) as connection:
        for statement in made(names).split(";\n"):
            if statement.strip():
                connection.execute(statement)
    yield names
    postgres.admin.execute(f"drop database {database} with (force)")
    for name in ("owner", "reader", "tuned"):
        postgres.admin.execute(f"drop role {names[name]}")


@pytest.fixture
def there(another_postgres: Postgres, database: str) -> Iterator[Server]:
    """Another server that knows none of the roles; what comes to it goes again."""
    row = server_row("there", another_postgres)
    yield row
    POOLS.close(str(row.key))
    admin = another_postgres.admin
    like = [f"{database}%"]
    for (name,) in admin.execute("select datname from pg_database where datname like %s", like).fetchall():
        admin.execute(f'drop database "{name}" with (force)')
    for (name,) in admin.execute("select rolname from pg_roles where rolname like '%_scratch_%'").fetchall():
        admin.execute(f'drop role "{name}"')


def restored(there: Server, **params: Any) -> Run:
    """A restore on the other server that must succeed."""
    run = queue(there, "restore_backup", params)
    runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == Run.Status.SUCCEEDED, (run.message, log_of(run))
    return run


def told(postgres: Postgres, database: str) -> list[Any]:
    """Everything that must be the same."""
    with postgres.connect(database) as connection:
        return [connection.execute(query).fetchall() for query in (PROPERTIES, OWNED, ROWS)]


def test_a_new_database_there_is_the_same_in_rows_owners_rights_and_settings(
    there: Server,
    shop: dict[str, str],
    taken: Callable[..., Backup],
    postgres: Postgres,
    another_postgres: Postgres,
) -> None:
    before = told(postgres, shop["database"])
    done = restored(there, backup=taken().pk, into="new")
    assert done.result["database"] == shop["database"]  # the name is free there
    assert told(another_postgres, shop["database"]) == before
    assert done.result["differences"] == []
    may_sign_in = "select bool_or(rolcanlogin) from pg_roles where rolname = any(%s)"
    roles = [shop["owner"], shop["reader"], shop["tuned"]]
    assert another_postgres.admin.execute(may_sign_in, [roles]).fetchone() == (False,)
    assert ("Definitions are compared by name and owner" in " ".join(log_of(done))) == (
        postgres.major != another_postgres.major
    )


def test_who_must_be_a_superuser_to_own_something_is_told_before_anything_begins(
    there: Server,
    shop: dict[str, str],
    taken: Callable[..., Backup],
    postgres: Postgres,
    another_postgres: Postgres,
) -> None:
    name, owner = shop["database"], shop["owner"]
    with postgres.connect(name) as connection:
        connection.execute("create function shop.e() returns event_trigger language plpgsql as 'begin end'")
        connection.execute("create event trigger watch on sql_drop execute function shop.e()")
        connection.execute(f"alter role {owner} superuser; alter event trigger watch owner to {owner}")
    backup = taken()
    says = (
        f"event trigger watch can only belong to a superuser, and {owner} is none on there. What mends it: "
    )
    for mends in (f'CREATE ROLE "{owner}" NOLOGIN SUPERUSER;', f'ALTER ROLE "{owner}" SUPERUSER;'):
        with pytest.raises(Refused) as refused:
            operation("restore_backup", there, backup=backup.pk, into="new").plan()
        assert str(refused.value) == says + mends
        another_postgres.admin.execute(mends.replace(" SUPERUSER", "") if mends[0] == "C" else mends)
    done = restored(there, backup=backup.pk, into="new")
    assert done.result["differences"] == []
    with another_postgres.connect(name) as connection:
        found = connection.execute("select evtname, evtowner::regrole::text from pg_event_trigger").fetchall()
    assert found == [("watch", owner)]


def test_a_stranger_of_the_same_name_there_gives_nothing_to_the_new_one_and_is_left_alone(
    there: Server,
    shop: dict[str, str],
    taken: Callable[..., Backup],
    postgres: Postgres,
    another_postgres: Postgres,
) -> None:
    before, admin = told(postgres, shop["database"]), another_postgres.admin
    admin.execute(f"create database {shop['database']} connection limit 3")
    with another_postgres.connect(shop["database"]) as connection:
        connection.execute("create table strange as select 1 as n")
    done = restored(there, backup=taken().pk, into="new")
    name = done.result["database"]
    assert name == f"{shop['database']}_restored"
    assert told(another_postgres, name) == before
    with another_postgres.connect(shop["database"]) as connection:
        assert connection.execute("select n from strange").fetchone() == (1,)
        assert connection.execute(
            "select datconnlimit from pg_database where datname = current_database()"
        ).fetchone() == (3,)


def test_a_plain_database_without_rights_of_its_own_comes_there_as_well(
    there: Server, taken: Callable[..., Backup], another_postgres: Postgres, database: str
) -> None:
    restored(there, backup=taken().pk, into="new")
    with another_postgres.connect(database) as connection:
        found = connection.execute(
            "select datacl, datconnlimit from pg_database where datname = current_database()"
        )
        assert found.fetchone() == (None, -1)


def test_over_one_there_it_gets_the_owner_of_that_one_and_is_undone(
    there: Server,
    shop: dict[str, str],
    taken: Callable[..., Backup],
    postgres: Postgres,
    another_postgres: Postgres,
) -> None:
    rows, admin = told(postgres, shop["database"])[1:], another_postgres.admin
    admin.execute(f"create role mine_{shop['database']}")
    admin.execute(f"create database {shop['database']} owner mine_{shop['database']} connection limit 9")
    with another_postgres.connect(shop["database"]) as connection:
        connection.execute("create table mine as select 7 as n")
    done = restored(there, backup=taken().pk, into="over", database=shop["database"])
    found = told(another_postgres, shop["database"])
    assert found[0][0][0] == f"mine_{shop['database']}"
    assert found[0][0][2] == 9
    assert found[1:] == rows
    assert done.result["differences"] == []
    kept = KeptDatabase.objects.get(server=there)
    undone = queue(there, "undo_restore", {"kept": kept.pk})
    runner.execute(undone.pk)
    undone.refresh_from_db()
    assert undone.status == Run.Status.SUCCEEDED, undone.message
    with another_postgres.connect(shop["database"]) as connection:
        assert connection.execute("select n from mine").fetchone() == (7,)


def test_a_source_upgraded_since_the_backup_takes_it_back(
    server: Server,
    shop: dict[str, str],
    there: Server,
    taken: Callable[..., Backup],
    postgres: Postgres,
    another_postgres: Postgres,
) -> None:
    """Minor: the same server says a later number. Major: the same entry in dbadmin leads to the upgraded cluster."""
    before, backup = told(postgres, shop["database"]), taken()
    path = backup.store.path / backup.prefix / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "server_version": f"{postgres.major}.0"}))
    done = restored(server, backup=backup.pk, into="over", database=shop["database"])
    assert done.result["differences"] == []
    assert told(postgres, shop["database"]) == before
    POOLS.close(str(server.key))
    server.seal_dsn("operate_dsn", another_postgres.dsn_for("postgres", "dbadmin_operate"))
    server.save()
    done = restored(server, backup=backup.pk, into="new", database=shop["database"])
    assert done.result["differences"] == []
    assert told(another_postgres, shop["database"]) == before
    for kept in KeptDatabase.objects.filter(server=server):
        postgres.admin.execute(f'drop database if exists "{kept.name}" with (force)')


def test_tables_come_beside_those_of_another_server(
    there: Server, shop: dict[str, str], taken: Callable[..., Backup], another_postgres: Postgres
) -> None:
    backup = taken()
    restored(there, backup=backup.pk, into="new")
    with another_postgres.connect(shop["database"]) as connection:
        connection.execute("delete from shop.goods where id <= 3")
    run = queue(
        there, "restore_tables", {"backup": backup.pk, "tables": "shop.goods", "database": shop["database"]}
    )
    runner.execute(run.pk)
    run.refresh_from_db()
    assert (run.status, run.message) == (Run.Status.SUCCEEDED, "3 rows differ in 1 table."), log_of(run)


def test_large_objects_are_compared_whatever_portions_a_version_cuts_them_into() -> None:
    one, other = (f"{number:064x}" for number in (5, (1 << 256) - 2))
    before = Contents([Table("BLOBS", "", "BLOBS", 2, 12, "whole", f"{3:064x}")])
    cut = [Table("BLOBS", "", "1..1", 1, 4, "a", one), Table("BLOBS", "", "2..2", 1, 8, "b", other)]
    assert compare(before, Contents(cut)).nothing_is_lost
    harmed = [cut[0], replace(cut[1], sum256=f"{7:064x}")]
    assert compare(before, Contents(harmed)).sentence() == (
        "large objects: has the same 2 rows, but other values or another order."
    )
    old = Contents([replace(before.tables[0], sum256="")])
    assert compare(
        old, Contents(harmed)
    ).nothing_is_lost  # an old backup tells no more than their number and size
    fewer = Contents([cut[0]])
    assert compare(old, fewer).sentence() == "large objects: has 1 rows, the backup 2."


@pytest.mark.parametrize(("provider", "since"), [("icu", 15), ("builtin", 17)])
def test_text_sorts_there_as_it_was_backed_up_whoever_sorts_it(
    provider: str, since: int, server: Server, taken: Callable[..., Backup], postgres: Postgres,
    another_postgres: Postgres,
) -> None:  # fmt: skip
    if postgres.major < since:
        pytest.skip(f"needs PostgreSQL {since}, which has the provider {provider}; this is {postgres.major}")
    name = f"{provider}_scratch_{server.pk}"
    rules = "icu_locale 'de-u-co-phonebk'" if provider == "icu" else "builtin_locale 'C.UTF-8'"
    postgres.admin.execute(
        f"create database {name} template template0 locale_provider {provider} {rules} lc_collate 'C' lc_ctype 'C'"
    )
    words = "select array_agg(word order by word) from words"
    with postgres.connect(name) as connection:
        connection.execute(
            "create table words as select unnest(array['ä', 'az', 'B', 'ae', 'A', 'ad']) as word"
        )
        order = connection.execute(words).fetchone()
    there = server_row("there", another_postgres)
    try:
        restored(there, backup=taken(database=name).pk, into="new")
        with another_postgres.connect(name) as connection:
            assert connection.execute(words).fetchone() == order
            found = connection.execute(
                "select datlocprovider, datcollate from pg_database where datname = current_database()"
            )
            assert found.fetchone() == (provider[0], "C")
    finally:
        POOLS.close(str(there.key))
        for one in (postgres, another_postgres):
            one.admin.execute(f"drop database if exists {name} with (force)")
