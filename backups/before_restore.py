"""What is looked at before a restore begins: each line says what is missing, why it matters, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from backups import packages, preflight, properties, subscriptions, written_since
from backups.manifest import Definition, Manifest
from backups.preflight import quoted, some
from backups.tablespaces import OF_LIVE, Places
from dbadmin import connections
from dbadmin.models import Server
from dbadmin.readiness import Check, Fix
from dbadmin.units import size

#: Beside the jobs of pg_restore: its own session, ours, and one that is being closed.
SESSIONS_BESIDE = 3
#: As new databases of the server have it, not as it was backed up.
SERVERS = "server"
_FOLDER = '"$(psql -Atc "SHOW data_directory")"'
_PLAIN = {"", "C", "POSIX"}
#: Entries of an archive that name an owner without giving him anything: a comment, a right.
_GIVES_NOTHING = {"ACL", "COMMENT", "SECURITY LABEL"}
#: Kinds of objects that no owner of a database may make.
_GUARDED = {
    "ACCESS METHOD", "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "OPERATOR CLASS", "OPERATOR FAMILY", subscriptions.KIND,
    "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE",
}  # fmt: skip
#: Kinds of objects that nobody but a superuser may own; of subscriptions before 16.
_OWNED_BY_SUPERUSERS = {"EVENT TRIGGER", "FOREIGN DATA WRAPPER"}
_PROVIDERS = {"c": "the operating system", "i": "ICU", "b": "PostgreSQL itself"}

_TARGET = """
    select pg_catalog.current_setting('server_version_num')::int / 10000 as major, r.rolname as role,
           r.rolsuper as is_superuser, r.rolsuper or r.rolcreaterole as creates_roles, r.rolconnlimit as role_limit,
           pg_catalog.current_setting('max_connections')::int
             - case when r.rolsuper then 0 else pg_catalog.current_setting('superuser_reserved_connections')::int end
             as places,
           (select count(*) from pg_catalog.pg_stat_activity where backend_type = 'client backend') as taken,
           (select setting from pg_catalog.pg_settings where name = 'data_directory') as folder,
           pg_catalog.pg_is_in_recovery() as in_recovery,
           array(select rolname::text from pg_catalog.pg_roles) as roles,
           array(select rolname::text from pg_catalog.pg_roles where rolsuper) as superusers,
           (select pg_catalog.json_object_agg(spcname, pg_catalog.pg_tablespace_location(oid))
            from pg_catalog.pg_tablespace) as tablespaces,
           array(select name from pg_catalog.pg_settings) as settings,
           array(select name from pg_catalog.pg_settings where context like 'superuser%%') as guarded,
           (select pg_catalog.pg_encoding_to_char(encoding) from pg_catalog.pg_database where datname = 'template0')
             as encoding,
           exists (select from pg_catalog.pg_collation where collprovider = 'i') as has_icu,
           r.rolsuper or exists (select from pg_catalog.pg_roles s where s.rolname = 'pg_create_subscription'
                                 and pg_catalog.pg_has_role(s.oid, 'usage')) as subscribes
    from pg_catalog.pg_roles r where r.rolname = current_user"""

_EXTENSIONS = """
    select a.name, a.default_version as version,
           coalesce((select v.superuser and not v.trusted from pg_catalog.pg_available_extension_versions v
                     where v.name = a.name and v.version = a.default_version), true) as guarded
    from pg_catalog.pg_available_extensions a where a.name = any(%s)"""

#: Whose objects the role may hand over: to whom it can change with SET ROLE.
_MINE = "select rolname from pg_catalog.pg_roles where pg_catalog.pg_has_role(oid, %s)"

_SORTS = """
    select max(pg_catalog.pg_collation_actual_version(oid)) from pg_catalog.pg_collation
    where collprovider = 'c' and collcollate not in ('', 'C', 'POSIX')"""


@dataclass(frozen=True)
class Wanted:
    """A restore as somebody asks for it.

    name: the database that it makes; over: the one whose place it takes, or ""; live: the one beside which only
    tables are put; sorting, tablespaces: SERVERS, or "" for as backed up; params: of the operation, for its fixes.
    """

    name: str = ""
    over: str = ""
    live: str = ""
    jobs: int = 2
    sorting: str = ""
    tablespaces: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


class Outlook:
    """One backup held against the server that it is to be restored on."""

    def __init__(self, server: Server, manifest: Manifest, wanted: Wanted) -> None:
        self.server, self.manifest, self.wanted = server, manifest, wanted
        order = ("critical", "warning", "unknown", "ok")
        # One conversation for all questions: a server far away answers them within the patience of a page.
        with connections.session(server, "operate") as self.session:
            self.target = self.session.row(_TARGET)
            #: Every line, worst first.
            self.checks = sorted(self._lines(), key=lambda check: order.index(check.state))

    def refuse(self) -> None:
        """Raise Refused for the lines that stop a restore."""
        preflight.refuse(self.checks)

    def _lines(self) -> Iterator[Check]:
        if self.target.in_recovery:
            yield Check(
                "critical",
                "Standby",
                f"{self.server} is a standby: nothing can be written to it. Restore on its primary, and it follows.",
            )
            return
        yield self.version()
        yield self.databases()
        if not self.wanted.live:
            yield from self.roles()
            yield from self.guarded()
            yield from self.owned_by_superusers()
        if self.wanted.name:
            yield from subscriptions.checks(self.manifest)
        yield from self.extensions()
        yield from self.sorting()
        yield from self.tablespaces()
        yield from self.settings()
        yield from self.space()
        yield self.connections()
        if self.wanted.over:
            yield from written_since.checks(self.manifest, self.server, self.wanted.over)
            yield from preflight.swap_checks(self.session, self.wanted.over)

    # -- what is there -----------------------------------------------------

    def version(self) -> Check:
        """Statements of a newer major may not be understood."""
        made, here = self.manifest.server_major, self.target.major
        if here < made:
            return Check(
                "critical",
                "Version",
                f"The backup is of PostgreSQL {made}, {self.server} is {here}: restore into {made} or later.",
            )
        says = f"PostgreSQL {made}." if here == made else f"From PostgreSQL {made} to {here}."
        return Check("ok", "Version", says)

    def databases(self) -> Check:
        """The right to make one."""
        return preflight.create_check(self.session)

    @cached_property
    def missing_roles(self) -> list[str]:
        """Roles that the backup names and the server lacks; not those that PostgreSQL itself brings."""
        found = {*self.manifest.roles, *(each.owner for each in self.manifest.contents.definitions)}
        if not self.like:
            found |= properties.roles_of(self.manifest.properties)
        return sorted(
            name
            for name in found - set(self.target.roles)
            if name and name != "-" and not name.startswith("pg_")
        )

    @cached_property
    def like(self) -> str:
        """The database that is there and whose owner, rights and settings the new one gets; "": the manifest's."""
        if self.wanted.over or self.wanted.live:
            return self.wanted.over or self.wanted.live
        name, is_home = self.manifest.database, self.manifest.server_key == str(self.server.key)
        found = is_home and self.session.value(
            "select true from pg_catalog.pg_database where datname = %s", [name]
        )
        return name if found else ""

    def _owners(self) -> set[str]:
        found = {
            each.owner
            for each in self.manifest.contents.definitions
            if each.owner and each.kind not in _GIVES_NOTHING and not self._is_his_already(each)
        }
        return found if self.like else {*found, self.manifest.properties["owner"]}

    def _is_his_already(self, each: Definition) -> bool:
        """Before 15 the schema public of every new database belongs to the one who made the cluster."""
        return (each.kind, each.name) == ("SCHEMA", "public") and self.target.major < 15

    def roles(self) -> Iterator[Check]:
        """Owners and those who were granted something."""
        if missing := self.missing_roles:
            statements = "\n".join(
                f"{each.as_string(None)};" for each in role_statements(missing, self.grantee)
            )
            if self.target.creates_roles:
                yield Check(
                    "warning",
                    "Roles",
                    f"{self.server} has no {some(missing)}. The restore creates what is missing, unable to sign in.",
                    statements,
                    Fix("create_roles", {"names": "\n".join(missing)}, "Create them now"),
                )
            else:
                yield Check(
                    "critical",
                    "Roles",
                    f"{self.server} has no {some(missing)}, to whom objects of the backup belong or who were granted "
                    f"something, and {self.target.role} may not create roles.",
                    statements,
                )
        else:
            yield Check("ok", "Roles", "Every role that the backup names is there.")
        yield from self._memberships()

    @property
    def grantee(self) -> str:
        """Who has to be a member of a role to give it something; a superuser need not."""
        return "" if self.target.is_superuser else str(self.target.role)

    def _memberships(self) -> Iterator[Check]:
        if self.target.is_superuser:
            return
        kind = "SET" if self.target.major >= 16 else "MEMBER"
        mine = {row.rolname for row in self.session.rows(_MINE, [kind])}
        strangers = sorted(
            name
            for name in self._owners() & set(self.target.roles) - mine
            if name and not name.startswith("pg_")
        )
        if strangers:
            yield Check(
                "critical",
                "Owners",
                f"{self.target.role} is no member of {some(strangers)}, to whom objects of the backup belong, so it "
                "cannot give these to them.",
                "\n".join(f"GRANT {quoted(name)} TO {quoted(self.target.role)};" for name in strangers),
            )
        elif len(self._owners()) > 1:
            yield Check(
                "warning",
                "Owners",
                f"{self.target.role} is no superuser: it can give objects only to owners who may create in their "
                "schema. Where one may not, the restore stops with an error.",
            )

    def extensions(self) -> Iterator[Check]:
        """On the host, as new as in the backup, and with the right to create them."""
        wanted = {each["name"]: each["version"] for each in self.manifest.extensions}
        known = {row.name: row for row in self.session.rows(_EXTENSIONS, [list(wanted)])}
        absent = sorted(wanted.keys() - known)
        if absent:
            yield Check(
                "critical",
                "Extensions",
                f"The host of {self.server} lacks the extension {some(absent)}, which the backup needs. "
                "Install its package there first.",
                "\n".join(packages.of_extension(name, self.target.major) for name in absent),
            )
        guarded = sorted(row.name for row in known.values() if row.guarded)
        if guarded and not self.target.is_superuser:
            yield Check(
                "critical",
                "Extensions",
                f"Only a superuser may create {some(guarded)}. Let dbadmin operate as one for this restore.",
                f"ALTER ROLE {quoted(self.target.role)} SUPERUSER; -- NOSUPERUSER again afterwards",
            )
        for row in known.values():
            if str(row.version) != str(wanted[row.name]):
                yield Check(
                    "warning",
                    f"Extension {row.name}",
                    f"It becomes {row.version}; it was {wanted[row.name]}. The restore is right unless the two differ "
                    "in what they keep in tables: then it stops with an error.",
                )
        if self.wanted.live:
            yield from self._in_live(known)
        elif not absent:
            yield Check("ok", "Extensions", some(sorted(known)) or "The backup needs none.")

    def _in_live(self, known: Mapping[str, Any]) -> Iterator[Check]:
        rows = self.server.rows("select extname from pg_catalog.pg_extension", database=self.wanted.live)
        there = {row.extname for row in rows}
        for name in sorted(known.keys() - there):
            params = {"database": self.wanted.live, "name": name}
            yield Check(
                "warning",
                f"Extension {name}",
                f"It is not in {self.wanted.live}: columns of its types come back as text.",
                f"CREATE EXTENSION {quoted(name)};",
                Fix("create_extension", params, "Create it"),
            )

    def guarded(self) -> Iterator[Check]:
        """What only a superuser may make."""
        kinds = _GUARDED - ({subscriptions.KIND} if self.target.subscribes else set())
        all_of_it = self.manifest.contents.definitions
        found = sorted(f"{each.kind.lower()} {each.name}" for each in all_of_it if each.kind in kinds)
        if found and not self.target.is_superuser:
            yield Check(
                "critical",
                "Rights of a superuser",
                f"Only a superuser may create {some(found)}. Let dbadmin operate as one for this restore.",
                f"ALTER ROLE {quoted(self.target.role)} SUPERUSER; -- NOSUPERUSER again afterwards",
            )

    def owned_by_superusers(self) -> Iterator[Check]:
        """Whoever owned such a thing as a superuser has to be one here too."""
        kinds = _OWNED_BY_SUPERUSERS | ({subscriptions.KIND} if self.target.major < 16 else set())
        all_of_it = self.manifest.contents.definitions
        found = [
            each
            for each in all_of_it
            if each.kind in kinds and each.owner not in {"", *self.target.superusers}
        ]
        if owners := sorted({each.owner for each in found}):
            mends = {True: "ALTER ROLE {} SUPERUSER;", False: "CREATE ROLE {} NOLOGIN SUPERUSER;"}
            yield Check(
                "critical",
                "Owners who are superusers",
                f"{some([f'{each.kind.lower()} {each.name}' for each in found])} can only belong to a superuser, and "
                f"{some(owners)} is none on {self.server}.",
                "\n".join(mends[name in self.target.roles].format(quoted(name)) for name in owners),
            )

    # -- how text sorts ----------------------------------------------------

    def sorting(self) -> Iterator[Check]:
        """Encoding, collation, character classes, and who provides them."""
        found = self.manifest.properties
        locale = properties.locale_of(found)
        says = f"{found['encoding']}, {locale}, by {_PROVIDERS[properties.provider_of(found)]}."
        if self.wanted.sorting == SERVERS:
            yield self._servers_sorting(says)
            return
        if lacking := self._lacking():
            yield Check(
                "critical",
                "Sorting",
                f"{self.server} does not know {lacking}, by which the text of {self.manifest.database} sorts. Install "
                "it on its host and restart, or let the new database sort as others of this server do.",
                fix=self._again("Sort as the server does", sorting=SERVERS),
            )
        else:
            yield Check("ok", "Sorting", says)
            yield from self._other_version()

    def _servers_sorting(self, was: str) -> Check:
        encoding = self.manifest.properties["encoding"]
        if self.target.encoding != encoding:
            return Check(
                "critical",
                "Sorting",
                f"New databases of {self.server} are in {self.target.encoding}, the backup is in {encoding}.",
                "",
                self._again("Sort as it was backed up", sorting=""),
            )
        return Check(
            "warning",
            "Sorting",
            f"Text will sort as in other databases of {self.server}; it was {was} Indexes are built anew, so the "
            "restore is right, but the order of lists may change.",
        )

    def _lacking(self) -> str:
        """What of the locale is not there."""
        found = self.manifest.properties
        if properties.provider_of(found) == "i" and not self.target.has_icu:
            return "ICU"
        names = dict.fromkeys([found.get("datcollate") or "", found.get("datctype") or ""])
        return next((f"the locale {name}" for name in names if not self._knows(name)), "")

    def _knows(self, locale: str) -> bool:
        """Would the server take it? A setting that nothing depends on is tried, for one statement."""
        if locale in _PLAIN:
            return True
        try:
            self.session.value("select pg_catalog.set_config('lc_monetary', %s, true)", [locale])
        except psycopg.errors.InvalidParameterValue:
            return False
        return True

    def _other_version(self) -> Iterator[Check]:
        found = self.manifest.properties
        was = found.get("datcollversion")
        if not was or properties.provider_of(found) != "c":
            return
        now = self.session.value(_SORTS)
        if now and now != was:
            yield Check(
                "warning",
                "Version of the sorting",
                f"It was {was}, here it is {now}. Every index is built anew, so the restore is right; a row that no "
                "longer fits its partition or constraint stops it.",
            )

    # -- where things lie, and what is set ---------------------------------

    @cached_property
    def places(self) -> Places:
        """Where it all comes to lie."""
        over = self.wanted.over
        live = self.session.value(OF_LIVE, [over]) if over else ""
        gathers = self.wanted.tablespaces == SERVERS
        return Places.of(self.manifest, self.target.tablespaces, live or "", gathers, bool(self.wanted.name))

    def tablespaces(self) -> Iterator[Check]:
        """Those that the database, its tables and indexes lie in."""
        again = self._again("Put everything where the database lies", tablespaces=SERVERS)
        return self.places.checks(str(self.server), self.manifest.database, again)

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Settings of the database that cannot be made here, each with the reason."""
        if self.like:
            return {}
        found: dict[str, str] = {}
        for each in self.manifest.properties.get("settings", []):
            for setting in each["settings"]:
                name = setting.partition("=")[0]
                if "." not in name and name not in self.target.settings:
                    found[name] = f"PostgreSQL {self.target.major} has no such setting"
                elif name in self.target.guarded and not self.target.is_superuser:
                    found[name] = f"{self.target.role} may not make it"
        return found

    def settings(self) -> Iterator[Check]:
        """What ALTER DATABASE … SET had given it."""
        for name, why in self.left_out.items():
            known = name in self.target.settings
            all_settings = self.manifest.properties["settings"]
            made = properties.settings_statements(all_settings, self._new, only=name) if known else ()
            yield Check(
                "warning",
                f"Setting {name}",
                f"{why}: it is left out. The rows are the same."
                + (" A superuser can make it afterwards." if known else ""),
                "\n".join(f"{each.as_string(None)};" for each in made),
            )

    @property
    def _new(self) -> str:
        return self.wanted.name or self.manifest.database

    # -- whether it fits ---------------------------------------------------

    def space(self) -> Iterator[Check]:
        """On this worker for the archive, and on the server for the database."""
        yield preflight.spool_check(self.manifest)
        needs = self.manifest.properties.get("size_bytes")
        if self.wanted.live or not needs:
            return
        twice = f" beside {self.wanted.over}, which stays" if self.wanted.over else ""
        yield Check(
            "unknown",
            "Space on the server",
            f"The database had {size(needs)} and needs about as much again{twice}. PostgreSQL does not tell how much "
            "is free.",
            f"df -h {' '.join([self.target.folder or _FOLDER, *self.places.folders])}  # on the host of {self.server}",
        )

    def connections(self) -> Check:
        """Enough for the jobs, of the server and of the role."""
        needs, target = self.wanted.jobs + SESSIONS_BESIDE, self.target
        if 0 <= target.role_limit < needs and not target.is_superuser:
            return Check(
                "critical",
                "Connections",
                f"{target.role} may open {target.role_limit}, the restore needs {needs}.",
                f"ALTER ROLE {quoted(target.role)} CONNECTION LIMIT -1;",
            )
        free = target.places - target.taken
        if target.places < needs:
            return Check(
                "critical",
                "Connections",
                f"The server takes {target.places}, the restore needs {needs}.",
                f"ALTER SYSTEM SET max_connections = {needs + 20}; -- then restart",
            )
        if free < needs:
            return Check(
                "warning",
                "Connections",
                f"Of {target.places} only {free} are free, the restore needs {needs}: it stops when it gets none.",
            )
        return Check("ok", "Connections", f"{free} are free, the restore needs {needs}.")

    def _again(self, label: str, **changes: str) -> Fix | None:
        """The same restore, otherwise; none where the operation has no such choice."""
        if not self.wanted.params:
            return None
        return Fix("restore_backup", {**self.wanted.params, **changes, "preview": 1}, label)


def role_statements(names: Sequence[str], grantee: str = "") -> list[sql.Composed]:
    """What creates them, unable to sign in; grantee: who has to be able to give them something."""
    found = [sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)) for name in names]
    if grantee:
        found += [
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(name), sql.Identifier(grantee)) for name in names
        ]
    return found
