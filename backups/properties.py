"""What belongs to a database as a whole and is not in its dump: owner, rights, settings, limit, comment."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
_ACL_ITEM = re.compile(r'("(?:[^"]|"")*"|[^="]*)=[^/]*/("(?:[^"]|"")*"|.*)')

#: The rights as the source wrote them down, read by the server that they are to hold on.
_RIGHTS = """
    select case when a.grantee = 0 then '' else pg_catalog.pg_get_userbyid(a.grantee) end, a.privilege_type,
           a.is_grantable
    from pg_catalog.unnest(%s::text[]) item, pg_catalog.aclexplode(array[item::aclitem]) a"""


def of_live(connection: psycopg.Connection[Any], database: str) -> dict[str, Any] | None:
    """The properties of a database that is there."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_READ, [database]).fetchone()


def of_manifest(connection: psycopg.Connection[Any], manifest: Manifest) -> dict[str, Any]:
    """The properties that the manifest recorded; the roles that its rights name must be there."""
    found = manifest.properties
    rights = connection.execute(_RIGHTS, [found.get("acl") or []]).fetchall()
    return {
        "owner": found["owner"],
        "connection_limit": found.get("datconnlimit", -1),
        "is_template": found.get("datistemplate", False),
        "comment": found.get("comment"),
        "has_acl": found.get("acl") is not None,
        "grants": [
            {"grantee": grantee, "privilege": privilege, "grantable": grantable}
            for grantee, privilege, grantable in rights
        ],
        "settings": found.get("settings", []),
    }


def roles_of(found: Mapping[str, Any]) -> set[str]:
    """Every role that the recorded properties name: owner, who was granted something and by whom, of settings."""
    items = [_ACL_ITEM.fullmatch(item) for item in found.get("acl") or []]
    named = {name for item in items if item for name in item.groups()}
    plain = {name[1:-1].replace('""', '"') if name.startswith('"') else name for name in named}
    return {*plain, found["owner"], *(each["role"] for each in found.get("settings", []))} - {""}


def provider_of(found: Mapping[str, Any]) -> str:
    """Who sorts its text: c (the operating system), i (ICU) or b (PostgreSQL itself)."""
    return str(found.get("datlocprovider") or "c")


def locale_of(found: Mapping[str, Any]) -> str:
    """The name of its sorting rules, as their provider knows them."""
    named = found.get("datlocale") or found.get("daticulocale") if provider_of(found) != "c" else ""
    return str(named or found.get("datcollate") or "C")


def create_statement(
    manifest: Manifest, name: str, major: int = 0, sorting: bool = True, tablespace: str = ""
) -> sql.Composed:
    """An empty database with the encoding and the sorting rules of the one that was backed up.

    major: of the server; since 15 each database says who provides its rules, and would take the template's word.
    sorting: False for what new databases of the server have; tablespace: "" for their place.
    """
    found = manifest.properties
    parts = [sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))]
    options = {"ENCODING": found["encoding"]}
    if sorting:
        options |= {"LC_COLLATE": found["datcollate"], "LC_CTYPE": found["datctype"]}
        provider = {"c": "libc", "i": "icu", "b": "builtin"}[provider_of(found)]
        if major >= 15 or provider != "libc":
            parts.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.Identifier(provider)))
        if provider != "libc":
            options["ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE"] = locale_of(found)
            options["ICU_RULES"] = found.get("daticurules")
    parts += [sql.SQL(f"{key} {{}}").format(sql.Literal(value)) for key, value in options.items() if value]
    if tablespace:
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(tablespace)))
    return sql.SQL(" ").join(parts)


def owner_statement(found: Mapping[str, Any], name: str) -> sql.Composed:
    """Given before anything is loaded: in the database's own schema its owner must be able to create."""
    return sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
        sql.Identifier(name), sql.Identifier(found["owner"])
    )


def limit_statement(limit: int, name: str) -> sql.Composed:
    """Given last of all: it may let nobody in, not even who proves what was restored."""
    return sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(sql.Identifier(name), sql.Literal(limit))


def statements(found: Mapping[str, Any], name: str, left_out: Collection[str] = ()) -> Iterator[sql.Composed]:
    """What gives a database these properties but the limit. left_out: settings that cannot be made there."""
    database = sql.Identifier(name)
    if found["comment"]:
        yield sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(found["comment"]))
    if found["has_acl"]:
        yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)
        for grant in found["grants"]:
            yield _grant(database, grant)
    yield from settings_statements(found["settings"], name, left_out)


def settings_statements(
    found: Sequence[Mapping[str, Any]], name: str, left_out: Collection[str] = (), only: str = ""
) -> Iterator[sql.Composed]:
    """ALTER DATABASE … SET and ALTER ROLE … IN DATABASE … SET. only: the one setting that is wanted."""
    for each in found:
        for setting in each["settings"]:
            named = setting.partition("=")[0]
            if named not in left_out and only in ("", named):
                yield _setting(sql.Identifier(name), each["role"], setting)


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
