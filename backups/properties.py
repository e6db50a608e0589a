"""What belongs to a database as a whole and is not in its dump: owner, rights, settings, limit, comment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from backups.manifest import Manifest

#: Settings that hold a list of names; their stored text is such a list already.
_LISTS = {"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"}
_NAME_IN_LIST = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')

_READ = """
    select d.datname as name, pg_catalog.pg_get_userbyid(d.datdba) as owner,
           d.datconnlimit as connection_limit, d.datacl is not null as has_acl,
           d.datistemplate as is_template,
           pg_catalog.shobj_description(d.oid, 'pg_database') as comment,
           array(select jsonb_build_object(
                   'grantee', case when a.grantee = 0 then '' else pg_catalog.pg_get_userbyid(a.grantee) end,
                   'privilege', a.privilege_type, 'grantable', a.is_grantable)
                 from pg_catalog.aclexplode(d.datacl) a) as grants,
           array(select jsonb_build_object(
                   'role', coalesce(pg_catalog.pg_get_userbyid(nullif(s.setrole, 0)), ''),
                   'settings', s.setconfig)
                 from pg_catalog.pg_db_role_setting s
                 where s.setdatabase = d.oid order by s.setrole) as settings
    from pg_catalog.pg_database d where d.datname = %s"""


def of_live(connection: psycopg.Connection[Any], database: str) -> dict[str, Any] | None:
    """The properties of a database that is there."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_READ, [database]).fetchone()


def of_manifest(manifest: Manifest) -> dict[str, Any]:
    """The properties that the manifest recorded; rights are left as they are by default."""
    found = manifest.properties
    return {
        "owner": found["owner"],
        "connection_limit": found.get("datconnlimit", -1),
        "is_template": found.get("datistemplate", False),
        "comment": found.get("comment"),
        "has_acl": False,
        "grants": [],
        "settings": found.get("settings", []),
    }


def create_statement(manifest: Manifest, name: str) -> sql.Composed:
    """An empty database with the encoding and the sorting rules of the one that was backed up."""
    found = manifest.properties
    parts = [sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))]
    options = {
        "ENCODING": found["encoding"],
        "LC_COLLATE": found["datcollate"],
        "LC_CTYPE": found["datctype"],
    }
    icu = found.get("datlocale") or found.get("daticulocale")
    provider = {"i": "icu", "b": "builtin"}.get(str(found.get("datlocprovider", "c")))
    if provider:
        parts.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.Identifier(provider)))
        options["ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE"] = icu
    parts += [sql.SQL(f"{key} {{}}").format(sql.Literal(value)) for key, value in options.items() if value]
    if found.get("tablespace", "pg_default") != "pg_default":
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(found["tablespace"])))
    return sql.SQL(" ").join(parts)


def owner_statement(found: Mapping[str, Any], name: str) -> sql.Composed:
    """Given before anything is loaded: in the database's own schema its owner must be able to create."""
    return sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
        sql.Identifier(name), sql.Identifier(found["owner"])
    )


def statements(found: Mapping[str, Any], name: str) -> Iterator[sql.Composed]:
    """What gives a database these properties."""
    database = sql.Identifier(name)
    limit = sql.Literal(found["connection_limit"])
    yield sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, limit)
    if found["comment"]:
        yield sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(found["comment"]))
    if found["has_acl"]:
        yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)
        for grant in found["grants"]:
            yield _grant(database, grant)
    for each in found["settings"]:
        for setting in each["settings"]:
            yield _setting(database, each["role"], setting)


def _grant(database: sql.Identifier, grant: Mapping[str, Any]) -> sql.Composed:
    grantee = sql.Identifier(grant["grantee"]) if grant["grantee"] else sql.SQL("PUBLIC")
    option = sql.SQL(" WITH GRANT OPTION" if grant["grantable"] else "")
    privilege = sql.SQL(grant["privilege"])
    return sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(privilege, database, grantee, option)


def _setting(database: sql.Identifier, role: str, setting: str) -> sql.Composed:
    name, _, value = setting.partition("=")
    shown: sql.Composable = sql.Literal(value)
    if name in _LISTS:
        names = [quoted.replace('""', '"') or plain for quoted, plain in _NAME_IN_LIST.findall(value)]
        shown = sql.SQL(", ").join(sql.Literal(each) for each in names) if names else sql.Literal("")
    # A parameter of an extension has a dot, which is no part of a quoted name.
    parameter = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
    whose = (
        sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
        if role
        else sql.SQL("DATABASE {}").format(database)
    )
    return sql.SQL("ALTER {} SET {} TO {}").format(whose, parameter, shown)
