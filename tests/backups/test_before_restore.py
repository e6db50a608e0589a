"""What is missing is told before a restore begins, each line with what mends it; and what mends it does."""

import html
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.forms import Form
from django.test import Client
from django.urls import reverse

from backups import preflight
from backups.models import Backup, KeptDatabase, Store
from dbadmin.connections import POOLS
from dbadmin.models import ApiToken, Run, Server
from dbadmin.operations import REGISTRY, Operation, Refused
from dbadmin.readiness import Check
from tests.carrying_out import carry_out, log_of, operation
from tests.fixtures.servers import Postgres, server_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def altered(backup: Backup, **changes: Any) -> Backup:
    """The backup as if another server had written it: its manifest in the store says something else."""
    path = backup.store.path / backup.prefix / "manifest.json"
    found = json.loads(path.read_text())
    for name, value in changes.items():
        found[name] = {**found[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(found))
    return backup


def looked(server: Server, asked_for: str, /, **params: Any) -> tuple[dict[str, Check], str]:
    """What an operation looked at, by title, and the words in which it refused, if it did."""
    asked: Operation = operation(asked_for, server, **params)
    try:
        asked.plan()
    except Refused as reason:
        return {check.title: check for check in asked.checks}, str(reason)
    return {check.title: check for check in asked.checks}, ""


def operation_form(name: str, server: Server, /, **params: Any) -> Form:
    """The form of an operation as it was sent."""
    return REGISTRY[name].form(server, params)


@pytest.fixture
def keeper(server: Server, postgres: Postgres, database: str) -> Iterator[str]:
    """The server is operated by a role that is no superuser; the database belongs to a role of its own."""
    names = f"keeper_{database}", f"house_{database}"
    with postgres.connect(database) as connection:
        connection.execute(f"create role {names[0]} login createdb password '{postgres.password}'")
        connection.execute(f"grant pg_read_all_data, pg_signal_backend to {names[0]}; create role {names[1]}")
        connection.execute(
            f"drop extension pg_stat_statements; alter database {database} owner to {names[1]}"
        )
        connection.execute(f"create table owned as select 1 as n; alter table owned owner to {names[1]}")
    server.seal_dsn("operate_dsn", postgres.dsn_for(database, names[0]))
    server.save()
    yield names[0]
    with postgres.connect() as connection:
        connection.execute(f"drop database if exists {database} with (force)")
        for name in names:
            connection.execute(f"drop owned by {name}")
            connection.execute(f"drop role {name}")


def test_a_missing_role_is_told_and_created_by_its_button(
    server: Server, taken: Callable[..., Backup], postgres: Postgres, database: str, client_as: Callable[[str], Client]
) -> None:  # fmt: skip
    leaver = f"leaver, of {database}"
    with postgres.connect(database) as connection:
        connection.execute(f'create role "{leaver}"; create table t (); alter table t owner to "{leaver}"')
    backup = taken()
    with postgres.connect(database) as connection:
        connection.execute(f'drop table t; drop role "{leaver}"')
    checks, refusal = looked(server, "restore_backup", backup=backup.pk, into="new")
    assert refusal == ""
    roles = checks["Roles"]
    assert (roles.state, roles.message, roles.remedy) == (
        "warning",
        f"shop has no {leaver}. The restore creates what is missing, unable to sign in.",
        f'CREATE ROLE "{leaver}" NOLOGIN;',
    )
    client = client_as("admin")
    address = f"/servers/{server}/do/restore_backup/"
    page = client.get(address, {"backup": backup.pk, "into": "new", "preview": 1}).content.decode()
    assert "What is told here stops nothing." in page
    assert html.escape(f'CREATE ROLE "{leaver}" NOLOGIN;') in page
    assert "Create them now…" in page
    assert roles.fix
    done = carry_out(operation(roles.fix.operation, server, **roles.fix.params))
    assert done.status == Run.Status.SUCCEEDED, done.message
    checks, refusal = looked(server, "restore_backup", backup=backup.pk, into="new")
    assert (checks["Roles"].state, refusal) == ("ok", "")
    with postgres.connect() as connection:
        may = connection.execute("select rolcanlogin from pg_roles where rolname = %s", [leaver]).fetchone()
        assert may == (False,)
        connection.execute(done.reverse[0])


def test_a_role_with_few_rights_is_told_every_right_that_it_lacks_and_has_enough_with_them(
    server: Server, keeper: str, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres,
    database: str,
) -> None:  # fmt: skip
    house, gone = f"house_{database}", f"gone_{database}"
    with postgres.connect(database) as connection:
        connection.execute(f"create role {gone}; grant select on owned to {gone}")
    backup = taken()
    with postgres.connect(database) as connection:
        connection.execute(
            f"drop owned by {gone}; drop role {gone}; alter role {keeper} nocreatedb connection limit 3"
        )
        connection.execute(f"revoke pg_signal_backend from {keeper}")
    wanted = {"backup": backup.pk, "into": "over", "database": database}
    checks, refusal = looked(server, "restore_backup", **wanted)
    stopping = {title: check.remedy for title, check in checks.items() if check.state == "critical"}
    assert stopping == {
        "Right to create databases": f'ALTER ROLE "{keeper}" CREATEDB;',
        "Roles": f'CREATE ROLE "{gone}" NOLOGIN;\nGRANT "{gone}" TO "{keeper}";',
        "Owners": f'GRANT "{house}" TO "{keeper}";',
        "Connections": f'ALTER ROLE "{keeper}" CONNECTION LIMIT -1;',
        "Right to rename": f'ALTER ROLE "{keeper}" CREATEDB; GRANT "{house}" TO "{keeper}";',
        "Right to end sessions": f'GRANT pg_signal_backend TO "{keeper}";',
    }
    assert refusal.startswith(
        f'{keeper} may not create databases. What mends it: ALTER ROLE "{keeper}" CREATEDB; shop has no {gone}, to whom'
    )
    assert looked(server, "create_roles", names=gone)[1] == (
        f'{keeper} may not create roles. What mends it: ALTER ROLE "{keeper}" CREATEROLE;'
    )
    with postgres.connect() as connection:
        for remedy in stopping.values():
            connection.execute(remedy)
    try:
        done = run("restore_backup", **wanted)
        assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
        undone = run("undo_restore", kept=done.result["kept"])
        assert undone.status == Run.Status.SUCCEEDED, undone.message
    finally:
        with postgres.connect() as connection:
            rows = connection.execute(
                "select datname from pg_database where datname like %s", [f"{database}\\_\\_%"]
            )
            for (name,) in rows.fetchall():
                connection.execute(f'drop database "{name}" with (force)')
            connection.execute(f"drop role {gone}")


@pytest.mark.parametrize("into", ["over", "new"])
def test_a_limit_of_connections_holds_for_clients_and_not_for_the_restore(
    into: str, server: Server, keeper: str, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres,
    database: str,
) -> None:  # fmt: skip
    postgres.admin.execute(f"grant house_{database} to {keeper}")
    backup = taken()
    for kind, role in (("monitor", "dbadmin_monitor"), ("operate", keeper)):  # by way of another database
        server.seal_dsn(f"{kind}_dsn", postgres.dsn_for("postgres", role))
    server.save()
    POOLS.close(str(server.key))
    postgres.admin.execute(f"alter database {database} connection limit 0")
    name = database if into == "over" else f"{database}_copy"
    done = run("restore_backup", backup=backup.pk, into=into, database=name)
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    with postgres.connect(name) as connection:
        assert connection.execute(
            "select datconnlimit from pg_database where datname = current_database()"
        ).fetchone() == (0,)
        connection.execute(f"reassign owned by house_{database} to postgres")
    for kept in KeptDatabase.objects.filter(server=server):
        postgres.admin.execute(f'drop database "{kept.name}"')


def test_an_extension_is_named_with_its_package_when_the_host_lacks_it(
    server: Server, taken: Callable[..., Backup], postgres: Postgres
) -> None:
    absent = [{"name": name, "version": "1.0", "schema": "public"} for name in ("vector", "our_own")]
    checks, refusal = looked(server, "restore_backup", backup=altered(taken(), extensions=absent).pk)
    assert refusal.startswith(
        "The host of shop lacks the extension our_own, vector, which the backup needs. Install its package there first."
    )
    assert checks["Extensions"].remedy == (
        f"# our_own: the package of it for PostgreSQL {postgres.major}; on a managed service, its list of extensions\n"
        f"sudo apt install postgresql-{postgres.major}-pgvector  # vector"
    )


def test_an_extension_that_a_live_database_lacks_is_created_by_its_button(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str,
    client_as: Callable[[str], Client],
) -> None:  # fmt: skip
    with postgres.connect(database) as connection:
        connection.execute("create extension hstore; create table t (id int primary key, h hstore)")
        connection.execute("insert into t values (1, 'a=>1')")
    backup = taken()
    with postgres.connect(database) as connection:
        connection.execute("drop extension hstore cascade")
    wanted = {"backup": backup.pk, "tables": "t", "database": database}
    checks, refusal = looked(server, "restore_tables", **wanted)
    found = checks["Extension hstore"]
    assert (refusal, found.message, found.remedy) == (
        "",
        f"It is not in {database}: columns of its types come back as text.",
        'CREATE EXTENSION "hstore";',
    )
    page = (
        client_as("admin")
        .get(f"/servers/{server}/do/restore_tables/", {**wanted, "preview": 1})
        .content.decode()
    )
    assert f'do/create_extension/?database={database}&amp;name=hstore">Create it…</a>' in page
    assert found.fix
    done = run(found.fix.operation, **found.fix.params)
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert "Extension hstore" not in looked(server, "restore_tables", **wanted)[0]
    assert done.reverse == ['DROP EXTENSION "hstore"']
    assert looked(server, "create_extension", **found.fix.params)[1] == (
        f"{database} has the extension hstore already."
    )


def test_a_newer_backup_is_refused(server: Server, taken: Callable[..., Backup], postgres: Postgres) -> None:
    newer = altered(taken(), server_version="99.1")
    assert looked(server, "restore_backup", backup=newer.pk)[1] == (
        f"The backup is of PostgreSQL 99, shop is {postgres.major}: restore into 99 or later."
    )


def test_a_standby_is_refused_in_one_sentence_and_not_offered(
    server: Server, taken: Callable[..., Backup], new_postgres: Callable[..., Postgres],
    client_as: Callable[[str], Client],
) -> None:  # fmt: skip
    backup, other = taken(), new_postgres(synchronous_commit="on")
    other.stop()
    (other.data / "standby.signal").touch()
    other.start()
    standby = server_row("follower", other, primary=server)
    checks, refusal = looked(standby, "restore_backup", backup=backup.pk)
    says = "follower is a standby: nothing can be written to it. Restore on its primary, and it follows."
    assert (list(checks), refusal) == (["Standby"], says)
    page = client_as("admin").get(reverse("restore", args=[server.name])).content.decode()
    assert "follower" not in page.partition("<form")[2]


def test_a_locale_that_the_host_lacks_is_named_and_the_servers_own_taken_instead(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:
    backup = altered(
        taken(), properties={"datcollate": "xx_XX.utf8", "datctype": "xx_XX.utf8", "datlocprovider": "c"}
    )
    checks, refusal = looked(server, "restore_backup", backup=backup.pk)
    assert refusal == (
        f"shop does not know the locale xx_XX.utf8, by which the text of {database} sorts. Install it on its host and "
        "restart, or let the new database sort as others of this server do."
    )
    fix = checks["Sorting"].fix
    assert fix
    params = {name: value for name, value in fix.params.items() if name != "preview"}
    done = run(fix.operation, **params)
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    assert (
        looked(server, "restore_backup", **{**params, "database": "other"})[0]["Sorting"].state == "warning"
    )
    with postgres.connect() as connection:
        connection.execute(f"drop database {done.result['database']}")


def test_what_differs_there_and_does_no_harm_is_told_and_stops_nothing(
    server: Server, taken: Callable[..., Backup], run: Callable[..., Run], database: str
) -> None:
    older = [{"name": "plpgsql", "version": "0.9", "schema": "pg_catalog"}]
    backup = altered(taken(), extensions=older, properties={"datcollversion": "1.2"})
    checks, refusal = looked(server, "restore_backup", backup=backup.pk, database=f"{database}_copy")
    assert refusal == ""
    extension, sorting = checks["Extension plpgsql"], checks.get("Version of the sorting")
    assert extension.state == "warning"
    assert extension.message == (
        "It becomes 1.0; it was 0.9. The restore is right unless the two differ in what they keep in tables: then it "
        "stops with an error."
    )
    if sorting:  # a host with no locale but C has no version of it
        assert sorting.state == "warning"
        assert sorting.message.startswith("It was 1.2, here it is ")
    done = run("restore_backup", backup=backup.pk, into="new", database=f"{database}_copy")
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))


def test_an_encoding_that_new_databases_there_have_not_is_never_exchanged(
    server: Server, taken: Callable[..., Backup]
) -> None:
    backup = altered(taken(), properties={"encoding": "LATIN1"})
    checks, refusal = looked(server, "restore_backup", backup=backup.pk, sorting="server", database="other")
    assert refusal == "New databases of shop are in UTF8, the backup is in LATIN1."
    fix = checks["Sorting"].fix
    assert fix
    assert (fix.label, fix.params["sorting"]) == ("Sort as it was backed up", "")


def test_the_provider_of_the_sorting_is_said_where_the_template_of_the_server_could_have_another(
    server: Server, taken: Callable[..., Backup], postgres: Postgres
) -> None:
    plan = "\n".join(map(str, operation("restore_backup", server, backup=taken().pk).plan()))
    assert ('TEMPLATE template0 LOCALE_PROVIDER "libc" ENCODING' in plan) == (postgres.major >= 15)


@pytest.fixture
def space(postgres: Postgres, database: str) -> Iterator[str]:
    """A tablespace with a table and its index."""
    with tablespace(postgres, database) as name:
        with postgres.connect(database) as connection:
            connection.execute(
                f"create table far (n int primary key using index tablespace {name}) tablespace {name}"
            )
            connection.execute("insert into far select generate_series(1, 20)")
        yield name


@contextmanager
def tablespace(postgres: Postgres, database: str) -> Iterator[str]:
    """A new one, named after a database; whoever had it dropped it at the end, but for its directory."""
    place = postgres.data.parent / f"{postgres.data.name}-{database}"
    place.mkdir()
    shutil.chown(place, postgres.data.owner(), postgres.data.group())
    name = f"space_{database}"
    postgres.admin.execute(f"create tablespace {name} location '{place}'")
    yield name
    shutil.rmtree(place)


def test_a_missing_tablespace_is_told_before_anything_begins_and_the_default_taken_instead(
    space: str, server: Server, taken: Callable[..., Backup], run: Callable[..., Run], postgres: Postgres, database: str
) -> None:  # fmt: skip
    backup = taken()
    with postgres.connect(database) as connection:
        (place,) = connection.execute(
            "select pg_tablespace_location(oid) from pg_tablespace where spcname = %s", [space]
        ).fetchone()  # type: ignore[misc]
        assert looked(server, "restore_backup", backup=backup.pk)[0]["Tablespaces"].state == "ok"
        connection.execute("drop table far")
        connection.execute(f"drop tablespace {space}")
    checks, refusal = looked(server, "restore_backup", backup=backup.pk)
    assert refusal == (
        f"shop has no tablespace {space}, where a part of {database} lay. Make it, or put everything where the "
        f"new database lies. What mends it: CREATE TABLESPACE \"{space}\" LOCATION '{place}';"
    )
    fix = checks["Tablespaces"].fix
    assert fix
    done = run("restore_backup", **{k: v for k, v in fix.params.items() if k != "preview"})
    assert done.status == Run.Status.SUCCEEDED, (done.message, log_of(done))
    with postgres.connect(done.result["database"]) as connection:
        assert connection.execute("select count(*) from far").fetchone() == (20,)
    with postgres.connect() as connection:
        connection.execute(f"drop database {done.result['database']}")


def test_what_may_not_be_read_is_not_taken_for_none(
    server: Server, keeper: str, postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute(f"grant house_{database} to {keeper}; revoke pg_read_all_data from {keeper}")
        connection.execute("revoke select on pg_catalog.pg_prepared_xacts from public")
    with pytest.raises(Refused) as caught:
        preflight.check_swap(server, database)
    assert str(caught.value) == (
        f'Whether {database} has prepared transactions is unknown: "{keeper}" may not read '
        "pg_catalog.pg_prepared_xacts. A swap would cut them off, so it is not begun. What mends it: "
        f'GRANT SELECT ON pg_catalog.pg_prepared_xacts TO "{keeper}";'
    )
    with postgres.connect(database) as connection:
        connection.execute(f'GRANT SELECT ON pg_catalog.pg_prepared_xacts TO "{keeper}"')
    preflight.check_swap(server, database)


def test_what_is_bound_to_the_database_forbids_the_swap(
    new_postgres: Callable[..., Postgres], store: Store
) -> None:
    made = new_postgres(wal_level="logical")
    other = server_row("bound", made)
    with made.connect() as connection:
        connection.execute("select pg_create_logical_replication_slot('s', 'pgoutput')")
    with pytest.raises(Refused) as caught:
        preflight.check_swap(other, "postgres")
    assert str(caught.value) == (
        "postgres has 1 logical replication slots, which a swap would cut off. End them first, or restore to a new "
        "name."
    )


def test_names_that_postgresql_would_cut_or_keep_for_itself_are_refused_at_their_field(
    server: Server, taken: Callable[..., Backup]
) -> None:
    backup = taken()
    form = operation_form("restore_backup", server, backup=backup.pk, into="new", database="ä" * 40)
    assert form.errors == {"database": ["A name has at most 63 bytes; this one has 80."]}
    form = operation_form("restore_tables", server, backup=backup.pk, tables="t", schema="ä" * 40)
    assert form.errors == {"schema": ["A name has at most 63 bytes; this one has 80."]}
    for name in ("public", "none"):
        assert operation_form("create_roles", server, names=name).errors == {
            "names": [f"{name}: PostgreSQL keeps this name for itself."]
        }


@pytest.mark.parametrize("name", ["template0", "template1", "model"])
def test_a_template_is_never_replaced(name: str, server: Server, taken: Callable[..., Backup]) -> None:
    said = looked(server, "restore_backup", backup=taken().pk, into="over", database=name)[1]
    assert said == f"{name} is a template that new databases are made from. Restore to a new name."


def test_a_program_is_told_what_was_looked_at_whether_it_stops_the_restore_or_not(
    server: Server, taken: Callable[..., Backup], client_as: Callable[[str], Client]
) -> None:
    backup, client = taken(), client_as("admin")
    user = User.objects.get(pk=client.session["_auth_user_id"])
    token = ApiToken.make(user, "ci", ApiToken.Scope.OPERATE).text
    address = f"/api/servers/{server}/operations/restore_backup/"

    def asked(**params: Any) -> Any:
        return client.post(
            address,
            {"params": params, "dry_run": True},
            "application/json",
            headers={"Authorization": f"Bearer {token}"},
        )

    fine = asked(backup=backup.pk, into="new")
    assert fine.status_code == 200
    assert {
        "state": "ok",
        "title": "Extensions",
        "message": "pg_stat_statements, plpgsql",
        "remedy": "",
    } in fine.json()["checks"]
    refused = asked(backup=altered(backup, server_version="99.1").pk, into="new")
    assert refused.status_code == 409
    assert [check["title"] for check in refused.json()["checks"] if check["state"] == "critical"] == [
        "Version"
    ]


def test_whose_backup_takes_the_place_of_a_database_and_how_old_it_is_is_told(
    server: Server, taken: Callable[..., Backup], postgres: Postgres, database: str
) -> None:
    backup = taken()
    other = f"{database}_other"
    postgres.admin.execute(f"create database {other}")
    checks, _ = looked(server, "restore_backup", backup=backup.pk, into="over", database=other)
    assert (checks["Another database"].state, checks["Another database"].message) == (
        "warning",
        f"The backup is of {database}: who connects to {other} finds that there.",
    )
    checks, _ = looked(server, "restore_backup", backup=backup.pk, into="over", database=database)
    assert "Another database" not in checks
    assert checks["Written since"].state == "warning"
    assert checks["Written since"].message.endswith(
        f" ago. What was written to {database} after that is not in it; it stays in what is kept aside."
    )
    postgres.admin.execute(f"drop database {other}")
