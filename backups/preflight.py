"""What is looked at before a backup or a restore begins, each trouble with its remedy."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from psycopg import sql
from psycopg_pool import PoolTimeout

from backups import catalogue, logical, swap
from backups.logical import NoTools, Selection, Tools
from backups.manifest import Manifest
from backups.models import Backup, Store
from backups.stores import StoreError
from dbadmin.connections import Session
from dbadmin.models import Server
from dbadmin.operations import Refused
from dbadmin.readiness import Check
from dbadmin.units import size

MOST_NAMED = 5

_DATABASE = """
    select datname as name, datallowconn as open, pg_catalog.pg_database_size(oid) as size_bytes,
           pg_catalog.has_database_privilege(oid, 'connect') as may_connect
    from pg_catalog.pg_database where datname = %s"""

_RIGHTS = """
    with mine as (
        select c.oid, n.oid as schema, c.relrowsecurity,
               pg_catalog.format('%%I.%%I', n.nspname, c.relname) as name
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
          and (%(schemas)s::text[] = '{}' or n.nspname = any(%(schemas)s))
          and (%(tables)s::text[] = '{}'
               or pg_catalog.concat(n.nspname, '.', c.relname) = any(%(tables)s))
          and not exists (select from pg_catalog.pg_depend d
                          where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
                            and d.deptype = 'e'))
    select pg_catalog.current_setting('is_superuser') = 'on' as is_superuser,
           current_user as role,
           array(select name from mine where not (pg_catalog.has_schema_privilege(schema, 'usage')
                 and pg_catalog.has_table_privilege(oid, 'select')) order by 1) as unreadable,
           array(select name from mine
                 where relrowsecurity and pg_catalog.row_security_active(oid) order by 1) as filtered,
           (select count(*) from pg_catalog.pg_largeobject_metadata m
            where not pg_catalog.pg_has_role(m.lomowner, 'usage')
              and not exists (select from pg_catalog.aclexplode(m.lomacl) a where a.privilege_type = 'SELECT'
                and (a.grantee = 0 or pg_catalog.pg_has_role(a.grantee, 'usage')))) as large_objects"""


def tools_for(server: Server) -> Tools:
    """The client programs that fit; refuses when none do."""
    try:
        return logical.choose(int(server.value("select current_setting('server_version_num')::int")) // 10000)
    except NoTools as reason:
        raise Refused(str(reason)) from reason


def database_of(server: Server, name: str) -> Any:
    """What is known about a database; refuses one that is not there or takes nobody in."""
    found = server.row(_DATABASE, [name])
    if found is None:
        raise Refused(f"There is no database {name} on {server}.", field="database")
    if not found.open:
        raise Refused(f"The database {name} of {server} accepts no connections.", field="database")
    if not found.may_connect:
        grant = f"GRANT CONNECT ON DATABASE {quoted(name)} TO {_role(server)};"
        raise Refused(
            f"The role of dbadmin may not connect to {name}. What mends it: {grant}", field="database"
        )
    return found


def quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _role(server: Server | Session) -> str:
    return quoted(str(server.value("select current_user")))


def check_rights(server: Server, database: str, schemas: Sequence[str], tables: Sequence[str]) -> None:
    """Refuse what pg_dump would stop at after hours, or would silently leave out."""
    names = {"schemas": list(schemas), "tables": list(tables)}
    found = server.row(_RIGHTS, names, database=database)
    if found.is_superuser:
        return
    role = quoted(found.role)
    if found.filtered:
        raise Refused(
            f"Row security hides rows of {some(found.filtered)} from {found.role}, so a backup would lack "
            f"them. What mends it: ALTER ROLE {role} BYPASSRLS;"
        )
    if found.unreadable:
        raise Refused(
            f"{found.role} may not read {some(found.unreadable)}. "
            f"What mends it: GRANT pg_read_all_data TO {role};"
        )
    if found.large_objects:
        raise Refused(
            f"{found.role} may not read {found.large_objects} large objects, which need their owner or a "
            f"superuser. What mends it: GRANT SELECT ON LARGE OBJECT … TO {role}; or another role."
        )


def some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def check_selection(server: Server, database: str, selection: Selection) -> None:
    """Refuse a schema or table that is not there, and both together: pg_dump would leave the schemas out."""
    if selection.schemas and selection.tables:
        raise Refused(
            "Choose schemas or tables, not both: pg_dump takes only the tables then. Take one backup of the schemas "
            "and one of the tables.",
            field="tables",
        )
    for name in selection.schemas:
        if not server.value("select to_regnamespace(%s)", [quoted(name)], database=database):
            raise Refused(f"There is no schema {name} in {database}.", field="schemas")
    for schema, name in selection.tables:
        full = sql.Identifier(schema, name).as_string(None)
        # What pg_dump takes for a table; it would end at an index or a type of rows.
        known = "select oid from pg_catalog.pg_class where oid = pg_catalog.to_regclass(%s) and relkind in "
        known += "('r', 'p', 'v', 'm', 'S', 'f')"
        if not server.value(known, [full], database=database):
            raise Refused(
                f"There is no table {schema}.{name} in {database}. Write it as schema.table.", field="tables"
            )


def check_store(store: Store, server: Server, database: str) -> None:
    """Refuse a store that does not answer, or that has no room for another backup as large as the last."""
    if not store.enabled:
        raise Refused(f"The store {store} is switched off.", field="store")
    try:
        catalogue.must_not_be_bare(store)
        free = store.open().free_bytes()
    except StoreError as reason:
        raise Refused(str(reason), field="store") from reason
    last = Backup.objects.of(server, database).first()
    if last and free is not None and free < last.stored_bytes:
        raise Refused(
            f"Not started: the store {store} has {size(free)} free, the last backup of {database} took "
            f"{size(last.stored_bytes)}. Free space, or choose another store.",
            field="store",
        )


def spool_folder() -> Path:
    """Where archives are unpacked for a restore."""
    return Path(settings.DBADMIN_STATE) / "scratch"


def spool_check(manifest: Manifest) -> Check:
    """Does the unpacked archive fit on the worker's disk?"""
    folder = spool_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < manifest.plain_bytes:
        return Check(
            "critical",
            "Space on this worker",
            f"Not started: the unpacked backup needs {size(manifest.plain_bytes)} on this worker, "
            f"{folder} has {size(free)} free. Free space, or set DBADMIN_STATE to a larger disk.",
        )
    return Check("ok", "Space on this worker", f"{size(free)} free, {size(manifest.plain_bytes)} needed.")


#: What is bound to a database itself, and would stay behind with the one put aside: (what, where, its query).
_BOUND = (
    (
        "prepared transactions",
        "pg_prepared_xacts",
        "select count(*) from pg_catalog.pg_prepared_xacts where database = %s",
    ),
    (
        "logical replication slots",
        "pg_replication_slots",
        "select count(*) from pg_catalog.pg_replication_slots where database = %s",
    ),
    (
        "subscriptions",
        "pg_subscription",
        """select count(*) from pg_catalog.pg_subscription
           where subdbid = (select oid from pg_catalog.pg_database where datname = %s)
             and (subenabled or subslotname is not null)""",
    ),
)


def obstacles(server: Server | Session, database: str) -> Iterator[Check]:
    """What forbids to rename a database; what may not be read is not taken for none."""
    found, role = [], ""
    for what, view, query in _BOUND:
        try:
            if number := server.value(query, [database]):
                found.append(f"{number} {what}")
        except psycopg.errors.InsufficientPrivilege:
            role = role or _role(server)
            yield Check(
                "critical",
                what.capitalize(),
                f"Whether {database} has {what} is unknown: {role} may not read pg_catalog.{view}. A swap would cut "
                "them off, so it is not begun.",
                f"GRANT SELECT ON pg_catalog.{view} TO {role};",
            )
    if found:
        yield Check(
            "critical",
            "Bound to the database",
            f"{database} has {', '.join(found)}, which a swap would cut off. End them first, or restore to a new name.",
        )


def swap_checks(server: Server | Session, database: str) -> Iterator[Check]:
    """What a rename would break, and whether the role may do it."""
    found = list(obstacles(server, database))
    yield from found
    if not found:
        yield Check("ok", "Swap", f"Nothing is bound to {database} that would be cut off.")
    may = server.row(
        "select pg_catalog.current_setting('is_superuser') = 'on' or (r.rolcreatedb and"
        " pg_catalog.pg_has_role(d.datdba, 'member')) as rename, r.rolname as role,"
        " pg_catalog.pg_has_role('pg_signal_backend', 'usage') as signals,"
        " pg_catalog.pg_get_userbyid(d.datdba) as owner"
        " from pg_catalog.pg_database d, pg_catalog.pg_roles r"
        " where d.datname = %s and r.rolname = current_user",
        [database],
    )
    if may and not may.rename:
        role = quoted(may.role)
        yield Check(
            "critical",
            "Right to rename",
            f"{may.role} may not rename {database}.",
            f"ALTER ROLE {role} CREATEDB; GRANT {quoted(may.owner)} TO {role};",
        )
    if may and not may.signals:
        yield Check(
            "critical",
            "Right to end sessions",
            f"{may.role} may not end the sessions of others, who have to leave {database} for a moment.",
            f"GRANT pg_signal_backend TO {quoted(may.role)};",
        )
    elif stay := [row.role for row in server.rows(swap.STAY, [[database]])]:
        yield Check(
            "warning",
            "Sessions",
            f"{some(stay)} is in {database}, whose sessions only a superuser may end. The swap disconnects nobody and "
            "fails while one is there.",
        )


def check_swap(server: Server, database: str) -> None:
    """Refuse what a rename would break, and a role that may not do it."""
    refuse(swap_checks(server, database))


def refuse(checks: Iterable[Check], field: str = "") -> None:
    """Raise Refused in the words of the lines that stop it, with what mends them."""
    stopping = [check for check in checks if check.state == "critical"]
    if stopping:
        raise Refused(" ".join(map(_with_remedy, stopping)), field=field)


def _with_remedy(check: Check) -> str:
    remedy = " ".join(check.remedy.split("\n"))
    return f"{check.message} What mends it: {remedy}" if remedy else check.message


def create_check(server: Server | Session) -> Check:
    """May the role make databases?"""
    may = server.row("select rolsuper or rolcreatedb as create, rolname as role from pg_catalog.pg_roles"
                     " where rolname = current_user")  # fmt: skip
    if may.create:
        return Check("ok", "Right to create databases", may.role)
    return Check(
        "critical",
        "Right to create databases",
        f"{may.role} may not create databases.",
        f"ALTER ROLE {quoted(may.role)} CREATEDB;",
    )


def check_create_schema(server: Server, database: str) -> None:
    may = server.row(
        "select pg_catalog.has_database_privilege(current_database(), 'create') as create,"
        " current_user as role",
        database=database,
    )
    if not may.create:
        raise Refused(
            f"{may.role} may not create a schema in {database}. What mends it: "
            f"GRANT CREATE ON DATABASE {quoted(database)} TO {quoted(may.role)};"
        )


def other_database(server: Server, avoid: Sequence[str]) -> str:
    """A database to stand in while others are renamed; also when the server's own is closed to everybody."""
    try:
        names = [row.datname for row in server.rows(
            "select datname from pg_catalog.pg_database where datallowconn and not datistemplate"
            " and pg_catalog.has_database_privilege(oid, 'connect') order by datname <> 'postgres', datname"
        )]  # fmt: skip
    except (psycopg.OperationalError, PoolTimeout):
        names = ["postgres"]
    names += ["template1"]
    return str(next(name for name in names if name not in avoid))
