"""What nobody thinks of: names, empty and closed databases, a worker's disk that fills up in the middle."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.test import Client
from django.urls import reverse
from psycopg import sql

from backups import restoring
from backups.models import Backup, BackupKey, KeptDatabase, Store
from dbadmin import runs
from dbadmin.models import Run, Server
from dbadmin.operations import REGISTRY, Refused
from tests.backups.test_faults import databases
from tests.carrying_out import log_of
from tests.fixtures.servers import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def made(postgres: Postgres, database: str) -> Iterator[Callable[..., None]]:
    """Make a database of any name, and its owner of the same name; what is of either goes with the test."""
    names: list[str] = []

    def make(name: str, owned: bool = False) -> None:
        names.append(name)
        orders = ["create database {0}"]
        if owned:
            orders += ["create role {0}", "alter database {0} owner to {0}"]
        with postgres.connect() as connection:
            for order in orders:
                connection.execute(sql.SQL(order).format(sql.Identifier(name)))

    yield make
    with postgres.connect() as connection:
        going = connection.execute(
            "select datname from pg_database where datname = any(%(of)s) or pg_get_userbyid(datdba) = any(%(of)s)",
            {"of": names},
        ).fetchall()
        orders = [("drop database {} with (force)", name) for (name,) in going]
        for order, name in [*orders, *(("drop role if exists {}", name) for name in names)]:
            connection.execute(sql.SQL(order).format(sql.Identifier(name)))


ODD_NAMES = [
    'odd "name ü$%s',
    "two\nlines",
    " spaced ",
    "= user=nobody 'x' %d \\ 😀",
    "--help",
    "..",
    "é" * 31 + "x",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_database_of_any_name_is_backed_up_and_comes_back_in_its_place(
    name: str,
    made: Callable[..., None],
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    postgres: Postgres,
) -> None:
    made(name, owned=True)
    with psycopg.connect(postgres.dsn, dbname=name, autocommit=True) as connection:
        connection.execute("create table kept as select n from generate_series(1, 9) n")
    backup = taken(database=name)
    with psycopg.connect(postgres.dsn, dbname=name, autocommit=True) as connection:
        connection.execute("delete from kept")
    done = run("restore_backup", backup=backup.pk, into="over", database=name)
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    with psycopg.connect(postgres.dsn, dbname=name, autocommit=True) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (9,)
    undone = run("undo_restore", kept=done.result["kept"])
    assert undone.status == Run.Status.SUCCEEDED, (undone.message, log_of(undone))
    with psycopg.connect(postgres.dsn, dbname=name, autocommit=True) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)
    assert backup.store.open().head(f"{backup.prefix}/manifest.json") is not None
    with postgres.connect() as connection:
        owner = connection.execute(
            "select pg_get_userbyid(datdba) from pg_database where datname = %s", [name]
        ).fetchone()
    assert owner == (name,)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_database_of_any_name_comes_back_beside_under_a_name_that_fits(
    name: str,
    made: Callable[..., None],
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    postgres: Postgres,
    database: str,
) -> None:
    made(name, owned=True)
    with postgres.connect(database) as connection:
        connection.execute("create table kept as select n from generate_series(1, 9) n")
    for backup, asked in ((taken(database=name), ""), (taken(), f"{name[:-1]}2")):
        done = run("restore_backup", backup=backup.pk, into="new", database=asked)
        assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
        new = done.result["database"]
        assert new == asked or (new != name and new.startswith(name[:10]) and new.endswith("_restored"))
        assert len(new.encode()) <= 63
        with psycopg.connect(postgres.dsn, dbname=new, autocommit=True) as connection:
            found = connection.execute("select current_database()").fetchone()
            connection.execute(
                sql.SQL("alter database {} owner to {}").format(*map(sql.Identifier, (new, name)))
            )
        assert found == (new,)


def test_an_undo_can_be_undone_again_and_again(
    taken: Callable[..., Backup], run: Callable[..., Run], server: Server, postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute("create table kept as select n from generate_series(1, 9) n")
    backup = taken()
    with postgres.connect(database) as connection:
        connection.execute("delete from kept")
    done = run("restore_backup", backup=backup.pk, into="over", database=database)
    for rows in (0, 9, 0):
        (there,) = KeptDatabase.present(server)
        undone = run("undo_restore", kept=there.pk)
        assert undone.status == Run.Status.SUCCEEDED, (done.message, undone.message)
        with postgres.connect(database) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (rows,)
    assert len(KeptDatabase.present(server)) == 1  # nobody forgets what is put aside


def test_an_undo_says_what_was_written_since_and_that_it_can_be_undone(
    taken: Callable[..., Backup], run: Callable[..., Run], server: Server, postgres: Postgres, database: str,
    client_as: Callable[..., Client],
) -> None:  # fmt: skip
    with postgres.connect(database) as connection:
        connection.execute("create table kept as select n from generate_series(1, 9) n")
    run("restore_backup", backup=taken().pk, into="over", database=database)
    for _ in range(2):
        with postgres.connect(database) as connection:
            connection.execute("insert into kept select generate_series(1, 30)")
            connection.execute(
                "select pg_stat_force_next_flush()" if postgres.major > 14 else "select pg_sleep(1)"
            )
        (there,) = KeptDatabase.present(server)
        address = reverse("operate", args=[server.name, "undo_restore"])
        page = client_as("admin").get(address, {"kept": there.pk, "preview": 1}).content.decode()
        assert f"<strong>Written to {database} since</strong>" in page
        assert "Rows 30 inserted: they stay in what is put aside." in page
        assert "<dd>a button on the run's page</dd>" in page
        undone = run("undo_restore", kept=there.pk)
        (back,) = KeptDatabase.present(server)
        assert runs.undo_url(undone) == f"/servers/shop/do/undo_restore/?kept={back.pk}&preview=1"


def test_templates_with_something_of_their_own_are_backed_up_and_what_takes_nobody_in_is_named(
    made: Callable[..., None],
    server: Server,
    store: Store,
    run: Callable[..., Run],
    postgres: Postgres,
    database: str,
) -> None:
    for name in ("closed", "mould", "bare_mould"):
        made(name)
    with postgres.connect("mould") as connection:
        connection.execute("create table kept as select n from generate_series(1, 9) n")
    with postgres.connect() as connection:
        connection.execute("alter database closed allow_connections false")
        connection.execute(
            "update pg_database set datistemplate = true where datname in ('mould', 'bare_mould')"
        )
    try:
        done = run("take_all_backups", store=store.name, leave_out="postgres, model")
        assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
        with postgres.connect() as connection:
            # Nobody of ours stays in a template: it could not be copied.
            connection.execute("create database from_mould template mould")
            connection.execute("drop database from_mould")
    finally:
        with postgres.connect() as connection:
            connection.execute(
                "update pg_database set datistemplate = false where datname in ('mould', 'bare_mould')"
            )
    assert sorted(backup.database for backup in Backup.objects.filter(run=done)) == sorted(
        [database, "mould"]
    )
    notes = [
        "bare_mould is left out: it is a template with nothing of its own.",
        "closed is left out: it takes no connections.",
        "template1 is left out: it is a template with nothing of its own.",
    ]
    assert [line for line in log_of(done) if "is left out" in line] == notes
    assert done.plan[-1] == "\n".join(["See that all were backed up.", *notes])
    again = run(
        "restore_backup", backup=Backup.objects.get(database="mould").pk, into="new", database="mould_again"
    )
    assert again.status == Run.Status.SUCCEEDED, (again.message, log_of(again))
    with postgres.connect("mould_again") as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (9,)
    with postgres.connect() as connection:
        connection.execute("drop database mould_again")


def test_a_database_without_any_table_is_given_back(
    database: str, taken: Callable[..., Backup], run: Callable[..., Run]
) -> None:
    done = run("restore_backup", backup=taken().pk, into="new", database=f"{database}_again")
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    assert "All 0 tables with 0 rows, and every definition, are as in the backup." in log_of(done)


def test_a_database_that_takes_no_connections_is_refused(
    made: Callable[..., None], server: Server, store: Store, postgres: Postgres
) -> None:
    made("closed")
    with postgres.connect() as connection:
        connection.execute("alter database closed allow_connections false")
    with pytest.raises(Refused) as refused:
        REGISTRY["take_backup"](server, {"database": "closed", "store": store.name}).plan()
    assert str(refused.value) == "The database closed of shop accepts no connections."


def test_a_workers_disk_that_fills_up_in_the_middle_of_a_restore_is_named(
    huge: str,
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backup = taken(database=huge)
    if os.geteuid() != 0:
        pytest.skip("needs to mount a small disk, which only root may")
    folder = tmp_path_factory.mktemp("spool")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    try:
        monkeypatch.setattr(restoring, "spool_folder", lambda: folder)
        failed = run("restore_backup", backup=backup.pk, into="over", database=huge)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    assert failed.status == Run.Status.FAILED
    assert failed.message == (
        "Step 1 of 6 failed: The archive cannot be unpacked on this worker: No space left on device. Free space in "
        f"{folder} and restore again. The original is untouched."
    )
    with postgres.connect(huge) as connection:
        assert connection.execute("select count(*) from huge").fetchone() == (6000,)
    assert databases(postgres, huge) == [huge]


def test_a_servers_disk_that_fills_up_in_the_middle_of_a_restore_is_named_and_free_again(
    taken: Callable[..., Backup],
    run: Callable[..., Run],
    postgres: Postgres,
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to mount a small disk, which only root may")
    folder = postgres.data.parent / f"{database}-disk"
    folder.mkdir()
    space = f"space_{database}"
    order = f"create tablespace {space} location '{folder}'"
    mount = ["mount", "-t", "tmpfs", "-o", f"mode=0700,uid={postgres.data.stat().st_uid}"]
    subprocess.run([*mount, "-o", "size=64m", "tmpfs", str(folder)], check=True)
    try:
        with postgres.connect(database) as connection:
            connection.execute(order)
            connection.execute(f"create table far (n int, pad text) tablespace {space}")
            connection.execute("insert into far select n, repeat('x', 800) from generate_series(1, 9000) n")
        backup = taken()
        # The original has seven and a half: of what is restored beside it, half fits.
        subprocess.run(["mount", "-o", "remount,size=12m", str(folder)], check=True)
        failed = run("restore_backup", backup=backup.pk, into="over", database=database)
        with postgres.connect(database) as connection:
            assert connection.execute("select count(*) from far").fetchone() == (9000,)
        assert databases(postgres, database) == [database]
        assert failed.status == Run.Status.FAILED
        assert re.sub(r'"pg_tblspc/[^"]*"( with FileFallocate\(\))?', "FILE", failed.message) == (
            'Step 3 of 6 failed: The disk of the server is full: COPY failed for table "far": ERROR:  could not extend '
            "file FILE: No space left on device. The original is untouched. Free space there and restore again."
        )
    finally:
        with postgres.connect(database) as connection:
            connection.execute("drop table far; checkpoint")
            connection.execute(f"drop tablespace {space}")
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def test_a_database_that_limits_its_statements_is_restored_in_its_place_all_the_same(
    taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute("""
            create function slow(int) returns int immutable language plpgsql
            as $$ begin perform pg_catalog.pg_sleep(1); return $1; end $$;
            create table one as select 1 as n;
            create index on one (slow(n))""")
        for setting in (
            "statement_timeout = '500ms'",
            "default_transaction_read_only = on",
            "search_path = nowhere",
        ):
            connection.execute(sql.SQL(f"alter database {{}} set {setting}").format(sql.Identifier(database)))
        connection.execute(sql.SQL("alter database {} connection limit 0").format(sql.Identifier(database)))
    done = run("restore_backup", backup=taken().pk, into="over", database=database)
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    with postgres.connect(database) as connection:
        assert connection.execute("show statement_timeout").fetchone() == ("500ms",)
        assert connection.execute("select n from public.one").fetchone() == (1,)


def test_a_job_that_waits_for_another_is_not_ended_for_being_idle(
    taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute("""
            create function slow(int) returns bool immutable language plpgsql
            as $$ begin perform pg_catalog.pg_sleep(0.5); return true; end $$;
            create table one (n int check (slow(n))); insert into one values (1), (2), (3);
            create table two as select 1 as n;
            create index on one (n); create unique index on one (n); create index on two (n)""")
    backup = taken()
    postgres.admin.execute("alter role dbadmin_operate set idle_session_timeout = '400ms'")
    try:
        done = run("restore_backup", backup=backup.pk, into="new", database=f"{database}_copy")
    finally:
        postgres.admin.execute("alter role dbadmin_operate reset idle_session_timeout")
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))


ODD_SETTINGS = """
    DateStyle = 'German, DMY'; IntervalStyle = 'sql_standard'; TimeZone = 'Asia/Kolkata'; bytea_output = 'escape';
    extra_float_digits = -5; standard_conforming_strings = off; escape_string_warning = on;
    quote_all_identifiers = on; xmloption = 'document'; row_security = off; enable_seqscan = off;
    default_transaction_isolation = 'serializable'; check_function_bodies = off; default_transaction_deferrable = on;
    lo_compat_privileges = on; transform_null_equals = on; synchronous_commit = off; gin_fuzzy_search_limit = 1;
    client_min_messages = error; debug_print_parse = on; search_path = '' """


def test_no_setting_that_a_database_has_for_its_users_changes_what_is_kept_or_compared(
    taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute("""
            create table "Odd" (id int primary key, at timestamptz, took interval, real float8, raw bytea, word text,
                                many int[], doc xml);
            create index "Of words" on "Odd" (lower(word), (real * 2)) where took > interval '1 day';
            create view seen as select id, at + took as until, word || E'\\\\' as w from "Odd" where raw <> '\\xff';
            insert into "Odd" select n, '2024-03-31 01:30+01'::timestamptz + n * interval '1 h',
                n * interval '25 h 3 s', random(), decode(md5(n::text), 'hex'), E'ä\\\\' || n,
                array[n, null], '<a>1</a><b/>'
            from generate_series(1, 500) n""")
        rows = connection.execute('select md5(array_agg(o::text order by id)::text) from "Odd" o').fetchone()
        for setting in filter(None, map(str.strip, ODD_SETTINGS.split(";"))):
            connection.execute(sql.SQL(f"alter database {{}} set {setting}").format(sql.Identifier(database)))
    backup = taken()
    for params in ({"into": "over", "database": database}, {"into": "new", "database": f"{database}_copy"}):
        done = run("restore_backup", backup=backup.pk, **params)
        assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
        assert done.result["differences"] == []
    done = run("restore_tables", backup=backup.pk, tables="Odd", database=database)
    assert (done.status, done.message) == (Run.Status.SUCCEEDED, "0 rows differ in 1 table."), log_of(done)
    postgres.admin.execute(f"alter database {database} reset all")
    with postgres.connect(database) as connection:
        assert (
            connection.execute('select md5(array_agg(o::text order by id)::text) from "Odd" o').fetchone()
            == rows
        )


def test_a_row_that_the_server_cannot_read_is_told_in_its_words(
    run: Callable[..., Run], store: Store, key: BackupKey, postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute(
            "create type mood as enum ('good', 'bad'); create table t as select 'bad'::mood as m"
        )
        (label,) = connection.execute("delete from pg_enum where enumlabel = 'bad' returning oid").fetchone()  # type: ignore[misc]
    done = run("take_backup", database=database, store="shelf")
    assert done.status == Run.Status.FAILED
    assert done.message == (
        'Step 2 of 4 failed: pg_dump failed: Dumping the contents of table "t" failed: invalid internal value for '
        f"enum: {label}."
    )
