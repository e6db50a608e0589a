"""What is looked at before a backup or a restore begins, each trouble with its remedy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg_pool import PoolTimeout

from backups import logical
from backups.logical import NoTools, Tools
from backups.manifest import Manifest
from backups.models import Backup, Store
from backups.stores import StoreError
from dbadmin.models import Server
from dbadmin.operations import Refused
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
               or pg_catalog.format('%%I.%%I', n.nspname, c.relname) = any(%(tables)s))
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
        grant = f"GRANT CONNECT ON DATABASE {_quoted(name)} TO {_role(server)};"
        raise Refused(
            f"The role of dbadmin may not connect to {name}. What mends it: {grant}", field="database"
        )
    return found


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _role(server: Server) -> str:
    return _quoted(str(server.value("select current_user")))


def check_rights(server: Server, database: str, schemas: Sequence[str], tables: Sequence[str]) -> None:
    """Refuse what pg_dump would stop at after hours, or would silently leave out."""
    names = {"schemas": list(schemas), "tables": list(tables)}
    found = server.row(_RIGHTS, names, database=database)
    if found.is_superuser:
        return
    role = _quoted(found.role)
    if found.filtered:
        raise Refused(
            f"Row security hides rows of {_some(found.filtered)} from {found.role}, so a backup would lack "
            f"them. What mends it: ALTER ROLE {role} BYPASSRLS;"
        )
    if found.unreadable:
        raise Refused(
            f"{found.role} may not read {_some(found.unreadable)}. "
            f"What mends it: GRANT pg_read_all_data TO {role};"
        )
    if found.large_objects:
        raise Refused(
            f"{found.role} may not read {found.large_objects} large objects, which need their owner or a "
            f"superuser. What mends it: GRANT SELECT ON LARGE OBJECT … TO {role}; or another role."
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def check_selection(server: Server, database: str, schemas: Sequence[str], tables: Sequence[str]) -> None:
    """Refuse a schema or table that is not there."""
    for name in schemas:
        if not server.value("select to_regnamespace(%s)", [_quoted(name)], database=database):
            raise Refused(f"There is no schema {name} in {database}.", field="schemas")
    for name in tables:
        try:
            known = server.value("select to_regclass(%s)", [name], database=database)
        except psycopg.Error:
            known = None
        if not known:
            raise Refused(
                f"There is no table {name} in {database}. Write it as schema.table.", field="tables"
            )


def check_store(store: Store, server: Server, database: str) -> None:
    """Refuse a store that does not answer, or that has no room for another backup as large as the last."""
    if not store.enabled:
        raise Refused(f"The store {store} is switched off.", field="store")
    try:
        opened = store.open()
        next(opened.items(f"{server.name}/"), None)
        free = opened.free_bytes()
    except StoreError as reason:
        raise Refused(str(reason), field="store") from reason
    last = Backup.objects.of(server, database).first()
    if last and free is not None and free < last.stored_bytes:
        raise Refused(
            f"Not started: the store {store} has {size(free)} free, the last backup of {database} took "
            f"{size(last.stored_bytes)}. Free space, or choose another store.",
            field="store",
        )


def check_spool(folder: Path, manifest: Manifest) -> None:
    """Refuse a restore whose unpacked archive does not fit on the worker's disk."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < manifest.plain_bytes:
        raise Refused(
            f"Not started: the unpacked backup needs {size(manifest.plain_bytes)} on this worker, "
            f"{folder} has {size(free)} free. Free space, or set DBADMIN_STATE to a larger disk."
        )


def missing_roles(server: Server, manifest: Manifest) -> list[str]:
    known = {row.rolname for row in server.rows("select rolname from pg_catalog.pg_roles")}
    owners = {definition.owner for definition in manifest.contents.definitions if definition.owner}
    return sorted((set(manifest.roles) | owners) - known)


def check_extensions(server: Server, manifest: Manifest) -> None:
    """Refuse when the server's host lacks an extension that the backup uses."""
    known = {row.name for row in server.rows("select name from pg_catalog.pg_available_extensions")}
    missing = sorted({extension["name"] for extension in manifest.extensions} - known)
    if missing:
        raise Refused(
            f"The host of {server} lacks the extension {_some(missing)}, which the backup needs. "
            "Install its package there first."
        )


def check_version(server: Server, manifest: Manifest) -> None:
    """Refuse a server older than the archive's; its statements might not be understood."""
    major = int(server.value("select current_setting('server_version_num')::int")) // 10000
    made_with = int(manifest.server_version.partition(".")[0])
    if major < made_with:
        raise Refused(
            f"The backup is of PostgreSQL {made_with}, {server} is {major}: "
            f"restore into {made_with} or later."
        )


def obstacles(server: Server, database: str) -> Iterator[str]:
    """What forbids to rename a database."""
    queries = {
        "prepared transactions": "select count(*) from pg_catalog.pg_prepared_xacts where database = %s",
        "logical replication slots": "select count(*) from pg_catalog.pg_replication_slots"
        " where database = %s",
        "subscriptions": "select count(*) from pg_catalog.pg_subscription s join pg_catalog.pg_database d"
        " on d.oid = s.subdbid where d.datname = %s",
    }
    for what, query in queries.items():
        try:
            count = server.value(query, [database])
        except psycopg.errors.InsufficientPrivilege:
            count = 0
        if count:
            yield f"{count} {what}"


def check_swap(server: Server, database: str) -> None:
    """Refuse what a rename would break, and a role that may not do it."""
    found = ", ".join(obstacles(server, database))
    if found:
        raise Refused(
            f"{database} has {found}, which a swap would cut off. End them first, or restore to a new name.",
            field="into",
        )
    may = server.row(
        "select pg_catalog.current_setting('is_superuser') = 'on' or (r.rolcreatedb and"
        " pg_catalog.pg_has_role(d.datdba, 'member')) as rename, r.rolname as role,"
        " pg_catalog.pg_get_userbyid(d.datdba) as owner"
        " from pg_catalog.pg_database d, pg_catalog.pg_roles r"
        " where d.datname = %s and r.rolname = current_user",
        [database],
    )
    if may and not may.rename:
        role = _quoted(may.role)
        raise Refused(
            f"{may.role} may not rename {database}. What mends it: ALTER ROLE {role} CREATEDB; "
            f"GRANT {_quoted(may.owner)} TO {role};"
        )


def check_create(server: Server) -> None:
    may = server.row("select rolsuper or rolcreatedb as create, rolname as role from pg_catalog.pg_roles"
                     " where rolname = current_user")  # fmt: skip
    if not may.create:
        raise Refused(
            f"{may.role} may not create databases. What mends it: ALTER ROLE {_quoted(may.role)} CREATEDB;"
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
            f"GRANT CREATE ON DATABASE {_quoted(database)} TO {_quoted(may.role)};"
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
